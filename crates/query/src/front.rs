//! The front of the read path: who may run a query now, who waits, and who is sent away.

mod pool;
mod turns;

pub use pool::Pool;
pub use turns::{Refused, Turn, Turns};
