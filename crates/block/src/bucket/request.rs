//! One request: its turn, its deadline, and when it is tried again.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use model::asker;
use model::error::ErrorKind;
use object_store::path::Path;
use tokio::time::Instant;

use super::{Bucket, BucketError, Inner, Operation};

/// The pause before the second try; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

thread_local! {
    static WAITS: Cell<u64> = const { Cell::new(0) };
}

/// How often this thread has waited for a request.
pub(crate) fn waits() -> u64 {
    WAITS.get()
}

/// How often to see whether the asker of a request still waits.
const LOOK_AFTER_ASKER: Duration = Duration::from_millis(50);

/// Why a try failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The store said so.
    Store(object_store::Error),
    /// It came otherwise than it should: another try may do better.
    Again(String),
    /// No other try will do better.
    Final(String),
}

impl Failure {
    /// A task of ours that did not end as it should.
    pub(super) fn lost(error: tokio::task::JoinError) -> Self {
        Self::Again(error.to_string())
    }
}

impl From<object_store::Error> for Failure {
    fn from(error: object_store::Error) -> Self {
        Self::Store(error)
    }
}

/// Sees that a body has the length it should have.
pub(super) fn whole(bytes: &Bytes, expected: u64) -> Result<(), Failure> {
    if bytes.len() as u64 == expected {
        return Ok(());
    }
    let got = bytes.len();
    Err(Failure::Again(format!(
        "{got} bytes came instead of {expected}"
    )))
}

impl Bucket {
    /// Runs a request on the bucket's threads and waits for it.
    pub(super) fn call<T, F>(
        &self,
        operation: Operation,
        key: &str,
        request: impl Fn(Arc<Inner>, Path) -> F + Send + 'static,
    ) -> Result<T, BucketError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send,
    {
        self.call_within(self.inner.timeout, operation, key, request)
    }

    /// Runs anything else on the bucket's threads, and waits for it.
    ///
    /// # Errors
    /// Where it panics.
    pub fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> std::io::Result<T> {
        let (answer, answered) = mpsc::sync_channel(1);
        if let Some(runtime) = &self.runtime {
            runtime.spawn(async move { drop(answer.send(future.await)) });
        }
        answered.recv().map_err(std::io::Error::other)
    }

    /// As [`Self::call`], with so much time for a try.
    pub(super) fn call_within<T, F>(
        &self,
        timeout: Duration,
        operation: Operation,
        key: &str,
        request: impl Fn(Arc<Inner>, Path) -> F + Send + 'static,
    ) -> Result<T, BucketError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let parsed = Path::parse(key);
        let path = parsed.map_err(|error| BucketError::config(format!("key {key:?}: {error}")))?;
        let path: Path = self.inner.prefix.parts().chain(path.parts()).collect();
        let inner = Arc::clone(&self.inner);
        let (answer, answered) = mpsc::sync_channel(1);
        let owned = key.to_owned();
        let run = async move {
            let done = inner
                .attempts(timeout, operation, &owned, path, request)
                .await;
            // Whoever asked waits for exactly this.
            drop(answer.send(done));
        };
        let Some(runtime) = &self.runtime else {
            return Err(BucketError::config("the bucket is closed".to_owned()));
        };
        WAITS.set(WAITS.get() + 1);
        let stopped = || {
            let what = "nobody waits for it any more";
            let bucket = &self.inner.described;
            BucketError::of(ErrorKind::Unavailable, bucket, operation, key, what)
        };
        if asker::has_gone() {
            return Err(stopped());
        }
        let task = runtime.spawn(run);
        if asker::current().is_none() {
            return answered.recv().unwrap_or_else(|_| Err(lost()));
        }
        loop {
            match answered.recv_timeout(LOOK_AFTER_ASKER) {
                Ok(done) => return done,
                Err(RecvTimeoutError::Disconnected) => return Err(lost()),
                Err(RecvTimeoutError::Timeout) if asker::has_gone() => {
                    task.abort();
                    return Err(stopped());
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

fn lost() -> BucketError {
    BucketError::config("a request was lost".to_owned())
}

impl Inner {
    async fn attempts<T, F: Future<Output = Result<T, Failure>>>(
        self: &Arc<Self>,
        timeout: Duration,
        operation: Operation,
        key: &str,
        path: Path,
        request: impl Fn(Arc<Self>, Path) -> F,
    ) -> Result<T, BucketError> {
        let mut tries = 0;
        loop {
            let began = Instant::now();
            let done = {
                let _slot = self.slots.acquire().await;
                if operation != Operation::GetRanges {
                    self.counters.request(operation);
                }
                let one = request(Arc::clone(self), path.clone());
                tokio::time::timeout(timeout, one).await
            };
            self.counters.took(operation, began.elapsed());
            let verdict = match done {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(failure)) => judge(failure),
                Err(_) => {
                    let what = format!("no answer within {} s", timeout.as_secs_f64());
                    Verdict::again(ErrorKind::Unavailable, what)
                }
            };
            if verdict.kind != Some(ErrorKind::NotFound) {
                self.counters.failed(operation);
            }
            if !verdict.again || tries == self.max_retries {
                let what = match tries {
                    0 => verdict.what,
                    _ => format!("{} (tried {} times)", verdict.what, tries + 1),
                };
                let bucket = &self.described;
                return Err(match verdict.kind {
                    Some(kind) => BucketError::of(kind, bucket, operation, key, &what),
                    None => BucketError::denied(bucket, operation, key, &what),
                });
            }
            tokio::time::sleep(pause(tries)).await;
            tries += 1;
        }
    }
}

/// What is to be done about a failed try.
pub(super) struct Verdict {
    /// What kind of failure it is; none: access is denied.
    pub(super) kind: Option<ErrorKind>,
    /// What it says.
    what: String,
    /// Whether another try may do better.
    again: bool,
}

impl Verdict {
    fn again(kind: ErrorKind, what: String) -> Self {
        Self {
            kind: Some(kind),
            what,
            again: true,
        }
    }

    fn last(kind: ErrorKind, what: String) -> Self {
        Self {
            kind: Some(kind),
            what,
            again: false,
        }
    }

    fn denied(what: String) -> Self {
        Self {
            kind: None,
            what,
            again: false,
        }
    }
}

pub(super) fn judge(failure: Failure) -> Verdict {
    use object_store::Error;
    let error = match failure {
        Failure::Again(what) => return Verdict::again(ErrorKind::Corrupt, what),
        Failure::Final(what) => return Verdict::last(ErrorKind::Invalid, what),
        Failure::Store(error) => error,
    };
    let what = error.to_string();
    match error {
        Error::NotFound { .. } => Verdict::last(ErrorKind::NotFound, "there is none".to_owned()),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Verdict::denied(what),
        Error::NotSupported { .. } | Error::NotImplemented { .. } => {
            Verdict::last(ErrorKind::Internal, what)
        }
        _ if tells_of_denial(&what) => Verdict::denied(what),
        _ => Verdict::again(ErrorKind::Unavailable, what),
    }
}

/// Whether the text of an error says that access is denied, where the library tells it in no other
/// way: by the status, which stands behind the encoded URL and before the body; of a session that
/// is over by the code in the body; of an object that S3 did not delete by the code at the end.
fn tells_of_denial(what: &str) -> bool {
    let (_, status) = what.split_once("status code: ").unwrap_or_default();
    let sessions = ["<Code>ExpiredToken</Code>", "<Code>InvalidToken</Code>"];
    status.starts_with("401 ")
        || status.starts_with("403 ")
        || status.starts_with("400 ") && sessions.iter().any(|code| status.contains(code))
        || what.ends_with("(code: AccessDenied)")
}

/// How long to wait before the next try: twice as long each time, less up to a half by chance, so
/// that those who failed together do not come back together.
fn pause(tries: u32) -> Duration {
    let full = FIRST_PAUSE
        .saturating_mul(1 << tries.min(16))
        .min(LONGEST_PAUSE);
    let chance = RandomState::new().hash_one(tries) % 512;
    full - full.mul_f64(chance as f64 / 1024.0)
}
