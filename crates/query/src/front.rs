//! The front of the read path: who may run a query now, who waits, and who is sent away.

mod bytes;
mod pool;
mod turns;

pub use bytes::{ByteGate, Full, HeldBytes};
pub use pool::Pool;
pub use turns::{Refused, Turn, Turns};
