//! Requests that go out, and when one goes out again.
//!
//! Knows connections, tokens, waits and what an answer means for trying again. Does not know Drive's calls. Everything
//! that is tried again here may be repeated: callers see to that with ids made beforehand.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::stream;
use jiff::Timestamp;
use modelkeep_core::{Error, Kind, Result};
use modelkeep_http::silent;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, DATE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};

use super::Options;
use super::auth::{Auth, Secret};
use super::error::{Advice, Failure, Refusal};
use super::gauge::Gauge;
use super::limit::Limiter;
use crate::layer::Retry;

/// A body goes out in pieces of this many bytes, and the meter is told of each.
pub(super) const PIECE: usize = 256 << 10;

/// A request asks for so many other tokens before it believes that they are refused.
const RENEWALS: u32 = 3;

/// Google's services over HTTP.
#[derive(Debug)]
pub(super) struct Http {
    /// Metadata: many requests at once over one HTTP/2 connection.
    calls: reqwest::Client,
    /// Content: HTTP/1.1, a connection for each transfer, so that one dead socket or one flow-control window does
    /// not hold up the others.
    media: reqwest::Client,
    auth: Auth,
    pub limiter: Limiter,
    pub retry: Retry,
    pub stall: Duration,
    clock: Mutex<Option<Told>>,
}

/// The time as Google told it, and when.
#[derive(Debug, Clone, Copy)]
struct Told {
    time: Timestamp,
    at: Instant,
    /// By the wall clock too: the other one stands still while the machine sleeps.
    wall: SystemTime,
}

/// One request, which can be sent more than once.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Payload,
    /// Quota units.
    pub units: u32,
    /// Over a connection of its own.
    pub media: bool,
    /// What to say when it fails: `looking at models/v1`.
    pub doing: String,
    /// How many times as long as others it may take: Drive copies a large file while we wait.
    pub patience: u32,
}

/// What a request carries.
#[derive(Debug, Clone)]
pub(super) enum Payload {
    Nothing,
    Bytes(&'static str, Bytes),
    /// Content between what comes before and after it; the gauge is told of the content.
    Around {
        kind: String,
        before: Bytes,
        content: Bytes,
        after: Bytes,
        gauge: Arc<Gauge>,
    },
}

/// An answer, all of it.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Request {
    pub fn new(method: Method, url: Url, units: u32, doing: impl Into<String>) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Payload::Nothing,
            units,
            media: false,
            doing: doing.into(),
            patience: 1,
        }
    }

    pub fn json(mut self, value: &serde_json::Value) -> Self {
        self.body = Payload::Bytes("application/json; charset=UTF-8", Bytes::from(value.to_string()));
        self
    }

    fn gauge(&self) -> Option<&Arc<Gauge>> {
        if let Payload::Around { gauge, .. } = &self.body { Some(gauge) } else { None }
    }
}

impl Http {
    pub fn new(options: &Options, auth: Auth) -> Result<Self> {
        let endpoints = &options.endpoints;
        let plain = [&endpoints.api, &endpoints.upload, &endpoints.token].iter().all(|url| url.starts_with("http:"));
        let client = |builder: reqwest::ClientBuilder| {
            builder.build().map_err(|error| Error::internal("no HTTP client can be made").because(error))
        };
        Ok(Self {
            // HTTP/2's own default window of 64 KiB would cap a connection at a few MB a second.
            calls: client(builder(plain)?.http2_adaptive_window(true))?,
            media: client(builder(plain)?.http1_only())?,
            auth,
            limiter: Limiter::new(),
            retry: options.retry,
            stall: options.stall,
            clock: Mutex::new(None),
        })
    }

    /// Sends a request and reads its answer, again and again while that may help.
    pub async fn send(&self, request: &Request) -> Result<Answer, Failure> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let failure = match self.exchange(request).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if let Some(gauge) = request.gauge() {
                gauge.check().map_err(Failure::Stopped)?;
            }
            match self.wait_after(&failure, attempt) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(failure),
            }
        }
    }

    /// How long to wait before trying again after this failure; `None`: it is final.
    pub fn wait_after(&self, failure: &Failure, attempt: u32) -> Option<Duration> {
        let (slow, asked) = match failure {
            Failure::Stopped(_) => return None,
            Failure::Broken(_) => (false, None),
            Failure::Refused(refusal) => match refusal.advice() {
                Advice::Login | Advice::Stop => return None,
                Advice::SlowDown => (true, refusal.retry_after),
                Advice::Again => (false, refusal.retry_after),
            },
        };
        let wait = self.retry.wait_as_asked(attempt, asked)?;
        if slow {
            self.limiter.slow_down(wait / 2);
        }
        Some(wait)
    }

    async fn exchange(&self, request: &Request) -> Result<Answer, Failure> {
        let work = async {
            let response = self.once(request).await?;
            let (status, headers) = (response.status(), response.headers().clone());
            let body = response.bytes().await.map_err(|error| broken(&request.doing, error))?;
            Ok(Answer { status, headers, body })
        };
        if let Some(gauge) = request.gauge() {
            return gauge.watch(self.stall, &request.doing, work).await;
        }
        // An answer is small: all of it comes while a transfer may be silent, or it is broken off.
        let within = self.stall * request.patience;
        let answered = tokio::time::timeout(within, work).await;
        answered.unwrap_or_else(|_| Err(Failure::Broken(silent(&request.doing, within))))
    }

    /// Sends a request once, and again with another token if the one it had was stale: so may be one that another request
    /// asked for. What comes back is no refusal (308 is none).
    pub async fn once(&self, request: &Request) -> Result<Response, Failure> {
        let mut token = self.auth.token().await.map_err(unauthorized)?;
        let mut renewals = 0;
        loop {
            match self.once_as(request, &token).await {
                Err(Failure::Refused(refusal)) if refusal.advice() == Advice::Login => {
                    if renewals == RENEWALS {
                        return Err(Failure::Stopped(refusal.error().hint(self.auth.way_out())));
                    }
                    renewals += 1;
                    token = self.auth.renew(&token).await.map_err(unauthorized)?;
                }
                other => return other,
            }
        }
    }

    async fn once_as(&self, request: &Request, token: &Secret) -> Result<Response, Failure> {
        let mut sent = self.prepare(request);
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.reveal())).map_err(|_| {
            Failure::Stopped(Error::new(Kind::Auth, "the access token is no token").hint("modelkeep login gdrive"))
        })?;
        bearer.set_sensitive(true);
        sent = sent.header(AUTHORIZATION, bearer);
        if let Some(project) = self.auth.quota_project() {
            sent = sent.header("x-goog-user-project", project);
        }
        self.dispatch(request, sent).await
    }

    fn prepare(&self, request: &Request) -> reqwest::RequestBuilder {
        let client = if request.media { &self.media } else { &self.calls };
        let sent = client.request(request.method.clone(), request.url.clone()).headers(request.headers.clone());
        match &request.body {
            // Without a body, POST and PUT still owe a length.
            Payload::Nothing if request.method == Method::GET || request.method == Method::DELETE => sent,
            Payload::Nothing => sent.header(CONTENT_LENGTH, 0),
            Payload::Bytes(kind, bytes) => sent.header("content-type", *kind).body(bytes.clone()),
            Payload::Around { kind, before, content, after, gauge } => {
                let length = before.len() + content.len() + after.len();
                let body = in_pieces(before.clone(), content, after.clone(), Arc::clone(gauge));
                sent.header("content-type", kind).header(CONTENT_LENGTH, length).body(body)
            }
        }
    }

    async fn dispatch(&self, request: &Request, sent: reqwest::RequestBuilder) -> Result<Response, Failure> {
        self.limiter.pass(request.units).await;
        let response = sent.send().await.map_err(|error| broken(&request.doing, error))?;
        self.learn_time(response.headers());
        let status = response.status();
        if status.is_success() || status == StatusCode::PERMANENT_REDIRECT {
            return Ok(response);
        }
        let headers = response.headers().clone();
        // A refusal whose text is lost is still a refusal.
        let body = response.bytes().await.unwrap_or_default();
        Err(Failure::Refused(Refusal::parse(status.as_u16(), &headers, &body, &request.doing)))
    }

    /// Sends a body that the caller streams: once, and again only if the token was stale before a byte was taken.
    pub async fn stream(&self, request: &Request, body: reqwest::Body, length: u64) -> Result<Response, Failure> {
        let token = self.auth.token().await.map_err(unauthorized)?;
        let sent = self.media.request(request.method.clone(), request.url.clone()).headers(request.headers.clone());
        let sent = sent.header(CONTENT_LENGTH, length).bearer_auth(token.reveal()).body(body);
        let answer = self.dispatch(request, sent).await;
        if let Err(Failure::Refused(refusal)) = &answer
            && refusal.advice() == Advice::Login
        {
            // The next attempt has a new one.
            self.auth.renew(&token).await.map_err(unauthorized)?;
            let error = Error::new(Kind::Unavailable, format!("{}: the token ended meanwhile", request.doing));
            return Err(Failure::Broken(error));
        }
        answer
    }

    /// Google's time, as it was told by an answer less than half a minute ago.
    pub fn time(&self) -> Option<Timestamp> {
        let told = (*self.clock.lock().unwrap_or_else(PoisonError::into_inner))?;
        told.time(Instant::now(), SystemTime::now())
    }

    fn learn_time(&self, headers: &HeaderMap) {
        let Some(text) = headers.get(DATE).and_then(|value| value.to_str().ok()) else { return };
        let Ok(date) = jiff::fmt::rfc2822::parse(text) else { return };
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        *clock = Some(Told::after(*clock, date.timestamp(), Instant::now(), SystemTime::now()));
    }
}

impl Told {
    /// What is known after an answer of that date. Dates are whole seconds: time that has been told does not go back for
    /// that, and is as good as new.
    fn after(known: Option<Self>, date: Timestamp, at: Instant, wall: SystemTime) -> Self {
        let by_known = known.and_then(|told| told.time.checked_add(at.saturating_duration_since(told.at)).ok());
        let ahead = by_known.filter(|time| {
            let step = time.duration_since(date);
            step > jiff::SignedDuration::ZERO && step < jiff::SignedDuration::from_secs(2)
        });
        Self { time: ahead.unwrap_or(date), at, wall }
    }

    fn time(&self, at: Instant, wall: SystemTime) -> Option<Timestamp> {
        const RECENT: Duration = Duration::from_secs(30);
        let (since, by_wall) = (at.saturating_duration_since(self.at), wall.duration_since(self.wall).ok()?);
        let recent = since < RECENT && by_wall < RECENT;
        if recent { self.time.checked_add(since).ok() } else { None }
    }
}

fn unauthorized(error: Error) -> Failure {
    if error.kind() == Kind::Unavailable { Failure::Broken(error) } else { Failure::Stopped(error) }
}

/// A request that got no whole answer.
pub(super) fn broken(doing: &str, error: reqwest::Error) -> Failure {
    Failure::Broken(modelkeep_http::broken(doing, "Google", error))
}

/// A builder for clients of Google.
pub(super) fn builder(plain: bool) -> Result<reqwest::ClientBuilder> {
    // 308 is "go on" in an upload; all others may be followed, without the token on other hosts.
    let redirects = reqwest::redirect::Policy::custom(|attempt| {
        if attempt.status() == StatusCode::PERMANENT_REDIRECT || attempt.previous().len() > 5 {
            attempt.stop()
        } else {
            attempt.follow()
        }
    });
    Ok(modelkeep_http::builder(plain)?.redirect(redirects))
}

/// A body in pieces, each told before it goes; the body breaks when the meter says stop, so that nothing is made.
fn in_pieces(before: Bytes, content: &Bytes, after: Bytes, gauge: Arc<Gauge>) -> reqwest::Body {
    let mut pieces = vec![(before, None)];
    let mut at = 0;
    while at < content.len() {
        let end = content.len().min(at + PIECE);
        pieces.push((content.slice(at..end), Some(end as u64)));
        at = end;
    }
    pieces.push((after, None));
    let pieces = pieces.into_iter().map(move |(piece, reached)| {
        gauge.touch();
        reached.map_or(Ok(()), |offset| gauge.reach(offset)).map(|()| piece)
    });
    reqwest::Body::wrap_stream(stream::iter(pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_told_by_every_answer_and_does_not_go_back() {
        let (begin, wall) = (Instant::now(), SystemTime::now());
        let date: Timestamp = "2026-11-25T10:00:00Z".parse().unwrap();
        let mut told = Told::after(None, date, begin, wall);
        let mut last = date;
        // An answer every ten seconds and a half, whose date is cut to whole seconds.
        for nth in 1..20_u64 {
            let passed = Duration::from_millis(10_500 * nth);
            let date = date.checked_add(Duration::from_secs(passed.as_secs())).unwrap();
            told = Told::after(Some(told), date, begin + passed, wall + passed);
            let now = told.time(begin + passed, wall + passed).expect("it was told just now");
            assert!(now > last && now >= date, "{now}");
            last = now;
        }
        let asleep = Duration::from_secs(3600);
        assert_eq!(told.time(told.at, told.wall + asleep), None, "the other clock stood still");
        // A clock of Google's that was put right counts.
        let back = Told::after(Some(told), date, told.at, told.wall);
        assert_eq!(back.time, date);
    }
}
