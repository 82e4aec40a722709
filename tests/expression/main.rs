//! Expressions and templates, through their public doors: text in, value out.

mod agreement;
mod functions;
mod hostile;
mod names;
mod operators;
mod support;
mod templates;
