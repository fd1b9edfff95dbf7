//! Blocks give back what was written, bit for bit, and never hand out damaged bytes.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod series;
mod select;
mod write;
mod exemplars;
mod damage;
mod random;
