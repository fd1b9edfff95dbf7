//! Harness for the tests of whole processes.
