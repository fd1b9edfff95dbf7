//! Stopping a query whose client has gone or whose time is up.

use promql::eval::CancelFlag;

/// Raises the flag when dropped: with the handler's future.
#[derive(Debug)]
pub(crate) struct CancelOnDrop(pub(crate) CancelFlag);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
