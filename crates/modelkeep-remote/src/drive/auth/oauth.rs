//! Google's OAuth endpoints: codes and refresh tokens for access tokens.
//!
//! Knows forms and answers. Does not know browsers or where tokens are kept. Source:
//! <https://developers.google.com/identity/protocols/oauth2/native-app>.

use std::time::Duration;

use modelkeep_core::{Error, Kind, Result};
use serde::{Deserialize, Serialize};

use super::Secret;
use crate::drive::error::{Failure, Refusal};
use crate::drive::http::{broken, builder};

/// No answer of these takes longer.
const WITHIN: Duration = Duration::from_secs(30);

/// An OAuth client of the person's own project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OAuthClient {
    /// Its id; no secret.
    pub client_id: String,
    /// Required by Google, though a program that people install cannot keep it.
    pub client_secret: Option<Secret>,
}

/// What a login brought.
#[derive(Debug, Clone, Deserialize)]
pub struct Granted {
    /// Good for about an hour.
    pub access_token: Secret,
    /// Seconds until the access token ends.
    pub expires_in: Option<u64>,
    /// Gives further access tokens.
    pub refresh_token: Option<Secret>,
    /// What was really granted, separated by spaces: people may untick some of it.
    #[serde(default)]
    pub scope: String,
}

#[derive(Deserialize)]
struct ClientFile {
    installed: Option<OAuthClient>,
    web: Option<serde_json::Value>,
}

impl OAuthClient {
    /// Reads the `client_secret….json` that Google's console gives.
    pub fn from_json(text: &str) -> Result<Self> {
        const MAKE: &str = "make one of type \"Desktop app\": https://console.cloud.google.com/auth/clients/create";
        let file: ClientFile = serde_json::from_str(text)
            .map_err(|error| Error::usage("this is no OAuth client's JSON").because(error).hint(MAKE))?;
        match (file.installed, file.web) {
            (Some(client), _) => Ok(client),
            (None, Some(_)) => Err(Error::usage("this OAuth client is of type \"Web application\"").hint(MAKE)),
            (None, None) => Err(Error::usage("this JSON holds no OAuth client").hint(MAKE)),
        }
    }
}

impl Granted {
    /// Whether a scope was granted.
    pub fn has(&self, scope: &str) -> bool {
        self.scope.split(' ').any(|granted| granted == scope)
    }
}

/// Posts a form to one of Google's OAuth endpoints.
pub(super) async fn post(url: &str, form: &[(&str, &str)], doing: &str) -> Result<bytes::Bytes, Failure> {
    let client = builder(url.starts_with("http:")).map_err(Failure::Stopped)?.timeout(WITHIN).build();
    let client = client.map_err(|error| broken(doing, error))?;
    // The form's encoding is that of a URL's query.
    let encoded = reqwest::Url::parse_with_params("http://form", form)
        .map_err(|error| Failure::Stopped(Error::internal("a form").because(error)))?;
    let body = encoded.query().unwrap_or_default().to_owned();
    let sent = client.post(url).header("content-type", "application/x-www-form-urlencoded").body(body).send().await;
    let response = sent.map_err(|error| broken(doing, error))?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes().await.map_err(|error| broken(doing, error))?;
    if status.is_success() {
        return Ok(body);
    }
    Err(Failure::Refused(Refusal::parse(status.as_u16(), &headers, &body, doing)))
}

/// Asks the token endpoint.
pub(super) async fn grant(url: &str, form: &[(&str, &str)], doing: &str) -> Result<Granted, Failure> {
    let body = post(url, form, doing).await?;
    serde_json::from_slice(&body).map_err(|_| {
        // The text may hold a token, so it is not shown.
        Failure::Stopped(Error::new(Kind::Auth, format!("{doing}: Google's answer holds no token")))
    })
}

/// Gives a token back, and with a refresh token all access tokens of it. One that is no longer good is fine.
pub async fn revoke(url: &str, token: &Secret) -> Result<()> {
    match post(url, &[("token", token.reveal())], "giving the login back").await {
        Err(Failure::Refused(refusal)) if refusal.status == 400 => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_desktop_clients_are_taken() {
        let desktop =
            r#"{"installed":{"client_id":"a.apps","client_secret":"s","redirect_uris":["http://localhost"]}}"#;
        assert_eq!(OAuthClient::from_json(desktop).unwrap().client_id, "a.apps");
        for wrong in [r#"{"web":{"client_id":"a"}}"#, "{}", "no json"] {
            assert!(OAuthClient::from_json(wrong).unwrap_err().hint_text().is_some(), "{wrong}");
        }
        let printed = format!("{:?}", OAuthClient::from_json(desktop).unwrap());
        assert!(printed.contains("***"), "{printed}");
    }
}
