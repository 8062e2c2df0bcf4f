//! Tokens and logins against the fake's OAuth.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use modelkeep_core::{Kind, Result};
use modelkeep_remote::drive::auth::{
    Auth, Browser, Command, Fixed, Granted, Machine, OAuthClient, Refresh, Scope, Token, TokenSource,
    application_default, begin_device, revoke,
};
use modelkeep_remote::drive::{DriveRemote, Endpoints, Secret};
use modelkeep_remote::{Mode, Remote};
use modelkeep_testkit::drive::{Options as Fake, Server};
use tempfile::TempDir;

use super::{HOUR, SCOPE, options, server};
use crate::{kind, write};

fn client() -> OAuthClient {
    OAuthClient { client_id: "desktop".into(), client_secret: Some(Secret::new("shh")) }
}

fn login_server() -> Server {
    let clients = vec![("desktop".to_owned(), "shh".to_owned())];
    Server::start(Fake { clients, accounts: vec!["me@example.com".into()], ..Fake::default() }).unwrap()
}

fn refresh(server: &Server, granted: &Granted) -> Refresh {
    Refresh {
        client: client(),
        refresh_token: granted.refresh_token.clone().unwrap(),
        url: Endpoints::all_at(server.url()).token,
        quota_project: None,
    }
}

/// What a browser does: asks, and follows to where it is sent; `None` when it may not follow.
async fn browse(address: &str, follow: bool) -> Option<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let get = async |address: &str| {
        let rest = address.strip_prefix("http://").unwrap();
        let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = get(address).await;
    let location = answer.lines().find_map(|line| line.strip_prefix("location: "))?.trim().to_owned();
    if follow {
        get(&location).await;
    }
    Some(location)
}

async fn works(server: &Server, source: impl TokenSource + 'static) {
    let remote = DriveRemote::create(options(server), Auth::new(source), "r").await.unwrap();
    assert_eq!(remote.account().await.unwrap(), "me@example.com");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_a_browser_and_by_pasting() {
    let server = login_server();
    let begin = || Browser::begin(client(), Endpoints::all_at(server.url()), Scope::Drive);
    let browser = begin().await.unwrap();
    let address = browser.address().unwrap();
    let (granted, _) = futures_util::future::join(browser.wait(), browse(&address, true)).await;
    let granted = granted.unwrap();
    assert!(granted.has(SCOPE));
    works(&server, refresh(&server, &granted)).await;

    let browser = begin().await.unwrap();
    let ended_at = browse(&browser.address().unwrap(), false).await.unwrap();
    let granted = browser.paste(&ended_at).await.unwrap();
    works(&server, refresh(&server, &granted)).await;

    revoke(&Endpoints::all_at(server.url()).revoke, granted.refresh_token.as_ref().unwrap()).await.unwrap();
    let error = refresh(&server, &granted).token().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Auth);
    assert!(error.hint_text().unwrap().contains("modelkeep login gdrive"));

    server.consent(None, Some(&["https://www.googleapis.com/auth/drive.file"]));
    let browser = begin().await.unwrap();
    let ended_at = browse(&browser.address().unwrap(), false).await.unwrap();
    assert_eq!(kind(browser.paste(&ended_at).await), Kind::Auth, "a scope that was unticked");
    server.deny();
    let browser = begin().await.unwrap();
    let ended_at = browse(&browser.address().unwrap(), false).await.unwrap();
    assert_eq!(kind(browser.paste(&ended_at).await), Kind::Auth, "a person who said no");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_default_credentials_a_command_and_the_machine() {
    let server = login_server();
    let browser = Browser::begin(client(), Endpoints::all_at(server.url()), Scope::Drive).await.unwrap();
    let ended_at = browse(&browser.address().unwrap(), false).await.unwrap();
    let granted = browser.paste(&ended_at).await.unwrap();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("adc.json");
    let token = granted.refresh_token.unwrap();
    let text = format!(
        r#"{{"type":"authorized_user","client_id":"desktop","client_secret":"shh","refresh_token":"{}"}}"#,
        token.reveal()
    );
    std::fs::write(&file, text).unwrap();
    let url = Endpoints::all_at(server.url()).token;
    let source = application_default(Some(&file), None, &url).unwrap().unwrap();
    works(&server, source).await;
    assert!(application_default(None, Some(folder.path()), &url).unwrap().is_none());
    std::fs::write(&file, r#"{"type":"service_account"}"#).unwrap();
    assert_eq!(kind(application_default(Some(&file), None, &url)), Kind::Auth);

    let token = server.token("me@example.com", "colab", SCOPE, HOUR);
    works(&server, Command(format!("echo {token}"))).await;
    assert_eq!(kind(Command("exit 3".into()).token().await), Kind::Auth);
    let url = Endpoints::all_at(server.url()).metadata;
    works(&server, Machine { url, scope: SCOPE.into() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_another_device() {
    let server = login_server();
    let device = begin_device(client(), Endpoints::all_at(server.url())).await.unwrap();
    assert!(!device.code().is_empty());
    let address = format!("{}?user_code={}", device.address(), device.code());
    browse(&address, false).await;
    let waiting = tokio::time::timeout(Duration::from_secs(300), device.wait());
    let granted = waiting.await.unwrap().unwrap();
    works(&server, refresh(&server, &granted)).await;
}

/// Counts how often it is asked, and gives tokens for some requests each.
#[derive(Debug)]
struct Counted {
    asked: Arc<AtomicU32>,
    tokens: Vec<Secret>,
}

#[async_trait]
impl TokenSource for Counted {
    async fn token(&self) -> Result<Token> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) as usize;
        Ok(Token { secret: self.tokens[number].clone(), lifetime: None })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_ends_is_renewed_once_for_all() {
    let server = server();
    let tokens = (0..4).map(|_| Secret::new(server.token("me@example.com", "c", SCOPE, HOUR))).collect::<Vec<_>>();
    let asked = Arc::new(AtomicU32::new(0));
    let auth = Auth::new(Counted { asked: Arc::clone(&asked), tokens });
    let remote = DriveRemote::create(options(&server), auth, "r").await.unwrap();
    remote.create_dir(&crate::path("dir")).await.unwrap();
    server.fault("expire-token=20").unwrap();
    let names: Vec<_> = (0..16).map(|number| format!("dir/{number}")).collect();
    for result in join_all(names.iter().map(|name| write(&remote, name, b"x", Mode::New))).await {
        result.unwrap();
    }
    for result in join_all(names.iter().map(|name| async { remote.find(&crate::object(name)).await })).await {
        result.unwrap();
    }
    assert!(asked.load(Ordering::SeqCst) <= 3, "{}", asked.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_nobody_renews_is_an_error_with_a_hint() {
    let server = server();
    let auth = Auth::new(Fixed(Secret::new("stale")));
    let error = DriveRemote::open(options(&server), auth, "x").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Auth);
    assert!(error.hint_text().is_some());
    assert!(!format!("{error:?}").contains("stale"), "{error:?}");
}
