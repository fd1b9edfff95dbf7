//! Every byte on a socket: remote write, the JSON of the query API, and how errors become codes.

pub mod remote_write;
pub mod service;
