//! The budget of evaluation: what bounds time and memory without a clock.

use super::failure::{EvaluationError, Problem};

/// Bytes that cost as much as one evaluated node: about what a processor copies or scans in that time.
const BYTES_PER_UNIT: u64 = 16;

/// What allocating a list, an object or a string costs.
pub(super) const ALLOCATION: u64 = 4;

/// The work that the expressions of one execution may still do, in evaluated nodes and bytes built.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    left: u64,
}

impl Budget {
    /// A budget of that many units. One unit is one evaluated node, one item of a list, or 16 bytes looked at or built;
    /// none takes more than about 50 ns, so [`super::super::limits::EXECUTION_BUDGET`] bounds an execution to 0.1 s.
    pub fn new(units: u64) -> Budget {
        Budget { left: units }
    }

    /// The units that are left.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Takes `units`, or says that the budget is spent.
    pub fn spend(&mut self, units: u64) -> Result<(), EvaluationError> {
        Ok(self.take(units)?)
    }

    /// Takes `units`, or says that the budget is spent.
    #[inline]
    pub(super) fn take(&mut self, units: u64) -> Result<(), Problem> {
        match self.left.checked_sub(units) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Problem::Budget)
            }
        }
    }

    /// Takes what building a list of `items`, or an object of as many fields, costs.
    #[inline]
    pub(super) fn take_items(&mut self, items: usize) -> Result<(), Problem> {
        self.take(ALLOCATION.saturating_add(items as u64 * 2))
    }

    /// Takes what looking at or building `bytes` bytes costs.
    #[inline]
    pub(super) fn take_bytes(&mut self, bytes: usize) -> Result<(), Problem> {
        self.take(1 + bytes as u64 / BYTES_PER_UNIT)
    }
}
