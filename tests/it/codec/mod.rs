//! The codec from outside: what comes in however broken, and what goes out to the byte.

mod dead_letters;
mod events;
mod records;
mod samples;
mod schemas;
