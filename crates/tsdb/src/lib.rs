//! Every byte on the local disk: heads with their index, the write-ahead log, chunk files and
//! snapshots. Everything here is synchronous; who calls it decides on which thread.
//!
//! A write enters at [`store::Store::append`], a read at [`head::TenantHead::select`].

pub mod store;
pub mod head;
pub mod postings;
pub mod chunk_files;
pub mod wal;
pub mod disk;
