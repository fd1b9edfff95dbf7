//! Every byte on a socket: remote write, the JSON of the query API, and how errors become codes.

pub mod service;
pub mod remote_write;
pub mod proto;
pub mod api_json;
pub mod status;
pub mod tenant;
