//! Who may ask.

use modelkeep_ops::Context;
use modelkeep_server::{Options, Server};
use std::sync::Arc;

use crate::world::{World, local, noise, request};

const CONFIG: &str = "/banking/banking-v1/resolve/main/config.json";

#[tokio::test(flavor = "multi_thread")]
async fn other_names_and_other_sites_are_refused() {
    let world = World::in_folder().await;
    world.push("banking-v1", &[("config.json", &noise(10, 1))], &[]).await;
    let options = Options { allow_hosts: vec!["models.example.org".to_owned()], ..local() };
    let serving = world.machine("server").serve_with(options).await;
    let ask = async |host: &str, headers: &str| {
        serving.say(request("GET", CONFIG, host, headers, "").as_bytes()).await.status
    };
    for host in ["127.0.0.1", "localhost:1", "[::1]", "models.example.org:443"] {
        assert_eq!(ask(host, "").await, 200, "{host}");
    }
    for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.1.2.3", ""] {
        let status = ask(host, "").await;
        assert!(status == 403 || status == 400, "{host}: {status}");
    }
    assert_eq!(ask("127.0.0.1", "Host: evil.example\r\n").await, 400);
    assert_eq!(ask("127.0.0.1", "Origin: https://evil.example\r\n").await, 403);
    assert_eq!(ask("127.0.0.1", "Origin: null\r\n").await, 403);
    assert_eq!(ask("127.0.0.1", "Origin: http://localhost:8888\r\n").await, 200);
    let absolute = request("GET", &format!("http://evil.example{CONFIG}"), "127.0.0.1", "", "");
    assert_eq!(serving.say(absolute.as_bytes()).await.status, 403);
    let nameless = serving.say(format!("GET {CONFIG} HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes()).await;
    assert_eq!(nameless.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_wanted_of_everybody() {
    let world = World::in_folder().await;
    world.push("banking-v1", &[("config.json", &noise(10, 1))], &[]).await;
    let options = Options { token: Some("secret-token".to_owned()), ..local() };
    let serving = world.machine("server").serve_with(options).await;
    for path in [CONFIG, "/api/models", "/api/models/banking/banking-v1", "/metrics", "/api/whoami-v2"] {
        assert_eq!(serving.get(path).await.status, 401, "{path}");
        assert_eq!(serving.ask("GET", path, "Authorization: Bearer wrong\r\n").await.status, 401);
        assert_eq!(serving.ask("GET", path, "Authorization: Bearer secret-token\r\n").await.status, 200, "{path}");
    }
    assert_eq!(serving.get("/healthz").await.status, 200);
    assert!(!serving.messages.lock().unwrap().iter().any(|message| message.contains("secret-token")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_others_reach_needs_one() {
    let world = World::in_folder().await;
    let ctx: Arc<Context> = world.machine("server").ctx;
    let options = Options { listen: ([0, 0, 0, 0], 0).into(), ..local() };
    let error = Server::bind(ctx, options, Arc::new(|_| {})).await.unwrap_err();
    assert_eq!(error.kind(), modelkeep_core::Kind::Usage);
    assert!(error.hint_text().unwrap().contains("--token"));
}
