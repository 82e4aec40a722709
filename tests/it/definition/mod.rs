//! Definitions from outside: what is refused and where, what hostile files cost, and what survives the way to the topic.

use std::path::Path;

use tidegate::definition::{Definition, Refused, Syntax, parse};

mod example;
mod expressions;
mod files;
mod hostile;
mod mistakes;
mod topic;
mod waiting;

/// What a workflow needs before its steps; the next line is line 4.
const HEAD: &str = "id: order-paid\nversion: 1.0.0\ntriggers: [{event: orders.paid}]\n";
/// A step that is right, on one line.
const STEPS: &str = "steps: [{id: say, type: log, config: {message: hi}}]\n";

fn read(text: &str, syntax: Syntax) -> Result<Definition, Refused> {
    parse(Path::new("a.yaml"), text.as_bytes(), syntax)
}

/// The mistakes of a document, each as `line:column: message; remedy`.
fn mistakes_of(text: &str, syntax: Syntax) -> Vec<String> {
    let Err(refused) = read(text, syntax) else { return Vec::new() };
    let without_path = |it: String| it.trim_start_matches("a.yaml:").trim().to_owned();
    refused.diagnostics.iter().map(|it| without_path(it.to_string())).collect()
}

#[track_caller]
fn accept(text: &str) -> Definition {
    read(text, Syntax::Yaml).unwrap_or_else(|refused| panic!("{refused}\n{text}"))
}
