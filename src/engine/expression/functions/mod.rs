//! The functions of expressions. Each is a row of a table: its name, how it is called, how many arguments it takes, and its
//! code, which decides by the types of its arguments.

mod collections;
mod conversions;
mod numbers;
mod strings;
mod time;

use super::Budget;
use super::failure::Problem;
use crate::engine::value::{Value, View};

pub use conversions::TYPE_NAMES;

/// The code of a function. The receiver of a method is the first argument; there are as many as the row says. Whoever
/// looks at or builds something large takes that from the budget first.
pub(super) type Run = fn(&[View<'_>], &mut Budget) -> Result<Value, Problem>;

/// A function.
#[derive(Debug)]
pub struct Function {
    /// Its name, with the namespace: `math.greatest`.
    pub name: &'static str,
    /// Whether it is called as `receiver.name()`, not as `name(…)`.
    pub method: bool,
    /// Fewest arguments, the receiver included.
    pub fewest: usize,
    /// Most arguments, the receiver included.
    pub most: usize,
    pub(super) run: Run,
}

/// Most arguments of a function that takes any number.
const MANY: usize = 64;

const fn function(name: &'static str, arguments: (usize, usize), run: Run) -> Function {
    Function { name, method: false, fewest: arguments.0, most: arguments.1, run }
}

const fn method(name: &'static str, arguments: (usize, usize), run: Run) -> Function {
    Function { name, method: true, fewest: arguments.0, most: arguments.1, run }
}

/// Every function.
pub fn all() -> impl Iterator<Item = &'static Function> {
    [strings::FUNCTIONS, numbers::FUNCTIONS, conversions::FUNCTIONS, time::FUNCTIONS, collections::FUNCTIONS]
        .into_iter()
        .flatten()
}

/// The function of that name and form.
pub fn find(name: &str, method: bool) -> Option<&'static Function> {
    all().find(|it| it.name == name && it.method == method)
}

/// An argument that counts something; absent or not a whole number ≥ 0 is a problem.
fn position(view: View<'_>) -> Result<usize, Problem> {
    match view {
        View::Int(it) => usize::try_from(it).map_err(|_| Problem::other(format!("{it} is negative"))),
        View::UInt(it) => usize::try_from(it).map_err(|_| Problem::other(format!("{it} is too large"))),
        _ => Err(Problem::Types),
    }
}
