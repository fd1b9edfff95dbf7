//! The threads that evaluate queries, apart from the runtime's workers, so that a heavy query
//! never holds up a write.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crossbeam::channel::{Sender, bounded};

/// The stack of a thread: trees of the deepest queries are printed, told and dropped on it.
const STACK_BYTES: usize = 8 << 20;

type Job = Box<dyn FnOnce() + Send>;

/// A fixed number of threads. They end when the pool is dropped and its jobs are done.
#[derive(Debug)]
pub struct Pool {
    jobs: Sender<Job>,
}

impl Pool {
    /// Starts so many threads.
    ///
    /// # Errors
    /// Where the system grants no thread.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let threads = threads.max(1);
        // Turns bound what is handed over; the queue only spares the sender a wait.
        let (jobs, inbox) = bounded::<Job>(threads);
        for at in 0..threads {
            let inbox = inbox.clone();
            let name = format!("query-{at}");
            let thread = std::thread::Builder::new().name(name);
            thread.stack_size(STACK_BYTES).spawn(move || {
                while let Ok(job) = inbox.recv() {
                    // What a job panics with has been logged by the hook; its caller sees that
                    // no answer comes. The thread lives on.
                    let _ = catch_unwind(AssertUnwindSafe(job));
                }
            })?;
        }
        Ok(Self { jobs })
    }

    /// Runs a job on one of the threads. The receiver fails if the job panics.
    pub fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> tokio::sync::oneshot::Receiver<T> {
        let (answer, receiver) = tokio::sync::oneshot::channel();
        let job: Job = Box::new(move || {
            // Who asked may have gone away.
            let _ = answer.send(job());
        });
        // A full queue or a pool that is gone drops the job, which the receiver reports.
        let _ = self.jobs.try_send(job);
        receiver
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn survives_a_panic() {
        let pool = Pool::new(1).unwrap();
        assert!(pool.run(|| panic!("on purpose")).await.is_err());
        assert_eq!(pool.run(|| 7).await.unwrap(), 7);
    }
}
