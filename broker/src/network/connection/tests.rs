//! Behaviour of one connection over an in-memory stream.

mod bench;

mod ending;
mod frames;
mod limits;
mod order;
