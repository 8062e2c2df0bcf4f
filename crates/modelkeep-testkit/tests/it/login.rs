//! Sign-in: the browser flow with PKCE, refreshing, the device flow, revoking.

use std::time::Duration;

use modelkeep_testkit::drive::Options;
use serde_json::json;

use crate::http::{Answer, Client, DRIVE, ME, escape, request};

const FILE: &str = "https://www.googleapis.com/auth/drive.file";
const BACK: &str = "http://127.0.0.1:5000/back";
// The pair of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// The parameters that the browser is sent back with.
fn browse(client: &Client, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let fields = [
        ("client_id", "app"),
        ("redirect_uri", BACK),
        ("response_type", "code"),
        ("scope", DRIVE),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("access_type", "offline"),
        ("state", "a state/&="),
    ];
    let kept = fields.iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name));
    let query: Vec<_> = kept.chain(more).map(|(name, value)| format!("{name}={}", escape(value))).collect();
    let path = format!("/o/oauth2/v2/auth?{}", query.join("&"));
    let answer = request(client.server.url(), "GET", &path, &[], b"").unwrap();
    assert_eq!(answer.status, 302);
    let query = answer.header("location").unwrap().strip_prefix(BACK).unwrap().strip_prefix('?').unwrap();
    query.split('&').map(|pair| pair.split_once('=').map(|(a, b)| (a.into(), b.into())).unwrap()).collect()
}

fn value(pairs: &[(String, String)], name: &str) -> String {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.replace("%2F", "/")).unwrap_or_default()
}

fn code(client: &Client) -> String {
    value(&browse(client, &[]), "code")
}

fn exchange(client: &Client, code: &str, more: &[(&str, &str)]) -> Answer {
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", "app"),
        ("client_secret", "secret"),
        ("code", code),
        ("code_verifier", VERIFIER),
        ("redirect_uri", BACK),
    ];
    let kept = fields.iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name));
    let fields: Vec<_> = kept.chain(more).copied().collect();
    client.form("/token", &fields)
}

fn refresh(client: &Client, token: &str) -> Answer {
    client.form("/token", &[("grant_type", "refresh_token"), ("client_id", "app"), ("refresh_token", token)])
}

fn error(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["error"].as_str().unwrap().to_owned())
}

/// Who a token stands for, or the status.
fn who(client: &Client, token: &str) -> Result<String, u16> {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let answer = request(client.server.url(), "GET", "/drive/v3/about?fields=user", &headers, b"").unwrap();
    if answer.status != 200 {
        return Err(answer.status);
    }
    Ok(answer.json()["user"]["emailAddress"].as_str().unwrap().to_owned())
}

#[test]
fn the_browser_flow() {
    let client = Client::with(Options { accounts: vec!["first@example.com".into()], ..Options::default() });
    let back = browse(&client, &[]);
    assert_eq!(value(&back, "state"), "a%20state/%26%3D");
    let answer = exchange(&client, &value(&back, "code"), &[]);
    assert_eq!(answer.status, 200);
    let tokens = answer.json();
    assert_eq!(
        (&tokens["token_type"], &tokens["expires_in"], &tokens["scope"]),
        (&json!("Bearer"), &json!(3599), &json!(DRIVE))
    );
    let access = tokens["access_token"].as_str().unwrap();
    assert_eq!(who(&client, access).unwrap(), "first@example.com");

    client.server.advance(Duration::from_secs(3600));
    assert_eq!(who(&client, access), Err(401));
    let refreshed = refresh(&client, tokens["refresh_token"].as_str().unwrap()).json();
    assert!(refreshed.get("refresh_token").is_none(), "the old one goes on");
    assert_eq!(who(&client, refreshed["access_token"].as_str().unwrap()).unwrap(), "first@example.com");
}

#[test]
fn codes_are_good_once_for_who_asked() {
    let client = Client::new();
    for (more, expected) in [
        (&[("code_verifier", "another")][..], (400, "invalid_grant")),
        (&[("client_id", "another")], (400, "invalid_grant")),
        (&[("redirect_uri", "http://127.0.0.1:1/")], (400, "redirect_uri_mismatch")),
        (&[("grant_type", "password")], (400, "unsupported_grant_type")),
        (&[("client_id", "")], (400, "invalid_request")),
    ] {
        assert_eq!(error(&exchange(&client, &code(&client), more)), (expected.0, expected.1.to_owned()), "{more:?}");
    }
    let good = code(&client);
    assert_eq!(exchange(&client, &good, &[]).status, 200);
    assert_eq!(error(&exchange(&client, &good, &[])), (400, "invalid_grant".into()));
    let late = code(&client);
    client.server.advance(Duration::from_secs(601));
    assert_eq!(error(&exchange(&client, &late, &[])), (400, "invalid_grant".into()));
}

#[test]
fn a_person_may_choose() {
    let client = Client::new();
    let both = format!("{DRIVE} {FILE}");
    client.server.consent(Some("you@example.com"), Some(&[FILE]));
    let back = browse(&client, &[("scope", &both)]);
    let tokens = exchange(&client, &value(&back, "code"), &[]).json();
    assert_eq!(tokens["scope"], FILE, "one box was not ticked");
    assert_eq!(who(&client, tokens["access_token"].as_str().unwrap()).unwrap(), "you@example.com");
    client.server.deny();
    assert_eq!(value(&browse(&client, &[]), "error"), "access_denied");
}

#[test]
fn only_this_machine_is_sent_back_to() {
    let client = Client::new();
    let path = format!("/o/oauth2/v2/auth?client_id=a&redirect_uri={}", escape("https://example.com/"));
    assert_eq!(request(client.server.url(), "GET", &path, &[], b"").unwrap().status, 400);
}

#[test]
fn online_access_has_no_refresh_token() {
    let client = Client::new();
    let back = browse(&client, &[("access_type", "online")]);
    assert!(exchange(&client, &value(&back, "code"), &[]).json().get("refresh_token").is_none());
}

#[test]
fn clients_have_secrets() {
    let client = Client::with(Options { clients: vec![("app".into(), "right".into())], ..Options::default() });
    let good = code(&client);
    assert_eq!(error(&exchange(&client, &good, &[])), (401, "invalid_client".into()));
    assert_eq!(exchange(&client, &good, &[("client_secret", "right")]).status, 200);
}

#[test]
fn in_testing_a_refresh_token_lives_a_week() {
    let week = Duration::from_secs(7 * 24 * 3600);
    let client = Client::with(Options { refresh_lifetime: Some(week), ..Options::default() });
    let tokens = exchange(&client, &code(&client), &[]).json();
    let token = tokens["refresh_token"].as_str().unwrap();
    assert_eq!(refresh(&client, token).status, 200);
    client.server.advance(week);
    assert_eq!(error(&refresh(&client, token)), (400, "invalid_grant".into()));
}

#[test]
fn revoking_ends_the_login() {
    let client = Client::new();
    let tokens = exchange(&client, &code(&client), &[]).json();
    let (access, token) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    assert_eq!(client.form("/revoke", &[("token", token)]).status, 200);
    assert_eq!(who(&client, access), Err(401));
    assert_eq!(error(&refresh(&client, token)), (400, "invalid_grant".into()));
    assert_eq!(error(&client.form("/revoke", &[("token", token)])), (400, "invalid_token".into()));
    assert_eq!(who(&client, &client.token).unwrap(), ME, "another login is not touched");
}

#[test]
fn the_device_flow() {
    let client = Client::new();
    let ask = |scope: &str| client.form("/device/code", &[("client_id", "app"), ("scope", scope)]);
    assert_eq!(error(&ask(DRIVE)), (400, "invalid_scope".into()), "the whole drive is not for devices");
    let asked = ask(FILE).json();
    let grant = "urn:ietf:params:oauth:grant-type:device_code";
    let code = asked["device_code"].as_str().unwrap();
    let poll = || client.form("/token", &[("grant_type", grant), ("client_id", "app"), ("device_code", code)]);
    assert_eq!(error(&poll()), (428, "authorization_pending".into()));
    let page =
        format!("{}?user_code={}", asked["verification_url"].as_str().unwrap(), asked["user_code"].as_str().unwrap());
    assert_eq!(request(client.server.url(), "GET", &page, &[], b"").unwrap().status, 200);
    let tokens = poll().json();
    assert_eq!(tokens["scope"], FILE);
    assert!(tokens["refresh_token"].is_string());
    assert_eq!(error(&poll()), (400, "invalid_grant".into()));

    let asked = ask(FILE).json();
    let code = asked["device_code"].as_str().unwrap();
    client.server.advance(Duration::from_secs(3600));
    let late = client.form("/token", &[("grant_type", grant), ("client_id", "app"), ("device_code", code)]);
    assert_eq!(error(&late), (400, "expired_token".into()));
}

#[test]
fn the_metadata_server() {
    let client = Client::new();
    let path =
        "/computeMetadata/v1/instance/service-accounts/default/token?scopes=https://www.googleapis.com/auth/drive";
    assert_eq!(request(client.server.url(), "GET", path, &[], b"").unwrap().status, 403);
    let answer = request(client.server.url(), "GET", path, &[("metadata-flavor", "Google")], b"").unwrap();
    assert!(who(&client, answer.json()["access_token"].as_str().unwrap()).is_ok());
}
