//! The way of every request: connection, latency, faults, the call itself, the log.
//!
//! Knows bytes and connections. Does not know what the calls mean.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use futures_util::{StreamExt as _, stream};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use jiff::fmt::rfc2822::DateTimePrinter;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tower_service::Service as _;

use super::app::App;
use super::call::Call;
use super::error::ApiError;
use super::fault::{Fate, Refusal, Says, Stall};

/// With a body larger than this still to come, an error goes out at once; else the rest is read first, so that the
/// client sees the answer and not a broken connection.
const READ_OUT: u64 = 16 << 20;

/// … unless it does not come: its client may be gone.
const SILENCE: Duration = Duration::from_millis(200);

/// So long a stalled request is silent.
const STALLED: Duration = Duration::from_secs(60);

/// Slow bodies go out in pieces of this.
const PIECE: usize = 16 << 10;

/// Accepts connections for ever.
pub async fn serve(listener: TcpListener, app: Arc<App>, router: Router) {
    loop {
        // What fails here is one connection (or too many of them), not the server.
        if let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(connection(socket, Arc::clone(&app), router.clone()));
        }
    }
}

async fn connection(socket: TcpStream, app: Arc<App>, router: Router) {
    // Small answers must not wait for more.
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request| {
        let (app, router) = (Arc::clone(&app), router.clone());
        // A call goes on when its client hangs up, as on a real server.
        async move { tokio::spawn(one(app, router, request)).await.unwrap_or(Err(Broken)) }
    });
    // An error means that the connection is over, which is what some faults are for.
    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
}

/// No answer: hyper closes the connection.
#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection was broken on purpose")
    }
}

impl std::error::Error for Broken {}

async fn one(app: Arc<App>, router: Router, request: Request<Incoming>) -> Result<Response<Body>, Broken> {
    let mut call = Call::of(request.method(), request.uri(), request.headers());
    let fate = app.faults.fate(&call);
    call.fault = (!fate.named.is_empty()).then(|| fate.named.join(","));
    let (parts, incoming) = request.into_parts();
    let source = Source(Arc::new(Taken { body: Mutex::new(incoming), count: AtomicU64::new(0) }));
    let has_body = source.size_hint().exact() != Some(0);

    let _under_way = (call.name != "fake").then(|| app.log.begin());
    let mut outcome = answer(&app, router, &call, &fate, Request::from_parts(parts, source.clone())).await;
    if let Ok(response) = &mut outcome {
        date(response, &app);
    }
    if outcome.as_ref().is_ok_and(|response| response.status().as_u16() >= 400) {
        source.read_out().await;
    }
    call.received = source.0.count.load(Ordering::Relaxed);
    call.status = outcome.as_ref().map_or(0, |response| response.status().as_u16());
    if call.name != "fake" {
        app.log.add(call);
    }
    shape_answer(outcome?, &fate, has_body)
}

/// The server's own time, which a test may have moved.
fn date(response: &mut Response<Body>, app: &App) {
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&app.now());
    if let Some(value) = text.ok().and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().insert(header::DATE, value);
    }
}

async fn answer(
    app: &App,
    mut router: Router,
    call: &Call,
    fate: &Fate,
    request: Request<Source>,
) -> Result<Response<Body>, Broken> {
    let latency = app.latency_ms.load(Ordering::Relaxed);
    if latency > 0 && call.name != "fake" {
        sleep(Duration::from_millis(latency)).await;
    }
    if fate.stall == Some(Stall::BeforeActing) {
        log_now(app, call);
        sleep(STALLED).await;
        return Err(Broken);
    }
    if let Some(refusal) = fate.refused {
        return Ok(refuse(refusal));
    }
    if let Some(id) = call.upload_id().filter(|_| fate.end_session) {
        app.sessions.end(id);
    }
    let cut = Arc::new(AtomicU64::new(0));
    let request = request.map(|source| shape_body(Body::new(source), fate, &cut));
    let response = match router.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    if fate.lost || cut.load(Ordering::Relaxed) > 0 {
        return Err(Broken);
    }
    let empty = response.body().size_hint().exact() == Some(0);
    if fate.stall == Some(Stall::AfterActing) || empty && fate.stall == Some(Stall::InTheAnswer) {
        log_now(app, call);
        sleep(STALLED).await;
    }
    Ok(response)
}

/// A call that never ends would never be in the log.
fn log_now(app: &App, call: &Call) {
    app.log.add(call.clone());
}

fn refuse(refusal: Refusal) -> Response<Body> {
    let status = |code| StatusCode::from_u16(code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    match refusal {
        Refusal::RateLimit { status: code, user, retry_after } => {
            let (reason, message) = if user {
                ("userRateLimitExceeded", "User rate limit exceeded.")
            } else {
                ("rateLimitExceeded", "Rate Limit Exceeded")
            };
            let error = ApiError::new(status(code), reason, message);
            match retry_after {
                Some(seconds) => error.with_header(header::RETRY_AFTER, seconds.to_string()).into_response(),
                None => error.into_response(),
            }
        }
        Refusal::Server { status: code, says: Says::Json } => {
            ApiError::new(status(code), "backendError", "Backend Error").into_response()
        }
        Refusal::Server { status: code, says: Says::Html } => {
            let page = format!("<!DOCTYPE html><html><title>Error {code} (Server Error)!!1</title></html>");
            (status(code), [(header::CONTENT_TYPE, "text/html; charset=UTF-8")], page).into_response()
        }
        Refusal::Server { status: code, says: Says::Nothing } => status(code).into_response(),
        Refusal::Token => ApiError::unauthorized().into_response(),
    }
}

/// A request's body, of which the rest can still be read when the call is done with it.
#[derive(Debug, Clone)]
struct Source(Arc<Taken>);

#[derive(Debug)]
struct Taken {
    body: Mutex<Incoming>,
    count: AtomicU64,
}

impl HttpBody for Source {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut body = self.0.body.lock().unwrap_or_else(PoisonError::into_inner);
        let polled = Pin::new(&mut *body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.0.count.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.body.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.0.body.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}

impl Source {
    async fn read_out(&self) {
        if self.is_end_stream() || self.size_hint().upper().is_none_or(|left| left > READ_OUT) {
            return;
        }
        let mut rest = Body::new(self.clone()).into_data_stream();
        while let Ok(Some(Ok(_))) = timeout(SILENCE, rest.next()).await {}
    }
}

/// A body that comes slowly, or not to its end. How often it was cut is counted in `cut`.
fn shape_body(body: Body, fate: &Fate, cut: &Arc<AtomicU64>) -> Body {
    let after = fate.cut.and_then(|cut| cut.up(body.size_hint().exact()));
    let rate = fate.slow.filter(|slow| slow.up).map(|slow| slow.rate);
    if after.is_none() && rate.is_none() {
        return body;
    }
    let cut = Arc::clone(cut);
    Body::from_stream(shaped(body, after, rate, move || {
        cut.fetch_add(1, Ordering::Relaxed);
    }))
}

fn shape_answer(response: Response<Body>, fate: &Fate, request_has_body: bool) -> Result<Response<Body>, Broken> {
    let size = response.body().size_hint().exact();
    let stall = fate.stall == Some(Stall::InTheAnswer);
    let cut = fate.cut.and_then(|cut| cut.down(size, request_has_body));
    let rate = fate.slow.map(|slow| slow.rate);
    if cut.is_none() && rate.is_none() && !stall {
        return Ok(response);
    }
    if cut.is_some() && size == Some(0) {
        return Err(Broken);
    }
    let (mut parts, body) = response.into_parts();
    if let Some(size) = size {
        // A stream has no length of its own.
        parts.headers.entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(size));
    }
    let pieces = shaped(body, cut, rate, || {});
    let body = if stall { Body::from_stream(paused(pieces, size.unwrap_or(2) / 2)) } else { Body::from_stream(pieces) };
    Ok(Response::from_parts(parts, body))
}

/// The same pieces, with a long silence after so many bytes.
fn paused(
    pieces: impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static,
    after: u64,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static {
    let mut left = Some(after);
    pieces.flat_map(move |piece| {
        let split = match (&piece, left) {
            (Ok(bytes), Some(before)) if before <= bytes.len() as u64 => {
                left = None;
                usize::try_from(before).ok()
            }
            (Ok(bytes), Some(before)) => {
                left = Some(before - bytes.len() as u64);
                None
            }
            _ => None,
        };
        let (first, rest) = match (piece, split) {
            (Ok(mut bytes), Some(at)) => {
                let rest = bytes.split_off(at);
                (Ok(bytes), Some(rest))
            }
            (piece, _) => (piece, None),
        };
        let rest = stream::iter(rest).then(|rest| async move {
            sleep(STALLED).await;
            Ok(rest)
        });
        stream::once(std::future::ready(first)).chain(rest)
    })
}

/// The pieces of a body at a rate, up to where it is cut.
fn shaped(
    body: Body,
    cut_after: Option<u64>,
    rate: Option<u64>,
    on_cut: impl Fn() + Send + 'static,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static {
    let state = (body.into_data_stream(), Bytes::new(), 0_u64, on_cut, false);
    stream::unfold(state, move |(mut pieces, mut waiting, sent, on_cut, over)| async move {
        if over {
            return None;
        }
        if waiting.is_empty() {
            waiting = match pieces.next().await? {
                Ok(bytes) => bytes,
                Err(error) => return Some((Err(io::Error::other(error)), (pieces, waiting, sent, on_cut, true))),
            };
        }
        let left = cut_after.map_or(u64::MAX, |cut| cut - sent);
        if left == 0 && !waiting.is_empty() {
            on_cut();
            let error = io::Error::new(io::ErrorKind::ConnectionReset, "cut on purpose");
            return Some((Err(error), (pieces, waiting, sent, on_cut, true)));
        }
        let most = if rate.is_some() { PIECE } else { usize::MAX };
        let length = waiting.len().min(most).min(usize::try_from(left).unwrap_or(usize::MAX));
        let piece = waiting.split_to(length);
        if let Some(rate) = rate {
            sleep(Duration::from_micros(length as u64 * 1_000_000 / rate)).await;
        }
        Some((Ok(piece), (pieces, waiting, sent + length as u64, on_cut, false)))
    })
}
