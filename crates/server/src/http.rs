//! The HTTP listener: bounded connections, a timeout for heads, panics caught, and a shutdown
//! that lets requests in flight finish.

use std::any::Any;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// How long to wait after the system refused a connection (no file descriptors, usually).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a client may take nothing of what it is being sent.
const WRITE_STALL: Duration = Duration::from_secs(60);

/// The bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) max_connections: usize,
    pub(crate) header_read_timeout: Duration,
}

/// Accepts connections until `stop`; then tells those that are open to finish, and returns.
/// Wait for `tasks` to know that they have.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let slots = Arc::new(Semaphore::new(
        bounds.max_connections.min(Semaphore::MAX_PERMITS),
    ));
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            () = stop.cancelled() => return,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = connection(stream, router.clone(), bounds, stop.clone());
                tasks.spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!("can't accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router, bounds: Bounds, stop: CancellationToken) {
    // Answers are small and waited for.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("can't set TCP_NODELAY: {error}");
    }
    let service = service_fn(move |request: Request<Incoming>| answer(router.clone(), request));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(bounds.header_read_timeout)
            .serve_connection(TokioIo::new(Unstalled::new(stream)), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients that go away, or that speak no HTTP: nothing for an operator.
        tracing::debug!("connection ended: {error}");
    }
}

/// A stream that fails when its other end takes nothing for [`WRITE_STALL`]: what waits to be
/// sent takes memory.
struct Unstalled<S> {
    stream: S,
    /// When it is too late; set while a write waits.
    late: Option<Pin<Box<Sleep>>>,
}

impl<S> Unstalled<S> {
    fn new(stream: S) -> Self {
        Self { stream, late: None }
    }

    fn check<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.late = None;
            return written;
        }
        let late = self
            .late
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_STALL)));
        late.as_mut().poll(cx).map(|()| {
            let text = format!("the client took nothing for {WRITE_STALL:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unstalled<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unstalled<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.check(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.check(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Answers one request; a panic becomes a 500.
async fn answer(router: Router, request: Request<Incoming>) -> Result<Response, Infallible> {
    let mut answer = pin!(router.oneshot(request.map(Body::new)));
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => {
                tracing::error!("a request panicked: {}", panic_text(&*panic));
                let text = "internal error: the log has the details\n";
                Poll::Ready(Ok((StatusCode::INTERNAL_SERVER_ERROR, text).into_response()))
            }
        },
    )
    .await
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;

    async fn start(
        router: Router,
        max_connections: usize,
    ) -> (std::net::SocketAddr, CancellationToken, TaskTracker) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let bounds = Bounds {
            max_connections,
            header_read_timeout: Duration::from_secs(5),
        };
        tasks.spawn(serve(listener, router, bounds, stop.clone(), tasks.clone()));
        (address, stop, tasks)
    }

    async fn ask(stream: &mut TcpStream, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_panic_is_a_500_and_the_process_lives_on() {
        async fn panics() -> &'static str {
            panic!("on purpose")
        }
        let router = Router::new()
            .route("/panics", axum::routing::get(panics))
            .route("/works", axum::routing::get(|| async { "yes" }));
        let (address, stop, tasks) = start(router, 1).await;
        for (path, expected) in [("/panics", "HTTP/1.1 500"), ("/works", "HTTP/1.1 200")] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            assert!(ask(&mut stream, path).await.starts_with(expected), "{path}");
        }
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_cut_off() {
        let (near, mut far) = tokio::io::duplex(4);
        let mut near = Unstalled::new(near);
        near.write_all(b"abcd").await.unwrap();
        // Whoever reads late, but reads, is served.
        let late = async {
            tokio::time::sleep(WRITE_STALL - Duration::from_secs(1)).await;
            far.read_exact(&mut [0; 4]).await.unwrap();
        };
        let (written, ()) = tokio::join!(near.write_all(b"efgh"), late);
        written.unwrap();
        let stalled = near.write_all(b"ijkl").await.unwrap_err();
        assert_eq!(stalled.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_goes_away_drops_the_handler() {
        struct Tell(Option<oneshot::Sender<()>>);
        impl Drop for Tell {
            fn drop(&mut self) {
                let _ = self.0.take().unwrap().send(());
            }
        }
        let (entered, has_entered) = oneshot::channel();
        let (dropped, was_dropped) = oneshot::channel();
        let once = std::sync::Mutex::new(Some((entered, Tell(Some(dropped)))));
        let handler = move || {
            let (entered, guard) = once.lock().unwrap().take().unwrap();
            async move {
                let _guard = guard;
                entered.send(()).unwrap();
                std::future::pending::<&'static str>().await
            }
        };
        let handler = Arc::new(handler);
        let router = Router::new().route("/", axum::routing::get(move || handler()));
        let (address, _stop, _tasks) = start(router, 5).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        has_entered.await.unwrap();
        drop(stream);
        was_dropped.await.unwrap();
    }

    #[tokio::test]
    async fn requests_in_flight_are_finished() {
        let (entered, has_entered) = oneshot::channel();
        let (go, may_go) = oneshot::channel::<()>();
        let once = std::sync::Mutex::new(Some((entered, may_go)));
        let handler = Arc::new(move || {
            let (entered, may_go) = once.lock().unwrap().take().unwrap();
            async move {
                entered.send(()).unwrap();
                may_go.await.unwrap();
                "done"
            }
        });
        let router = Router::new().route("/", axum::routing::get(move || handler()));
        let (address, stop, tasks) = start(router, 5).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        has_entered.await.unwrap();
        stop.cancel();
        go.send(()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("done"), "{answer}");
        tasks.close();
        tasks.wait().await;
    }
}
