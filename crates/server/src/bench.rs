//! `tidemark bench`: measurements that an operator makes on the own machine, with own data.

pub mod block;
mod report;
