//! The checker's verdict: what is missing, repeated or unexpected.

use std::collections::HashMap;

/// What is wrong with what was written.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Expected names that are not there.
    pub missing: Vec<String>,
    /// Names that are there more than once.
    pub repeated: Vec<String>,
    /// Names that nobody expects.
    pub unexpected: Vec<String>,
}

impl Verdict {
    /// Compares what was found with what must be there, each once.
    pub fn of(found: &[String], expected: &[String]) -> Verdict {
        let mut counts: HashMap<&str, i64> = HashMap::new();
        for name in found {
            *counts.entry(name).or_default() += 1;
        }
        let mut verdict = Verdict::default();
        for name in expected {
            match counts.remove(name.as_str()) {
                None => verdict.missing.push(name.clone()),
                Some(1) => {}
                Some(_) => verdict.repeated.push(name.clone()),
            }
        }
        verdict.unexpected.extend(counts.into_keys().map(str::to_owned));
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checker_finds_what_is_missing_repeated_and_unexpected() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let found = Verdict::of(&names(&["a", "b", "b", "x"]), &names(&["a", "b", "c"]));
        let expected = Verdict { missing: names(&["c"]), repeated: names(&["b"]), unexpected: names(&["x"]) };
        assert_eq!(found, expected);
    }
}
