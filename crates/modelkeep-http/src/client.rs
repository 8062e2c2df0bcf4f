//! Clients, and what is said of a request that got no whole answer.

use std::sync::Arc;
use std::time::Duration;

use modelkeep_core::{Error, Kind, Result};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap};
use rustls::RootCertStore;
use rustls::crypto::ring;

const CONNECT: Duration = Duration::from_secs(20);

/// A builder with TLS by ring; `plain` when no address begins with `https:`. The roots are Mozilla's and the system's:
/// slim containers have none, companies have their own.
pub fn builder(plain: bool) -> Result<reqwest::ClientBuilder> {
    let mut roots = RootCertStore::empty();
    if !plain {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal("no TLS").because(error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .user_agent(concat!("modelkeep/", env!("CARGO_PKG_VERSION"))))
}

/// A request to `whom` that got no whole answer. The URL is left out: some hold secrets.
pub fn broken(doing: &str, whom: &str, error: reqwest::Error) -> Error {
    let what = if error.is_connect() { format!("{whom} cannot be reached") } else { "the connection broke".to_owned() };
    Error::new(Kind::Unavailable, format!("{doing}: {what}"))
        .hint("check the network, then run it again")
        .because(error.without_url())
}

/// Nothing moved for so long.
pub fn silent(doing: &str, within: Duration) -> Error {
    Error::new(Kind::Unavailable, format!("{doing}: no byte for {} seconds", within.as_secs_f64()))
        .hint("check the network, then run it again: what was moved stays")
}

/// The size of the whole, of which a part comes: `Content-Range: bytes a-b/TOTAL`.
pub fn range_total(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_RANGE)?.to_str().ok()?.rsplit_once('/')?.1.parse().ok()
}

/// How many bytes come.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
