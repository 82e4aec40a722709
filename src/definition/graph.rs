//! The graph of steps: which come before which, and which wait for each other.

/// Edges from each step to those it depends on, by index.
#[derive(Debug)]
pub(super) struct Graph {
    edges: Vec<Vec<usize>>,
}

impl Graph {
    /// A graph of steps, each with the indices of those it depends on.
    pub fn new(edges: Vec<Vec<usize>>) -> Graph {
        Graph { edges }
    }

    /// For each step, whether it has ended before `step` runs: whether it is one of its dependencies, theirs and so on.
    pub fn before(&self, step: usize) -> Vec<bool> {
        let mut before = vec![false; self.edges.len()];
        let mut open = self.edges[step].clone();
        while let Some(at) = open.pop() {
            if !std::mem::replace(&mut before[at], true) {
                open.extend(&self.edges[at]);
            }
        }
        before
    }

    /// Cycles without a step in common, each in the order in which its steps wait for each other.
    pub fn cycles(&self) -> Vec<Vec<usize>> {
        let mut ended = vec![false; self.edges.len()];
        let mut cycles = Vec::new();
        loop {
            self.end_what_can(&mut ended);
            let Some(start) = ended.iter().position(|it| !it) else { return cycles };
            let cycle = self.cycle_from(start, &ended);
            cycle.iter().for_each(|step| ended[*step] = true);
            // Every step that has not ended waits for one that has not, so the walk cannot have come to an end.
            if cycle.is_empty() {
                return cycles;
            }
            cycles.push(cycle);
        }
    }

    fn end_what_can(&self, ended: &mut [bool]) {
        loop {
            let can = |step: &usize| !ended[*step] && self.edges[*step].iter().all(|it| ended[*it]);
            let Some(step) = (0..ended.len()).find(can) else { return };
            ended[step] = true;
        }
    }

    fn cycle_from(&self, start: usize, ended: &[bool]) -> Vec<usize> {
        let mut path: Vec<usize> = Vec::new();
        let mut at = Some(start);
        while let Some(step) = at {
            if let Some(first) = path.iter().position(|it| *it == step) {
                return path.split_off(first);
            }
            path.push(step);
            at = self.edges[step].iter().copied().find(|it| !ended[*it]);
        }
        Vec::new()
    }
}
