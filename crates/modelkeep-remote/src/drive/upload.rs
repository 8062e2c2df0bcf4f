//! How content goes up: in one request, or in parts that can be resumed.
//!
//! Knows sessions, ranges and what a break in the middle means. Does not know paths or who else has that name. Source:
//! <https://developers.google.com/workspace/drive/api/guides/manage-uploads>.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use modelkeep_core::digest::Sha256;
use modelkeep_core::{Error, Kind, Result};
use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use super::auth::Secret;
use super::client::{Client, Metadata, decode, decode_bytes};
use super::error::{Advice, Failure, Refusal};
use super::gauge::Gauge;
use super::http::{Payload, Request, broken};
use super::limit::cost;
use super::source::{Feed, Pump};
use super::wire::File;

/// Every part but the last is a multiple of this.
const UNIT: u64 = 256 << 10;
const FIRST_PART: u64 = 8 << 20;
const LARGEST_PART: u64 = 512 << 20;
/// A part should take about so long: longer ones lose more when they break, shorter ones wait more.
const PART_TIME: Duration = Duration::from_secs(10);
/// So often a new session is begun for one upload.
const SESSIONS: u32 = 3;

/// What is uploaded.
#[derive(Debug)]
pub(super) struct Upload<'a> {
    pub client: &'a Client,
    /// The file whose content is replaced; `None` makes a new one.
    pub replaces: Option<&'a str>,
    pub metadata: &'a Metadata,
    pub kind: &'static str,
    pub gauge: Arc<Gauge>,
    pub doing: String,
}

/// What a session answers.
enum Answered {
    Done(Box<File>),
    /// So many bytes are there.
    Stored(u64),
}

/// What comes after a failure in a session.
enum Next {
    Go(u64),
    Done(Box<File>),
    NewSession,
}

impl Upload<'_> {
    /// In one request: for small content.
    pub async fn whole(&self, content: Bytes) -> Result<File, Failure> {
        let mut boundary = [0; 16];
        getrandom::fill(&mut boundary)
            .map_err(|error| Failure::Stopped(Error::internal("no randomness").because(error)))?;
        let boundary = format!("modelkeep-{}", hex::encode(boundary));
        let before = format!(
            "--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{}\r\n--{boundary}\r\nContent-Type: \
             {}\r\n\r\n",
            self.metadata.value(),
            self.kind
        );
        let url = self.client.upload_url(self.replaces, "multipart")?;
        let mut request = Request::new(self.method(), url, cost::WRITE, &*self.doing);
        request.body = Payload::Around {
            kind: format!("multipart/related; boundary={boundary}"),
            before: Bytes::from(before),
            content,
            after: Bytes::from(format!("\r\n--{boundary}--\r\n")),
            gauge: Arc::clone(&self.gauge),
        };
        decode(&self.client.http.send(&request).await?, &self.doing)
    }

    /// Begins a session: who has its address may write the file.
    pub async fn begin(&self, size: u64) -> Result<Secret, Failure> {
        let url = self.client.upload_url(self.replaces, "resumable")?;
        let mut request = Request::new(self.method(), url, cost::WRITE, &*self.doing).json(&self.metadata.value());
        request.headers.insert("x-upload-content-type", HeaderValue::from_static(self.kind));
        request.headers.insert("x-upload-content-length", HeaderValue::from(size));
        let answer = self.client.http.send(&request).await?;
        let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        location
            .map(Secret::new)
            .ok_or_else(|| Failure::Stopped(Error::internal(format!("{}: Drive began no upload session", self.doing))))
    }

    /// In parts, in a session that was begun. Goes on where the session stands, whatever breaks; a session that is gone
    /// is begun anew, and `renewed` is told.
    pub async fn in_parts(
        &self,
        mut session: Secret,
        known: bool,
        feed: &Feed,
        renewed: impl Fn(&Secret),
    ) -> Result<File, Failure> {
        let total = feed.size();
        let (mut at, mut part, mut attempt, mut sessions) = (0, FIRST_PART, 0, 1);
        let mut pump: Option<Pump> = None;
        if known {
            match self.ask(&session, total, 0, &mut attempt).await? {
                Next::Done(file) => return Ok(*file),
                Next::Go(stored) => at = stored,
                Next::NewSession => {
                    session = self.begin(total).await?;
                    renewed(&session);
                }
            }
            self.gauge.skip(at);
        }
        loop {
            let end = total.min(at.saturating_add(part));
            let reading = pump.take().unwrap_or_else(|| feed.pump(at));
            let began = Instant::now();
            let put = self.put(&session, &reading, at..end, total);
            let failure = match self.gauge.watch(self.client.http.stall, &self.doing, put).await {
                Ok(Answered::Done(file)) => return Ok(*file),
                Ok(Answered::Stored(stored)) if stored > at && stored <= end => {
                    attempt = 0;
                    part = grown(part, stored - at, began.elapsed());
                    // What was taken from the pump and not stored has to be read again.
                    pump = (stored == end).then_some(reading);
                    at = stored;
                    continue;
                }
                Ok(Answered::Stored(stored)) => {
                    let said = format!("{}: the session stands at {stored} after a part to {end}", self.doing);
                    Failure::Broken(Error::new(Kind::Unavailable, said))
                }
                Err(failure) => failure,
            };
            self.gauge.check().map_err(Failure::Stopped)?;
            if let Some(error) = feed.failure() {
                return Err(Failure::Stopped(error));
            }
            match self.after(failure, &session, total, at, &mut attempt).await? {
                Next::Done(file) => return Ok(*file),
                Next::Go(stored) => at = stored,
                Next::NewSession if sessions < SESSIONS => {
                    sessions += 1;
                    session = self.begin(total).await?;
                    renewed(&session);
                    self.gauge.skip_nothing();
                    at = 0;
                }
                Next::NewSession => return Err(Failure::Stopped(lost(&self.doing))),
            }
        }
    }

    /// Waits, if trying again may help, and asks where the session stands.
    async fn after(
        &self,
        failure: Failure,
        session: &Secret,
        total: u64,
        at: u64,
        attempt: &mut u32,
    ) -> Result<Next, Failure> {
        if let Failure::Refused(refusal) = &failure
            && refusal.advice() == Advice::Stop
        {
            return if is_lost(refusal) { Ok(Next::NewSession) } else { Err(failure) };
        }
        *attempt += 1;
        match self.client.http.wait_after(&failure, *attempt) {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return Err(failure),
        }
        self.ask(session, total, at, attempt).await
    }

    /// Where a session stands.
    async fn ask(&self, session: &Secret, total: u64, at: u64, attempt: &mut u32) -> Result<Next, Failure> {
        let mut request = Request::new(Method::PUT, address(session)?, cost::PART, &*self.doing);
        request.media = true;
        let range = format!("bytes */{total}");
        request.headers.insert(CONTENT_RANGE, header(&range)?);
        match self.client.http.send(&request).await {
            Ok(answer) if answer.status == StatusCode::PERMANENT_REDIRECT => {
                let stored = stored(&answer.headers);
                if stored > total {
                    return Ok(Next::NewSession);
                }
                if stored > at {
                    *attempt = 0;
                }
                Ok(Next::Go(stored))
            }
            Ok(answer) => Ok(Next::Done(Box::new(decode(&answer, &self.doing)?))),
            Err(Failure::Refused(refusal)) if refusal.advice() == Advice::Stop && is_lost(&refusal) => {
                Ok(Next::NewSession)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn put(
        &self,
        session: &Secret,
        pump: &Pump,
        range: std::ops::Range<u64>,
        total: u64,
    ) -> Result<Answered, Failure> {
        let mut request = Request::new(Method::PUT, address(session)?, cost::PART, &*self.doing);
        if total > 0 {
            let says = format!("bytes {}-{}/{total}", range.start, range.end - 1);
            request.headers.insert(CONTENT_RANGE, header(&says)?);
        }
        let length = range.end - range.start;
        let body = pump.body(range.start, length, Arc::clone(&self.gauge));
        let response: Response = self.client.http.stream(&request, body, length).await?;
        if response.status() == StatusCode::PERMANENT_REDIRECT {
            return Ok(Answered::Stored(stored(response.headers())));
        }
        let body = response.bytes().await.map_err(|error| broken(&self.doing, error))?;
        Ok(Answered::Done(Box::new(decode_bytes(&body, &self.doing)?)))
    }

    fn method(&self) -> Method {
        if self.replaces.is_some() { Method::PATCH } else { Method::POST }
    }
}

/// Whether a refusal in a session means that the session is of no more use. A taken id and what a person must mend are
/// answers, not lost sessions.
fn is_lost(refusal: &Refusal) -> bool {
    !matches!(refusal.status, 409) && !matches!(refusal.error().kind(), Kind::Quota | Kind::Auth)
}

fn lost(doing: &str) -> Error {
    Error::new(Kind::Unavailable, format!("{doing}: Drive lost the upload {SESSIONS} times"))
        .hint("run it again in a few minutes")
}

/// How large the next part should be, after one of `sent` bytes took so long.
fn grown(part: u64, sent: u64, took: Duration) -> u64 {
    let wanted = u128::from(sent) * PART_TIME.as_millis() / took.as_millis().max(1);
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
    let wanted = wanted.clamp(part / 2, part.saturating_mul(2)).clamp(FIRST_PART, LARGEST_PART);
    wanted / UNIT * UNIT
}

/// Bytes that a session has: `Range: bytes=0-N`, or no such header.
fn stored(headers: &HeaderMap) -> u64 {
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let last = range.and_then(|range| range.strip_prefix("bytes=")?.strip_prefix("0-")?.parse::<u64>().ok());
    last.map_or(0, |last| last + 1)
}

fn address(session: &Secret) -> Result<Url, Failure> {
    Url::parse(session.reveal())
        .map_err(|_| Failure::Stopped(Error::internal("an upload session's address cannot be read")))
}

fn header(text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text).map_err(|error| Failure::Stopped(Error::internal("a header").because(error)))
}

/// Compares what Drive has with what was sent; `None`: Drive has not said yet.
pub(super) fn agrees(file: &File, size: u64, sha256: &Sha256) -> Option<bool> {
    if file.size != size {
        return Some(false);
    }
    file.sha256_checksum.map(|there| there == *sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_with_the_rate_and_stay_whole_units() {
        let mut part = FIRST_PART;
        for _ in 0..20 {
            part = grown(part, part, Duration::from_millis(part / 100_000));
            assert!(part.is_multiple_of(UNIT) && (FIRST_PART..=LARGEST_PART).contains(&part));
        }
        assert!((500 << 20..=LARGEST_PART).contains(&part), "{part}");
        for _ in 0..20 {
            part = grown(part, part, Duration::from_secs(3600));
        }
        assert_eq!(part, FIRST_PART);
    }

    #[test]
    fn a_session_tells_how_much_it_has() {
        let with = |range: &str| [(RANGE, range.parse().unwrap())].into_iter().collect();
        assert_eq!(stored(&with("bytes=0-262143")), 262_144);
        assert_eq!(stored(&HeaderMap::new()), 0);
        assert_eq!(stored(&with("bytes=5-9")), 0);
    }
}
