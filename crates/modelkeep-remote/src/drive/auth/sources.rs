//! The ways to a token: a login, Google's default credentials, the machine itself, a variable, a command, a callback.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use modelkeep_core::{Error, Kind, Result};
use serde::Deserialize;

use super::oauth::grant;
use super::{OAuthClient, Secret, Token, TokenSource};
use crate::drive::http::{broken, builder};
use crate::drive::source::blocking;
use crate::folder::failed;

/// The login of a person.
#[derive(Debug, Clone)]
pub struct Refresh {
    /// By which program.
    pub client: OAuthClient,
    /// The login itself.
    pub refresh_token: Secret,
    /// The token endpoint.
    pub url: String,
    /// The project that pays.
    pub quota_project: Option<String>,
}

#[async_trait]
impl TokenSource for Refresh {
    async fn token(&self) -> Result<Token> {
        let mut form = vec![
            ("client_id", &*self.client.client_id),
            ("refresh_token", self.refresh_token.reveal()),
            ("grant_type", "refresh_token"),
        ];
        form.extend(self.client.client_secret.as_ref().map(|secret| ("client_secret", secret.reveal())));
        let granted = grant(&self.url, &form, "renewing the login").await?;
        Ok(Token { secret: granted.access_token, lifetime: granted.expires_in.map(Duration::from_secs) })
    }

    fn quota_project(&self) -> Option<&str> {
        self.quota_project.as_deref()
    }
}

/// The service account of the machine: a metadata server on Google's machines, and in Colab that of the person.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The metadata server's address of tokens.
    pub url: String,
    /// What is asked for.
    pub scope: String,
}

#[derive(Deserialize)]
struct MachineToken {
    access_token: Secret,
    expires_in: Option<u64>,
}

#[async_trait]
impl TokenSource for Machine {
    async fn token(&self) -> Result<Token> {
        let doing = "asking this machine for a token";
        let client = builder(true)?.timeout(Duration::from_secs(10)).no_proxy().build();
        let client = client.map_err(|error| Error::from(broken(doing, error)))?;
        let url = reqwest::Url::parse_with_params(&self.url, [("scopes", &*self.scope)])
            .map_err(|error| Error::usage(format!("{} is no address", self.url)).because(error))?;
        let sent = client.get(url).header("Metadata-Flavor", "Google").send().await;
        let response = sent.map_err(|error| Error::from(broken(doing, error)))?;
        let (status, body) = (response.status(), response.bytes().await);
        let body = body.map_err(|error| Error::from(broken(doing, error)))?;
        let token: MachineToken = serde_json::from_slice(&body).map_err(|_| {
            Error::new(Kind::Auth, format!("{doing}: it answered {status}")).hint("modelkeep login gdrive")
        })?;
        Ok(Token { secret: token.access_token, lifetime: token.expires_in.map(Duration::from_secs) })
    }
}

/// A token that somebody else renews: from a variable, good until it is refused.
#[derive(Debug, Clone)]
pub struct Fixed(pub Secret);

#[async_trait]
impl TokenSource for Fixed {
    async fn token(&self) -> Result<Token> {
        Ok(Token { secret: self.0.clone(), lifetime: None })
    }

    fn way_out(&self) -> &'static str {
        "give a new token (Google's are good for an hour), or a way that renews it: modelkeep login gdrive"
    }
}

/// A command that prints a token. It is run again when the token is refused.
#[derive(Debug, Clone)]
pub struct Command(pub String);

#[async_trait]
impl TokenSource for Command {
    async fn token(&self) -> Result<Token> {
        let command = self.0.clone();
        blocking(move || {
            let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
            let wrong = |why: String| {
                Error::new(Kind::Auth, format!("the token command `{command}` {why}"))
                    .hint("run it in a terminal: it has to print a token and nothing else")
            };
            let run = std::process::Command::new(shell).arg(flag).arg(&command).output();
            let output = run.map_err(|error| wrong("cannot be run".to_owned()).because(error))?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                let said = if said.trim().is_empty() { String::new() } else { format!(": {}", said.trim()) };
                return Err(wrong(format!("failed ({}){said}", output.status)));
            }
            match String::from_utf8_lossy(&output.stdout).trim() {
                "" => Err(wrong("printed nothing".to_owned())),
                token => Ok(Token { secret: Secret::new(token), lifetime: None }),
            }
        })
        .await
    }
}

type Call = dyn Fn() -> Result<Token> + Send + Sync;

/// Somebody who gives a token when called: a program that embeds this one.
#[derive(Clone)]
pub struct Callback(pub std::sync::Arc<Call>);

impl std::fmt::Debug for Callback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Callback")
    }
}

#[async_trait]
impl TokenSource for Callback {
    async fn token(&self) -> Result<Token> {
        let call = std::sync::Arc::clone(&self.0);
        blocking(move || call()).await
    }
}

/// The file of Google's default credentials; `type` says what else is in it.
#[derive(Deserialize)]
struct DefaultFile {
    r#type: String,
    client_id: Option<String>,
    client_secret: Option<Secret>,
    refresh_token: Option<Secret>,
    quota_project_id: Option<String>,
}

/// Application Default Credentials from a file: `$GOOGLE_APPLICATION_CREDENTIALS`, else
/// `~/.config/gcloud/application_default_credentials.json`. `None` where there is none; then [`Machine`] may do.
pub fn application_default(given: Option<&Path>, home: Option<&Path>, token_url: &str) -> Result<Option<Refresh>> {
    let usual = || home.map(|home| home.join(".config/gcloud/application_default_credentials.json"));
    let Some(path): Option<PathBuf> = given.map(Path::to_owned).or_else(usual) else { return Ok(None) };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if given.is_none() && error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("reading", &path, error)),
    };
    // What cannot be read may hold a secret, so the cause, which could quote it, is left out.
    let file: DefaultFile = serde_json::from_str(&text).map_err(|_| {
        Error::new(Kind::Auth, format!("{} holds no credentials", path.display())).hint("modelkeep login gdrive")
    })?;
    match (&*file.r#type, file.client_id, file.refresh_token) {
        ("authorized_user", Some(client_id), Some(refresh_token)) => Ok(Some(Refresh {
            client: OAuthClient { client_id, client_secret: file.client_secret },
            refresh_token,
            url: token_url.to_owned(),
            quota_project: file.quota_project_id,
        })),
        (kind, ..) => Err(Error::new(
            Kind::Auth,
            format!("{} holds credentials of type {kind}, which modelkeep does not use", path.display()),
        )
        .hint("modelkeep login gdrive, or unset GOOGLE_APPLICATION_CREDENTIALS")),
    }
}
