//! Google's sign-in, without a person: consent is given at once, by the account that a test names.
//!
//! <https://developers.google.com/identity/protocols/oauth2/native-app> and `…/limited-input-device`; errors as in
//! RFC 6749 and RFC 8628.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State as Extract;
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::app::{App, Params};
use super::state::{Access, Caller, Record};

const DRIVE_FILE: &str = "https://www.googleapis.com/auth/drive.file";
/// All that the device flow may ask for, of Drive.
const DEVICE_SCOPES: [&str; 2] = [DRIVE_FILE, "https://www.googleapis.com/auth/drive.appdata"];
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Access tokens live an hour, less a second, as Google says it.
pub const LIFETIME: Duration = Duration::from_secs(3599);
const CODE_LIFETIME: SignedDuration = SignedDuration::from_mins(10);
const DEVICE_LIFETIME: SignedDuration = SignedDuration::from_mins(30);

/// What is under way between two requests of a login.
#[derive(Debug, Default)]
pub struct OAuth {
    codes: HashMap<String, Code>,
    devices: HashMap<String, Device>,
    /// Secrets of clients; one that is not here may say anything.
    pub secrets: HashMap<String, String>,
    pub consent: Consent,
    /// Who signs in where nobody is named.
    pub first_account: Option<String>,
    /// How long a refresh token is good; seven days for an app in "Testing".
    pub refresh_lifetime: Option<Duration>,
}

/// What the person at the screen does next.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Consent {
    /// Who signs in; without it whoever the client hints at, or the first account.
    pub account: Option<String>,
    /// What is granted, of what was asked for.
    pub scopes: Option<Vec<String>>,
    /// The person says no.
    pub denied: bool,
}

#[derive(Debug)]
struct Code {
    caller: Caller,
    redirect: String,
    challenge: Option<(String, String)>,
    until: Timestamp,
    offline: bool,
}

#[derive(Debug)]
struct Device {
    user_code: String,
    client: String,
    scopes: Vec<String>,
    until: Timestamp,
    answer: Consented,
}

/// What the person at the other device said.
#[derive(Debug, Clone)]
enum Consented {
    NotYet,
    No,
    Yes(Caller),
}

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/o/oauth2/v2/auth", get(authorize))
        .route("/o/oauth2/auth", get(authorize))
        .route("/token", post(token))
        .route("/device/code", post(device_code))
        .route("/device", get(device_page))
        .route("/revoke", post(revoke))
        .route("/computeMetadata/v1/instance/service-accounts/default/token", get(metadata_server))
}

type Fields = Form<HashMap<String, String>>;

fn refused(status: StatusCode, error: &str, description: &str) -> Response<Body> {
    (status, Json(json!({ "error": error, "error_description": description }))).into_response()
}

fn field<'a>(form: &'a HashMap<String, String>, name: &str) -> &'a str {
    form.get(name).map_or("", String::as_str)
}

fn words(text: &str) -> Vec<String> {
    text.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

impl App {
    pub fn oauth(&self) -> MutexGuard<'_, OAuth> {
        self.oauth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who signs in now, if nobody is named.
    fn someone(&self, hint: Option<&str>) -> String {
        let (named, first) = {
            let oauth = self.oauth();
            (oauth.consent.account.clone(), oauth.first_account.clone())
        };
        named.or_else(|| hint.map(str::to_owned)).or(first).unwrap_or_else(|| "me@example.com".into())
    }

    /// A token that was never asked for by a login.
    pub fn mint(&self, account: &str, client: &str, scope: &str, lifetime: Duration) -> std::io::Result<String> {
        let login = self.state().random.word(12);
        let caller = Caller { account: account.to_owned(), client: client.to_owned(), scopes: words(scope), login };
        self.issue(caller, Some(lifetime))
    }

    /// A token that is good for ever, of whoever signs in first.
    pub fn accept(&self, token: &super::Token) -> std::io::Result<()> {
        let account = self.someone(None);
        self.state().account(&account, self.now())?;
        let (client, login) = (token.client.clone(), token.name.clone());
        let caller = Caller { account, client, scopes: words(&token.scope), login };
        let access = Access { caller, until: None, uses: 0 };
        self.state().record(Record::Token { token: token.name.clone(), access })
    }

    fn issue(&self, caller: Caller, lifetime: Option<Duration>) -> std::io::Result<String> {
        let now = self.now();
        let mut state = self.state();
        state.account(&caller.account, now)?;
        let token = format!("ya29.{}", state.random.word(120));
        let until = lifetime.map(|lifetime| now.saturating_add(lifetime).unwrap_or(Timestamp::MAX));
        state.record(Record::Token { token: token.clone(), access: Access { caller, until, uses: 0 } })?;
        Ok(token)
    }

    pub fn issue_refresh(&self, caller: Caller) -> std::io::Result<String> {
        let lifetime = self.oauth().refresh_lifetime;
        let until = lifetime.map(|lifetime| self.now().saturating_add(lifetime).unwrap_or(Timestamp::MAX));
        let mut state = self.state();
        let token = format!("1//0{}", state.random.word(90));
        state.record(Record::Refresh { token: token.clone(), access: Access { caller, until, uses: 0 } })?;
        Ok(token)
    }

    /// The answer of a login that went well.
    fn granted(&self, caller: Caller, refresh: bool) -> Response<Body> {
        let scope = caller.scopes.join(" ");
        let tokens = self
            .issue(caller.clone(), Some(LIFETIME))
            .and_then(|access| Ok((access, if refresh { Some(self.issue_refresh(caller)?) } else { None })));
        match tokens {
            Ok((access, refresh)) => {
                let mut answer = json!({
                    "access_token": access,
                    "expires_in": LIFETIME.as_secs(),
                    "scope": scope,
                    "token_type": "Bearer",
                });
                if let Some(refresh) = refresh {
                    answer["refresh_token"] = refresh.into();
                }
                Json(answer).into_response()
            }
            Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, "internal_failure", &error.to_string()),
        }
    }
}

/// The page where a person would agree: it redirects at once.
async fn authorize(Extract(app): Extract<Arc<App>>, params: Params) -> Response<Body> {
    let get = |name| params.get(name).unwrap_or_default().to_owned();
    let (client, redirect) = (get("client_id"), get("redirect_uri"));
    let loopback = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
    if client.is_empty() || !loopback.iter().any(|start| redirect.starts_with(start)) {
        let page = "Error 400: redirect_uri_mismatch";
        return (StatusCode::BAD_REQUEST, page).into_response();
    }
    let back = |pairs: &[(&str, &str)]| {
        let mut pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={}", percent(value))).collect();
        pairs.extend(params.get("state").map(|state| format!("state={}", percent(state))));
        let sign = if redirect.contains('?') { '&' } else { '?' };
        let location = format!("{redirect}{sign}{}", pairs.join("&"));
        (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
    };
    let asked = words(&get("scope"));
    if get("response_type") != "code" {
        return back(&[("error", "unsupported_response_type")]);
    }
    if asked.is_empty() {
        return back(&[("error", "invalid_scope")]);
    }
    let consent = app.oauth().consent.clone();
    if consent.denied {
        return back(&[("error", "access_denied")]);
    }
    let scopes: Vec<String> = match &consent.scopes {
        Some(granted) => asked.into_iter().filter(|scope| granted.contains(scope)).collect(),
        None => asked,
    };
    let account = app.someone(params.get("login_hint"));
    let (login, code) = {
        let mut state = app.state();
        (state.random.word(12), format!("4/0{}", state.random.word(70)))
    };
    let scope = scopes.join(" ");
    let caller = Caller { account, client, scopes, login };
    let challenge = params
        .get("code_challenge")
        .map(|challenge| (challenge.to_owned(), params.get("code_challenge_method").unwrap_or("plain").to_owned()));
    let until = app.now() + CODE_LIFETIME;
    let offline = params.get("access_type") == Some("offline");
    let redirect = redirect.clone();
    let answer = back(&[("code", &code), ("scope", &scope)]);
    app.oauth().codes.insert(code, Code { caller, redirect, challenge, until, offline });
    answer
}

/// As in a query: everything but letters, digits and `-._~`.
fn percent(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

async fn token(Extract(app): Extract<Arc<App>>, Form(form): Fields) -> Response<Body> {
    let client = field(&form, "client_id");
    if client.is_empty() {
        return refused(StatusCode::BAD_REQUEST, "invalid_request", "Could not determine client ID from request.");
    }
    if app.oauth().secrets.get(client).is_some_and(|secret| secret != field(&form, "client_secret")) {
        return refused(StatusCode::UNAUTHORIZED, "invalid_client", "Unauthorized");
    }
    match field(&form, "grant_type") {
        "authorization_code" => from_code(&app, &form),
        "refresh_token" => from_refresh(&app, &form),
        DEVICE_CODE => from_device(&app, &form),
        grant => refused(StatusCode::BAD_REQUEST, "unsupported_grant_type", &format!("Invalid grant_type: {grant}")),
    }
}

fn from_code(app: &App, form: &HashMap<String, String>) -> Response<Body> {
    // A code is good once.
    let Some(code) = app.oauth().codes.remove(field(form, "code")) else {
        return refused(StatusCode::BAD_REQUEST, "invalid_grant", "Malformed auth code.");
    };
    if code.until <= app.now() || code.caller.client != field(form, "client_id") {
        return refused(StatusCode::BAD_REQUEST, "invalid_grant", "Bad Request");
    }
    if code.redirect != field(form, "redirect_uri") {
        return refused(StatusCode::BAD_REQUEST, "redirect_uri_mismatch", "Bad Request");
    }
    let verifier = field(form, "code_verifier");
    let proven = code.challenge.as_ref().is_none_or(|(challenge, method)| match method.as_str() {
        "S256" => *challenge == URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)),
        _ => challenge == verifier,
    });
    if !proven {
        return refused(StatusCode::BAD_REQUEST, "invalid_grant", "Invalid code verifier.");
    }
    app.granted(code.caller, code.offline)
}

fn from_refresh(app: &App, form: &HashMap<String, String>) -> Response<Body> {
    let now = app.now();
    let access = app.state().refresh.get(field(form, "refresh_token")).cloned();
    match access {
        Some(access) if access.until.is_some_and(|until| until <= now) => {
            refused(StatusCode::BAD_REQUEST, "invalid_grant", "Token has been expired or revoked.")
        }
        Some(access) if access.caller.client == field(form, "client_id") => app.granted(access.caller, false),
        Some(_) => refused(StatusCode::UNAUTHORIZED, "unauthorized_client", "Unauthorized"),
        None => refused(StatusCode::BAD_REQUEST, "invalid_grant", "Token has been expired or revoked."),
    }
}

async fn device_code(Extract(app): Extract<Arc<App>>, Form(form): Fields) -> Response<Body> {
    let (client, scopes) = (field(&form, "client_id").to_owned(), words(field(&form, "scope")));
    if client.is_empty() {
        return refused(StatusCode::BAD_REQUEST, "invalid_request", "Missing required parameter: client_id");
    }
    if scopes.is_empty() || !scopes.iter().all(|scope| DEVICE_SCOPES.contains(&scope.as_str())) {
        return refused(StatusCode::BAD_REQUEST, "invalid_scope", "Invalid device flow scope");
    }
    let (code, user_code) = {
        let mut state = app.state();
        (format!("AH-1{}", state.random.word(90)), state.random.word(8).to_uppercase())
    };
    let answer = json!({
        "device_code": code,
        "user_code": user_code,
        "verification_url": format!("{}/device", app.url),
        "expires_in": DEVICE_LIFETIME.as_secs(),
        "interval": 1,
    });
    let until = app.now() + DEVICE_LIFETIME;
    app.oauth().devices.insert(code, Device { user_code, client, scopes, until, answer: Consented::NotYet });
    Json(answer).into_response()
}

/// Where a person would type the code; opening it with `user_code` agrees.
async fn device_page(Extract(app): Extract<Arc<App>>, params: Params) -> Response<Body> {
    let account = app.someone(params.get("login_hint"));
    let login = app.state().random.word(12);
    let mut oauth = app.oauth();
    let denied = oauth.consent.denied;
    let user_code = params.get("user_code").unwrap_or_default();
    let Some(device) = oauth.devices.values_mut().find(|device| device.user_code == user_code) else {
        return (StatusCode::NOT_FOUND, "Wrong code").into_response();
    };
    let (client, scopes) = (device.client.clone(), device.scopes.clone());
    let caller = Caller { account, client, scopes, login };
    device.answer = if denied { Consented::No } else { Consented::Yes(caller) };
    "You may close this window.".into_response()
}

fn from_device(app: &App, form: &HashMap<String, String>) -> Response<Body> {
    let now = app.now();
    let mut oauth = app.oauth();
    let code = field(form, "device_code");
    let Some(device) = oauth.devices.get(code).filter(|device| device.client == field(form, "client_id")) else {
        return refused(StatusCode::BAD_REQUEST, "invalid_grant", "Malformed device code.");
    };
    if device.until <= now {
        return refused(StatusCode::BAD_REQUEST, "expired_token", "Bad Request");
    }
    match device.answer.clone() {
        Consented::NotYet => {
            refused(StatusCode::PRECONDITION_REQUIRED, "authorization_pending", "Precondition Required")
        }
        Consented::No => refused(StatusCode::FORBIDDEN, "access_denied", "Forbidden"),
        Consented::Yes(caller) => {
            oauth.devices.remove(code);
            drop(oauth);
            app.granted(caller, true)
        }
    }
}

async fn revoke(Extract(app): Extract<Arc<App>>, params: Params, body: String) -> Response<Body> {
    let in_body = body.split('&').find_map(|pair| pair.strip_prefix("token=")).map(unpercent);
    let token = params.get("token").map(str::to_owned).or(in_body).unwrap_or_default();
    let mut state = app.state();
    let Some(access) = state.tokens.get(&token).or_else(|| state.refresh.get(&token)).cloned() else {
        return refused(StatusCode::BAD_REQUEST, "invalid_token", "Token expired or revoked");
    };
    // With one token goes the whole login.
    let login = &access.caller.login;
    let all = state.tokens.iter().chain(&state.refresh).filter(|(_, other)| other.caller.login == *login);
    let all: Vec<String> = all.map(|(token, _)| token.clone()).collect();
    for token in all {
        if let Err(error) = state.record(Record::Revoked { token }) {
            return refused(StatusCode::INTERNAL_SERVER_ERROR, "internal_failure", &error.to_string());
        }
    }
    Json(json!({})).into_response()
}

fn unpercent(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = (*first == b'%').then(|| after.get(..2)).flatten().and_then(|two| hex::decode(two).ok());
        if let Some(code) = code {
            bytes.extend(code);
            rest = &after[2..];
        } else {
            bytes.push(if *first == b'+' { b' ' } else { *first });
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What Colab and Compute Engine have at `metadata.google.internal`.
async fn metadata_server(Extract(app): Extract<Arc<App>>, params: Params, headers: HeaderMap) -> Response<Body> {
    if headers.get("metadata-flavor").is_none_or(|flavor| flavor != "Google") {
        return StatusCode::FORBIDDEN.into_response();
    }
    let account = app.someone(None);
    let scope = params.get("scopes").unwrap_or("https://www.googleapis.com/auth/drive");
    match app.mint(&account, "metadata-server", scope, LIFETIME) {
        Ok(token) => {
            let answer: Value =
                json!({ "access_token": token, "expires_in": LIFETIME.as_secs(), "token_type": "Bearer" });
            ([("metadata-flavor", "Google")], Json(answer)).into_response()
        }
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, "internal_failure", &error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_there_and_back() {
        for text in ["1//0abc+d e", "a/b?c=ü&d", ""] {
            assert_eq!(unpercent(&percent(text)), text);
        }
    }
}
