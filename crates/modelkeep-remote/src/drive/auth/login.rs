//! How a person signs in: by a browser on this machine, by pasting the address it ended at, or on another device.
//!
//! Knows the steps between a browser and Google. Does not know terminals: the caller shows addresses and asks. Source:
//! <https://developers.google.com/identity/protocols/oauth2/native-app>, RFC 7636 (PKCE), RFC 8628 (device flow).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use modelkeep_core::digest::Sha256;
use modelkeep_core::{Error, Kind, Result};
use reqwest::Url;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::oauth::{grant, post};
use super::{Granted, OAuthClient, Secret};
use crate::drive::Endpoints;
use crate::drive::error::Failure;

/// What a login may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything on the Drive: needed when anything else writes the tree.
    Drive,
    /// Only what this OAuth client made.
    DriveFile,
}

impl Scope {
    /// As Google calls it.
    pub fn url(self) -> &'static str {
        match self {
            Self::Drive => "https://www.googleapis.com/auth/drive",
            Self::DriveFile => "https://www.googleapis.com/auth/drive.file",
        }
    }
}

/// A login by a browser, under way.
#[derive(Debug)]
pub struct Browser {
    client: OAuthClient,
    endpoints: Endpoints,
    scope: Scope,
    listener: TcpListener,
    redirect: String,
    verifier: Secret,
    state: String,
}

impl Browser {
    /// Begins a login; a port of this machine waits for the browser.
    pub async fn begin(client: OAuthClient, endpoints: Endpoints, scope: Scope) -> Result<Self> {
        let listening = async {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            let port = listener.local_addr()?.port();
            Ok::<_, std::io::Error>((listener, port))
        };
        let (listener, port) =
            listening.await.map_err(|error| Error::local("no port for the browser to come back to").because(error))?;
        Ok(Self {
            client,
            endpoints,
            scope,
            listener,
            redirect: format!("http://127.0.0.1:{port}"),
            verifier: Secret::new(random()?),
            state: random()?,
        })
    }

    /// The address to open in a browser, on this machine or another.
    pub fn address(&self) -> Result<String> {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::of(self.verifier.reveal().as_bytes()).as_bytes());
        let parameters = [
            ("client_id", &*self.client.client_id),
            ("redirect_uri", &self.redirect),
            ("response_type", "code"),
            ("scope", self.scope.url()),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("state", &self.state),
            ("access_type", "offline"),
            // Without it Google gives no refresh token the second time.
            ("prompt", "consent"),
        ];
        let url = Url::parse_with_params(&self.endpoints.authorize, parameters);
        url.map(String::from).map_err(|error| Error::usage("no address to sign in at").because(error))
    }

    /// Waits until the browser comes back.
    pub async fn wait(self) -> Result<Granted> {
        loop {
            let accepted = self.listener.accept().await;
            let (mut stream, _) = accepted.map_err(|error| Error::local("waiting for the browser").because(error))?;
            let Some(address) = request_line(&mut stream).await else { continue };
            // Browsers also ask for an icon.
            if !address.contains("code=") && !address.contains("error=") {
                answer(&mut stream, "404 Not Found", "Nothing here.").await;
                continue;
            }
            let granted = self.finish(&format!("{}{address}", self.redirect)).await;
            let (status, text) = match &granted {
                Ok(_) => ("200 OK", "modelkeep is signed in. You can close this window."),
                Err(_) => ("400 Bad Request", "modelkeep is not signed in: see the terminal."),
            };
            answer(&mut stream, status, text).await;
            return granted;
        }
    }

    /// Goes on with the address that a browser elsewhere ended at (its page cannot be shown: that is fine).
    pub async fn paste(self, address: &str) -> Result<Granted> {
        self.finish(address.trim()).await
    }

    async fn finish(&self, address: &str) -> Result<Granted> {
        let code = paste(address, &self.state)?;
        let mut form = vec![
            ("client_id", &*self.client.client_id),
            ("code", code.reveal()),
            ("code_verifier", self.verifier.reveal()),
            ("grant_type", "authorization_code"),
            ("redirect_uri", &*self.redirect),
        ];
        form.extend(self.client.client_secret.as_ref().map(|secret| ("client_secret", secret.reveal())));
        check(grant(&self.endpoints.token, &form, "signing in").await?, self.scope)
    }
}

/// The code in the address that a browser ended at.
pub fn paste(address: &str, state: &str) -> Result<Secret> {
    let again = "modelkeep login gdrive, then paste the whole address: http://127.0.0.1:…/?state=…&code=…";
    let wrong = |why: &str| Error::new(Kind::Auth, why.to_owned()).hint(again);
    let url = Url::parse(address).map_err(|_| wrong("this is not the address that the browser ended at"))?;
    let get = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    if get("state").as_deref() != Some(state) {
        return Err(wrong("this address is of another login"));
    }
    if let Some(error) = get("error") {
        return Err(wrong(&format!("Google did not sign you in: {error}")));
    }
    get("code").map(Secret::new).ok_or_else(|| wrong("this address holds no code"))
}

/// A login on another device, under way.
#[derive(Debug)]
pub struct Device {
    client: OAuthClient,
    endpoints: Endpoints,
    answer: DeviceAnswer,
}

#[derive(Debug, Deserialize)]
struct DeviceAnswer {
    device_code: Secret,
    user_code: String,
    verification_url: String,
    expires_in: u64,
    #[serde(default = "five")]
    interval: u64,
}

fn five() -> u64 {
    5
}

/// Begins a login on another device. Google grants only [`Scope::DriveFile`] so, and only to clients of the type "TVs
/// and Limited Input devices".
pub async fn begin_device(client: OAuthClient, endpoints: Endpoints) -> Result<Device> {
    let form = [("client_id", &*client.client_id), ("scope", Scope::DriveFile.url())];
    let body = post(&endpoints.device, &form, "beginning to sign in").await?;
    let answer = serde_json::from_slice(&body)
        .map_err(|_| Error::new(Kind::Auth, "Google's answer holds no code for another device"))?;
    Ok(Device { client, endpoints, answer })
}

impl Device {
    /// Where to go on the other device.
    pub fn address(&self) -> &str {
        &self.answer.verification_url
    }

    /// What to type there.
    pub fn code(&self) -> &str {
        &self.answer.user_code
    }

    /// Waits until the person is done there.
    pub async fn wait(self) -> Result<Granted> {
        let mut left = self.answer.expires_in;
        let mut interval = self.answer.interval;
        let mut form = vec![
            ("client_id", &*self.client.client_id),
            ("device_code", self.answer.device_code.reveal()),
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ];
        form.extend(self.client.client_secret.as_ref().map(|secret| ("client_secret", secret.reveal())));
        while left > 0 {
            tokio::time::sleep(Duration::from_secs(interval)).await;
            left = left.saturating_sub(interval.max(1));
            match grant(&self.endpoints.token, &form, "signing in").await {
                Ok(granted) => return check(granted, Scope::DriveFile),
                Err(Failure::Refused(refusal)) if refusal.says("authorization_pending") => {}
                Err(Failure::Refused(refusal)) if refusal.says("slow_down") => interval += 5,
                Err(Failure::Broken(_)) => {}
                Err(Failure::Refused(refusal)) if refusal.says("access_denied") => {
                    return Err(Error::new(Kind::Auth, "signing in: it was refused on the other device"));
                }
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(Error::new(Kind::Auth, "signing in: nobody did it in time").hint("modelkeep login gdrive"))
    }
}

/// People may untick what was asked for.
fn check(granted: Granted, scope: Scope) -> Result<Granted> {
    if granted.refresh_token.is_none() {
        return Err(Error::new(Kind::Auth, "signing in: Google gave no lasting login").hint("modelkeep login gdrive"));
    }
    if !granted.has(scope.url()) && !granted.has(Scope::Drive.url()) {
        return Err(Error::new(Kind::Auth, format!("signing in: {} was not granted", scope.url()))
            .hint("modelkeep login gdrive, and leave the box for Google Drive ticked"));
    }
    Ok(granted)
}

/// The path of a browser's request, which is read to its end: closing on what is unread breaks the connection before
/// the browser has the answer.
async fn request_line(stream: &mut TcpStream) -> Option<String> {
    let mut buffer = Vec::with_capacity(16 << 10);
    let reading = async {
        while !buffer.windows(4).any(|end| end == b"\r\n\r\n") && buffer.len() < 16 << 10 {
            if stream.read_buf(&mut buffer).await.ok()? == 0 {
                return None;
            }
        }
        Some(())
    };
    // A connection that a browser opened in advance and does not use must not hold up the one that matters.
    tokio::time::timeout(Duration::from_secs(5), reading).await.ok()??;
    let text = String::from_utf8_lossy(&buffer);
    text.strip_prefix("GET ")?.split(' ').next().map(str::to_owned)
}

async fn answer(stream: &mut TcpStream, status: &str, text: &str) {
    let length = text.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    );
    // The login does not depend on what the browser shows.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// 256 bits as text, as RFC 7636 wants them.
fn random() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal("no randomness").because(error))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasted_address_must_be_of_this_login() {
        let good = "http://127.0.0.1:1234/?state=s&code=4%2Fabc&scope=x";
        assert_eq!(paste(good, "s").unwrap().reveal(), "4/abc");
        for bad in
            [good.replace("state=s", "state=t").as_str(), "http://127.0.0.1/?state=s&error=access_denied", "4/abc"]
        {
            let error = paste(bad, "s").unwrap_err();
            assert_eq!(error.kind(), Kind::Auth);
            assert!(!error.full_message().contains("abc"), "{error}");
        }
    }
}
