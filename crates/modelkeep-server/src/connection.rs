//! One connection: requests one after the other, limits on what a client may send and how long it may wait, its end.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tower_service::Service as _;

use crate::guard::CameInAt;

/// More headers than this are answered with 431.
const HEADERS: usize = 64 << 10;
/// A request's headers must be there after this long.
const TO_ASK: Duration = Duration::from_secs(30);
/// A client that takes nothing for so long is gone.
const TO_TAKE: Duration = Duration::from_secs(300);
/// After the last answer, what a client still sends is read for so long, so that it reads the answer and not a reset.
const TO_LEAVE: Duration = Duration::from_secs(2);

/// Serves a connection until it ends, or until it has answered what it is at when `stopping` says so.
pub async fn serve(socket: TcpStream, router: Router, mut stopping: watch::Receiver<bool>) {
    // Small answers must not wait for more.
    let _ = socket.set_nodelay(true);
    let came_in = socket.local_addr().ok();
    let service = service_fn(move |request| answer(router.clone(), request, came_in));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TO_ASK)
        .max_buf_size(HEADERS)
        .serve_connection(TokioIo::new(Taken::new(socket)), service);
    let mut told = false;
    loop {
        tokio::select! {
            // An error is the end of this connection and nobody else's; what can be said of it was answered.
            _ = poll_fn(|context| connection.poll_without_shutdown(context)) => break,
            _ = stopping.wait_for(|stopping| *stopping), if !told => {
                told = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    }
    if !told {
        leave(connection.into_parts().io.into_inner().socket).await;
    }
}

/// Every request is answered; the box is what lets the connection be taken apart at its end.
fn answer(
    mut router: Router,
    request: Request<Incoming>,
    came_in: Option<SocketAddr>,
) -> Pin<Box<dyn Future<Output = Result<Response<Body>, std::convert::Infallible>> + Send>> {
    let mut request = request.map(Body::new);
    if let Some(address) = came_in {
        request.extensions_mut().insert(CameInAt(address));
    }
    Box::pin(router.call(request))
}

/// Closing a socket with unread bytes in it resets the connection, and the client may lose the answer.
async fn leave(mut socket: TcpStream) {
    let _ = timeout(TO_LEAVE, async {
        socket.shutdown().await?;
        let mut nothing = vec![0; 16 << 10];
        while socket.read(&mut nothing).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
}

/// A socket whose client must take what it is sent.
#[derive(Debug)]
struct Taken {
    socket: TcpStream,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Taken {
    fn new(socket: TcpStream) -> Self {
        Self { socket, waiting: None }
    }

    /// What a write came to; one that waits too long fails.
    fn taken<T>(&mut self, context: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.waiting = None;
            return wrote;
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(TO_TAKE)));
        ready!(waiting.as_mut().poll(context));
        waiting.as_mut().reset(Instant::now() + TO_TAKE);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl AsyncRead for Taken {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, into)
    }
}

impl AsyncWrite for Taken {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.taken(context, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write_vectored(context, bytes);
        self.taken(context, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
