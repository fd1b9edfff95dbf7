//! The services of one process.
