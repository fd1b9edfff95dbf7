//! The process: command line, configuration, logging, listener, pages, and the roles wired
//! together. The binary is `tidemark`.

pub mod args;
pub mod bench;
pub mod bucket_cli;
pub mod config;
pub mod logging;
pub mod run;
pub mod version;
mod app;
mod http;
mod pages;
mod process;
mod readiness;
mod storage;
