//! Work that recurses with a query's tree: where that is deep, it runs on a thread with a stack
//! that takes the deepest tree there may be.

use std::io;
use std::thread;

/// Trees that nest deeper are worked on with a large stack.
pub(crate) const MAX_DEPTH_INLINE: usize = 40;
/// That stack, in bytes. It is address space; of memory, it costs what is used.
const LARGE_STACK_BYTES: usize = 64 << 20;

/// Runs on a thread with a large stack, and waits. The inner result fails where `run` panics.
///
/// # Errors
/// Where the system grants no thread.
pub(crate) fn on_large_stack<T: Send>(
    run: impl FnOnce() -> T + Send,
) -> io::Result<thread::Result<T>> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(LARGE_STACK_BYTES);
        Ok(builder.spawn_scoped(scope, run)?.join())
    })
}
