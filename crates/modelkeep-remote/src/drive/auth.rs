//! Where access tokens come from, and when a new one is asked for.
//!
//! Knows tokens, their end, and that one renewal serves all requests that wait. Does not know Drive. Nothing secret is
//! printed, logged or put into an error.

mod keyring;
mod login;
mod oauth;
mod sources;
mod store;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use modelkeep_core::Result;
pub use modelkeep_http::Secret;

pub use self::keyring::Keyring;
pub use self::login::{Browser, Device, Scope, begin_device, paste};
pub use self::oauth::{Granted, OAuthClient, revoke};
pub use self::sources::{Callback, Command, Fixed, Machine, Refresh, application_default};
pub use self::store::{Credentials, Login};

/// An access token.
#[derive(Debug, Clone)]
pub struct Token {
    /// What is sent.
    pub secret: Secret,
    /// How long it is good for; `None`: nobody said.
    pub lifetime: Option<Duration>,
}

/// Something that gives access tokens.
#[async_trait]
pub trait TokenSource: Send + Sync + fmt::Debug {
    /// A token that is good now. Asked again when the last one ends or is refused.
    async fn token(&self) -> Result<Token>;

    /// The project that pays, when the source names one.
    fn quota_project(&self) -> Option<&str> {
        None
    }

    /// What to do when Google refuses its tokens.
    fn way_out(&self) -> &'static str {
        "modelkeep login gdrive"
    }
}

/// Access for all requests of a remote.
#[derive(Debug, Clone)]
pub struct Auth(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    source: Box<dyn TokenSource>,
    current: tokio::sync::Mutex<Option<Held>>,
}

#[derive(Debug, Clone)]
struct Held {
    secret: Secret,
    /// By both clocks: one stands still while the machine sleeps.
    until: Option<(Instant, SystemTime)>,
}

/// A token is renewed so long before it ends, or a request could carry it over its end.
const EARLY: Duration = Duration::from_secs(60);

impl Auth {
    /// Access by this source.
    pub fn new(source: impl TokenSource + 'static) -> Self {
        Self::boxed(Box::new(source))
    }

    /// The same by a source of a kind that is only known when the program runs.
    pub fn boxed(source: Box<dyn TokenSource>) -> Self {
        Self(Arc::new(Shared { source, current: tokio::sync::Mutex::new(None) }))
    }

    /// A token that is good now.
    pub(super) async fn token(&self) -> Result<Secret> {
        let mut current = self.0.current.lock().await;
        match &*current {
            Some(held) if held.is_good() => Ok(held.secret.clone()),
            _ => self.ask(&mut current).await,
        }
    }

    /// Another token than `refused`; of many that were refused at once, one asks.
    pub(super) async fn renew(&self, refused: &Secret) -> Result<Secret> {
        let mut current = self.0.current.lock().await;
        match &*current {
            Some(held) if held.secret != *refused => Ok(held.secret.clone()),
            _ => self.ask(&mut current).await,
        }
    }

    pub(super) fn quota_project(&self) -> Option<&str> {
        self.0.source.quota_project()
    }

    pub(super) fn way_out(&self) -> &'static str {
        self.0.source.way_out()
    }

    async fn ask(&self, current: &mut Option<Held>) -> Result<Secret> {
        let token = self.0.source.token().await?;
        let until = token.lifetime.map(|lifetime| {
            let lifetime = lifetime.saturating_sub(EARLY);
            (Instant::now() + lifetime, SystemTime::now() + lifetime)
        });
        *current = Some(Held { secret: token.secret.clone(), until });
        Ok(token.secret)
    }
}

impl Held {
    fn is_good(&self) -> bool {
        self.until.is_none_or(|(instant, wall)| Instant::now() < instant && SystemTime::now() < wall)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[derive(Debug)]
    struct Counted(Arc<AtomicU32>, Option<Duration>);

    #[async_trait]
    impl TokenSource for Counted {
        async fn token(&self) -> Result<Token> {
            tokio::task::yield_now().await;
            let number = self.0.fetch_add(1, Ordering::SeqCst);
            Ok(Token { secret: Secret::new(format!("token-{number}")), lifetime: self.1 })
        }
    }

    #[tokio::test]
    async fn one_renewal_serves_all_that_were_refused() {
        let asked = Arc::new(AtomicU32::new(0));
        let auth = Auth::new(Counted(Arc::clone(&asked), None));
        let tokens = join_all((0..20).map(|_| auth.token())).await;
        let first = tokens[0].as_ref().unwrap().clone();
        let renewed = join_all((0..20).map(|_| auth.renew(&first))).await;
        assert!(renewed.iter().all(|token| token.as_ref().unwrap().reveal() == "token-1"));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_token_is_renewed_before_it_ends() {
        let asked = Arc::new(AtomicU32::new(0));
        let auth = Auth::new(Counted(Arc::clone(&asked), Some(EARLY)));
        auth.token().await.unwrap();
        assert_eq!(auth.token().await.unwrap().reveal(), "token-1");
    }

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Secret::new("hush");
        assert_eq!(
            format!("{secret} {secret:?} {:?}", Token { secret: secret.clone(), lifetime: None })
                .matches("hush")
                .count(),
            0
        );
    }
}
