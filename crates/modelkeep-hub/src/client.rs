//! The Hub over HTTP: what is asked, what its answers mean, when a request is made again.
//!
//! Knows URLs, refusals and redirects. Does not know the cache. The token is sent to the endpoint alone.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use modelkeep_core::{Error, Kind, Result};
use modelkeep_http::{Secret, broken, builder, retry_after, silent};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LINK, RANGE};
use reqwest::{Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::access::Access;
use crate::repo::{Commit, RepoId};
use crate::wire::{ErrorBody, ErrorCode, ModelInfo, TreeEntry, header};

/// So many ranges are on their way at once, whatever the number of files; each may have to wait in memory for its turn.
const LANES: usize = 6;
/// An answer that is no content is never larger: a tree's page of a thousand entries has less than a megabyte.
const LARGEST: usize = 64 << 20;
/// No repository has more pages than this.
const PAGES: usize = 10_000;

/// The Hub.
#[derive(Debug, Clone)]
pub struct Hub {
    access: Arc<Access>,
    /// Questions.
    calls: reqwest::Client,
    /// Content: HTTP/1.1, a connection for each transfer, so that one dead socket does not hold up the others.
    content: reqwest::Client,
    pub(crate) lanes: Arc<Semaphore>,
}

/// A request that failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The Hub answered, with a refusal.
    Refused(Refusal),
    /// No answer, or half of one.
    Broken(Error),
    /// Asking again does not help.
    Stopped(Error),
}

/// An answer that is a refusal.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: u16,
    code: Option<ErrorCode>,
    message: String,
    retry_after: Option<Duration>,
    doing: String,
}

/// A file of a repository at a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The repository.
    pub repo: RepoId,
    /// The commit.
    pub commit: Commit,
    /// Its path there.
    pub path: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.repo, self.path)
    }
}

impl Hub {
    /// A client; asks nobody yet.
    pub fn new(access: Access) -> Result<Self> {
        let plain = access.endpoint.starts_with("http:");
        let client = |builder: reqwest::ClientBuilder| {
            builder.build().map_err(|error| Error::internal("no HTTP client can be made").because(error))
        };
        Ok(Self {
            // Content may be redirected from a plain endpoint to an encrypted one.
            calls: client(builder(plain)?)?,
            content: client(builder(false)?.http1_only())?,
            access: Arc::new(access),
            lanes: Arc::new(Semaphore::new(LANES)),
        })
    }

    /// How it is reached.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// A repository at a revision; `main` without one.
    pub async fn info(&self, repo: &RepoId, revision: Option<&str>) -> Result<ModelInfo> {
        let mut parts = vec!["api", "models"];
        parts.extend(repo.as_str().split('/'));
        parts.extend(revision.into_iter().flat_map(|revision| ["revision", revision]));
        let doing = match revision {
            Some(revision) => format!("asking for {repo}@{revision}"),
            None => format!("asking for {repo}"),
        };
        let (info, _) = self.json(self.url(&parts)?, repo, &doing).await?;
        Ok(info)
    }

    /// Every file of a repository at a commit.
    pub async fn tree(&self, repo: &RepoId, commit: &Commit) -> Result<Vec<TreeEntry>> {
        let mut parts = vec!["api", "models"];
        parts.extend(repo.as_str().split('/'));
        parts.extend(["tree", commit.as_str()]);
        let mut url = self.url(&parts)?;
        url.set_query(Some("recursive=true&expand=false"));
        let doing = format!("listing {repo}");
        let mut entries = Vec::new();
        let mut seen = BTreeSet::new();
        loop {
            if !seen.insert(url.to_string()) || seen.len() > PAGES {
                return Err(Error::integrity(format!("{doing}: the pages have no end")));
            }
            let (page, headers): (Vec<TreeEntry>, _) = self.json(url.clone(), repo, &doing).await?;
            entries.extend(page);
            match next_page(&headers).and_then(|next| url.join(next).ok()) {
                Some(next) => url = next,
                None => return Ok(entries),
            }
        }
    }

    /// Whether a file can be read now, by its first byte: what is listed may be kept back all the same (a gated
    /// repository).
    pub async fn may_read(&self, place: &Place) -> Result<bool> {
        match self.open(place, &(0..1), false).await {
            Ok(_) => Ok(true),
            Err(failure) => match self.error(failure, &place.repo) {
                error if matches!(error.kind(), Kind::NotFound | Kind::Auth) => Ok(false),
                error => Err(error),
            },
        }
    }

    /// Begins to read a range of a file. The answer may be of the whole file: a server need not know ranges.
    pub(crate) async fn open(&self, place: &Place, range: &Range<u64>, whole: bool) -> Result<Response, Failure> {
        let mut parts: Vec<&str> = place.repo.as_str().split('/').collect();
        parts.extend(["resolve", place.commit.as_str()]);
        parts.extend(place.path.split('/'));
        let url = self.url(&parts).map_err(Failure::Stopped)?;
        let mut request = self.content.get(url.clone());
        if !whole {
            request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        }
        self.send(self.with_token(request, &url), &format!("fetching {place}")).await
    }

    /// How long to wait before asking again after this failure; `None`: it is final.
    pub(crate) fn wait_after(&self, failure: &Failure, attempt: u32) -> Option<Duration> {
        let asked = match failure {
            Failure::Broken(_) => None,
            Failure::Refused(refusal) if refusal.is_passing() => refusal.retry_after,
            Failure::Refused(_) | Failure::Stopped(_) => return None,
        };
        self.access.retry.wait_as_asked(attempt, asked)
    }

    /// A failure as what a person reads.
    pub(crate) fn error(&self, failure: Failure, repo: &RepoId) -> Error {
        match failure {
            Failure::Refused(refusal) => refusal.error(&self.access, repo),
            Failure::Broken(error) | Failure::Stopped(error) => error,
        }
    }

    fn url(&self, parts: &[&str]) -> Result<Url> {
        let mut url = Url::parse(&self.access.endpoint)
            .map_err(|error| Error::usage(format!("{} is no address", self.access.endpoint)).because(error))?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        Ok(url)
    }

    /// The token goes to the endpoint alone; a redirect to another origin leaves it behind (`reqwest` does that).
    fn with_token(&self, request: reqwest::RequestBuilder, url: &Url) -> reqwest::RequestBuilder {
        let ours = Url::parse(&self.access.endpoint).is_ok_and(|endpoint| endpoint.origin() == url.origin());
        match self.access.token.as_ref().filter(|_| ours).and_then(bearer) {
            Some(bearer) => request.header(AUTHORIZATION, bearer),
            None => request,
        }
    }

    async fn json<T: DeserializeOwned>(&self, url: Url, repo: &RepoId, doing: &str) -> Result<(T, HeaderMap)> {
        let mut attempt = 0;
        let (body, headers) = loop {
            attempt += 1;
            let failure = match self.exchange(&url, doing).await {
                Ok(answer) => break answer,
                Err(failure) => failure,
            };
            match self.wait_after(&failure, attempt) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(self.error(failure, repo)),
            }
        };
        let value = serde_json::from_slice(&body).map_err(|error| {
            let error = Error::integrity(format!("{doing}: the answer is none of a Hub")).because(error);
            if self.access.is_hugging_face() { error } else { error.hint("check HF_ENDPOINT") }
        })?;
        Ok((value, headers))
    }

    async fn exchange(&self, url: &Url, doing: &str) -> Result<(Bytes, HeaderMap), Failure> {
        let mut response = self.send(self.with_token(self.calls.get(url.clone()), url), doing).await?;
        let headers = response.headers().clone();
        let mut body = Vec::new();
        while let Some(piece) = self.piece(&mut response, doing).await? {
            if body.len() + piece.len() > LARGEST {
                let error = Error::integrity(format!("{doing}: the answer is longer than any list of files"));
                return Err(Failure::Stopped(error));
            }
            body.extend_from_slice(&piece);
        }
        Ok((body.into(), headers))
    }

    /// The next bytes of an answer; silence is a failure.
    pub(crate) async fn piece(&self, response: &mut Response, doing: &str) -> Result<Option<Bytes>, Failure> {
        let within = self.access.stall;
        let Ok(piece) = tokio::time::timeout(within, response.chunk()).await else {
            return Err(Failure::Broken(silent(doing, within)));
        };
        piece.map_err(|error| Failure::Broken(self.broken(doing, error)))
    }

    async fn send(&self, request: reqwest::RequestBuilder, doing: &str) -> Result<Response, Failure> {
        let within = self.access.stall;
        let Ok(sent) = tokio::time::timeout(within, request.send()).await else {
            return Err(Failure::Broken(silent(doing, within)));
        };
        let response = sent.map_err(|error| {
            if error.is_redirect() {
                let why = "the Hub redirects without end";
                return Failure::Stopped(
                    Error::new(Kind::Unavailable, format!("{doing}: {why}")).because(error.without_url()),
                );
            }
            Failure::Broken(self.broken(doing, error))
        })?;
        if self.access.first_hand && response.headers().contains_key(header::SERVED) {
            let what = format!("{doing}: {} is `modelkeep serve`, which is not the Hub", self.access.endpoint);
            return Err(Failure::Stopped(Error::new(Kind::Unavailable, what).hint("check HF_ENDPOINT")));
        }
        let status = response.status();
        if status == StatusCode::OK || status == StatusCode::PARTIAL_CONTENT {
            return Ok(response);
        }
        let headers = response.headers().clone();
        // A refusal whose text is lost is still a refusal.
        let body = tokio::time::timeout(within, response.bytes()).await.ok().and_then(Result::ok).unwrap_or_default();
        Err(Failure::Refused(Refusal::parse(status.as_u16(), &headers, &body, doing)))
    }

    fn broken(&self, doing: &str, error: reqwest::Error) -> Error {
        broken(doing, if self.access.is_hugging_face() { "huggingface.co" } else { &self.access.endpoint }, error)
    }
}

fn bearer(token: &Secret) -> Option<HeaderValue> {
    let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.reveal())).ok()?;
    bearer.set_sensitive(true);
    Some(bearer)
}

/// `Link: <URL>; rel="next"` (RFC 8288).
fn next_page(headers: &HeaderMap) -> Option<&str> {
    let links = headers.get(LINK)?.to_str().ok()?;
    let next = links.split(',').find(|link| link.contains("rel=\"next\""))?;
    Some(next.trim().strip_prefix('<')?.split_once('>')?.0)
}

impl Refusal {
    fn parse(status: u16, headers: &HeaderMap, body: &[u8], doing: &str) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let said = serde_json::from_slice::<ErrorBody>(body).ok().map(|body| body.error);
        Self {
            status,
            code: text(header::ERROR_CODE).and_then(|code| code.parse().ok()),
            message: text(header::ERROR_MESSAGE).map(str::to_owned).or(said).unwrap_or_default(),
            retry_after: retry_after(headers),
            doing: doing.to_owned(),
        }
    }

    /// Whether asking again may help.
    fn is_passing(&self) -> bool {
        matches!(self.status, 408 | 429 | 500..=599)
    }

    /// What to do about it is said as a person would do it.
    fn error(&self, access: &Access, repo: &RepoId) -> Error {
        let page = format!("{}/{repo}", access.endpoint);
        let login = access.token.is_none();
        let doing = &self.doing;
        match (self.code, self.status) {
            (Some(ErrorCode::GatedRepo), _) => {
                let error = Error::new(
                    Kind::Auth,
                    format!("{repo} is gated: who has not accepted its conditions cannot have it"),
                );
                if login {
                    error.hint(format!(
                        "hf auth login (or set HF_TOKEN), accept the conditions at {page}, then run it again"
                    ))
                } else {
                    error.hint(format!(
                        "accept the conditions at {page} with the account of your token, then run it again"
                    ))
                }
            }
            (Some(ErrorCode::RevisionNotFound), _) => {
                Error::not_found(format!("{doing}: there is no such revision")).hint(format!("modelkeep fetch {repo}"))
            }
            (Some(ErrorCode::EntryNotFound), _) => Error::not_found(format!("{doing}: there is no such file")),
            // The Hub does not tell a private repository from one that is not there.
            (Some(ErrorCode::RepoNotFound), _) | (None, 401) if login => {
                Error::not_found(format!("{repo} is not on the Hub, or it is private"))
                    .hint("check the name; for a private one: hf auth login (or set HF_TOKEN)")
            }
            (Some(ErrorCode::RepoNotFound), _) => {
                Error::not_found(format!("{repo} is not on the Hub, or not for the account of your token"))
                    .hint("check the name, and who you are: hf auth whoami")
            }
            (None, 401) => Error::new(Kind::Auth, format!("{doing}: the Hub does not take your token"))
                .hint("hf auth login (or set another HF_TOKEN)"),
            (None, 403) => Error::new(Kind::Auth, format!("{doing}: {}", self.said())).hint("hf auth whoami"),
            (None, 404) => {
                Error::not_found(format!("{doing}: {}", self.said())).hint("check the name, and HF_ENDPOINT")
            }
            (None, 408 | 429 | 500..=599) => Error::new(Kind::Unavailable, format!("{doing}: {}", self.said()))
                .hint("run it again in a few minutes: what came stays"),
            (None, _) => Error::new(Kind::Unavailable, format!("{doing}: {}", self.said())),
        }
    }

    fn said(&self) -> String {
        match &*self.message {
            "" => format!("the Hub answered {}", self.status),
            message => format!("the Hub answered {}: {message}", self.status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_the_one_that_says_so() {
        let of = |text: &str| {
            let headers: HeaderMap = [(LINK, text.parse().unwrap())].into_iter().collect();
            next_page(&headers).map(str::to_owned)
        };
        assert_eq!(of("<http://h/x?cursor=a>; rel=\"next\"").as_deref(), Some("http://h/x?cursor=a"));
        assert_eq!(of("<http://h/1>; rel=\"prev\", <http://h/3>; rel=\"next\"").as_deref(), Some("http://h/3"));
        assert_eq!(of("<http://h/1>; rel=\"prev\""), None);
    }
}
