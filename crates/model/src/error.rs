//! What kind of failure an error is: the one thing about it that crosses crates.

/// The kinds of failure a caller acts differently upon. Each error enum of the workspace maps
/// to one; only `wire::status` turns kinds into codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Can never be accepted as it is.
    Invalid,
    /// Over a limit of the tenant's; later, or with a higher limit, it may pass.
    TooMany,
    /// What was asked for does not exist.
    NotFound,
    /// Against the state that is: another version, another owner.
    Conflict,
    /// Not now: overload, disk full, starting. Safe to retry.
    Unavailable,
    /// Stored bytes are not what they were.
    Corrupt,
    /// A fault of ours.
    Internal,
}
