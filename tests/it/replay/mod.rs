//! Dead letters come back, once each, from where they failed. On the embedded broker, and on real Kafka with `TIDEGATE_TEST_BROKER=kafka`;
//! `TIDEGATE_TEST_FULL=1` for the full sizes.

mod again;
mod ends;
mod families;
mod operators;
mod project;
mod records;
mod writer;
