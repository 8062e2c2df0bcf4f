//! Who may ask: under which name, from which page, with which token.
//!
//! A page of any web site can make a browser send requests to this machine, and with a name that leads here even read
//! the answers (DNS rebinding). What such a page cannot do is to ask for us by an address or name of our own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use modelkeep_core::digest::Sha256;
use modelkeep_core::{Error, Result};

use crate::app::App;
use crate::problem::Problem;

/// Who may ask.
#[derive(Debug)]
pub struct Guard {
    token: Option<Sha256>,
    names: Vec<String>,
}

/// Where a connection came in: the address a client may call us by.
#[derive(Debug, Clone, Copy)]
pub struct CameInAt(pub SocketAddr);

impl Guard {
    /// With the token and the further names that the user gave. An address that others can reach needs a token.
    pub fn new(listen: SocketAddr, token: Option<&str>, names: Vec<String>) -> Result<Self> {
        let token = token.filter(|token| !token.is_empty());
        if token.is_none() && !listen.ip().to_canonical().is_loopback() {
            return Err(Error::usage(format!("others can reach {}: it needs a token", listen.ip()))
                .hint(format!("modelkeep serve --listen {listen} --token \"$(openssl rand -hex 16)\"")));
        }
        Ok(Self { token: token.map(|token| Sha256::of(token.as_bytes())), names })
    }

    /// Digests are compared, so that the time it takes tells nothing of the token.
    fn is_right(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        bearer(headers).is_some_and(|given| Sha256::of(given.as_bytes()) == *token)
    }

    /// Whether `authority` (`host` or `host:port`) calls us by a name of our own; any port, since tunnels change it.
    fn is_ours(&self, authority: &str, came_in: Option<CameInAt>) -> bool {
        let Ok(authority) = authority.parse::<Authority>() else { return false };
        let host = authority.host();
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            let address = address.to_canonical();
            return address.is_loopback() || came_in.is_some_and(|at| at.0.ip().to_canonical() == address);
        }
        name == "localhost"
            || name.ends_with(".localhost")
            || self.names.iter().any(|known| known.eq_ignore_ascii_case(&name))
    }
}

/// The token that a request shows.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (kind, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    kind.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Lets a request through, or says why not.
pub async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let guard = &app.guard;
    let came_in = request.extensions().get::<CameInAt>().copied();
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default());
    let (host, more) = (hosts.next(), hosts.next());
    let asked = request.uri().authority().map(Authority::as_str).or(host);
    let Some(asked) = asked.filter(|_| more.is_none()) else {
        return Problem::new(StatusCode::BAD_REQUEST, "a request needs one Host header").into_response();
    };
    if !guard.is_ours(asked, came_in) || host.is_some_and(|host| !guard.is_ours(host, came_in)) {
        let shown: String = asked.chars().filter(char::is_ascii_graphic).take(80).collect();
        let message =
            format!("`{shown}` is no name of this server; allow it with: modelkeep serve --allow-host {shown}");
        return Problem::new(StatusCode::FORBIDDEN, message).into_response();
    }
    // A browser says which page asks; programs do not.
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        let page = origin.split_once("://").map_or("", |(_, authority)| authority);
        if !guard.is_ours(page, came_in) {
            return Problem::new(StatusCode::FORBIDDEN, "pages of other sites may not ask this server").into_response();
        }
    }
    if request.uri().path() != "/healthz" && !guard.is_right(headers) {
        let message = "this server wants its token: set HF_TOKEN, or send it as `Authorization: Bearer …`";
        return Problem::new(StatusCode::UNAUTHORIZED, message).into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> CameInAt {
        CameInAt(SocketAddr::new(address.parse().unwrap(), 80))
    }

    #[test]
    fn our_names_are_loopback_the_listening_address_and_what_was_allowed() {
        let guard = Guard::new("127.0.0.1:0".parse().unwrap(), None, vec!["Models.Example.org".to_owned()]).unwrap();
        for name in [
            "127.0.0.1",
            "127.0.0.1:1234",
            "127.8.8.8",
            "localhost:99",
            "LOCALHOST",
            "[::1]:80",
            "a.localhost",
            "models.example.org:8080",
            "localhost.",
        ] {
            assert!(guard.is_ours(name, Some(at("127.0.0.1"))), "{name}");
        }
        for name in [
            "",
            "example.org",
            "localhost.example.org",
            "127.0.0.1.example.org",
            "10.0.0.7",
            "evil@localhost.x",
            "notlocalhost",
            "[::2]",
            "localhost:80:80",
        ] {
            assert!(!guard.is_ours(name, Some(at("127.0.0.1"))), "{name}");
        }
        assert!(guard.is_ours("10.0.0.7:80", Some(at("10.0.0.7"))) && !guard.is_ours("10.0.0.8", Some(at("10.0.0.7"))));
    }

    #[test]
    fn what_others_can_reach_needs_a_token() {
        for open in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"] {
            assert!(Guard::new(open.parse().unwrap(), None, Vec::new()).is_err(), "{open}");
            assert!(Guard::new(open.parse().unwrap(), Some(""), Vec::new()).is_err(), "{open}");
            assert!(Guard::new(open.parse().unwrap(), Some("t"), Vec::new()).is_ok(), "{open}");
        }
        assert!(Guard::new("[::1]:1".parse().unwrap(), None, Vec::new()).is_ok());
    }
}
