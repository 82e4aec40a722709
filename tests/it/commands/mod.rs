//! The commands from outside: exit codes, what goes to stdout and what to stderr, and that each does what it says.

mod bench;
mod offline;
mod online;
mod project;
