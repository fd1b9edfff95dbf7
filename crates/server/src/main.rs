//! The binary `tidemark`.
fn main() {}
