//! Two servers with the same data, asked the same: what they disagree on, made small, and what of
//! that is known and meant.

pub mod pair;
pub mod compare;
pub mod reduce;
pub mod known;
