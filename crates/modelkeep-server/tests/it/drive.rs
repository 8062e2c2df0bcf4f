//! A store on Google Drive, against the fake one: ranges, a crowd, and what goes wrong on the way from there.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use modelkeep_ops::context::{Context, Options, Silent};
use modelkeep_ops::{Observer, init, push};
use modelkeep_testkit::drive::{Options as Fake, Server};
use tempfile::TempDir;

use crate::world::{Machine, Serving, env, noise};

const ME: &str = "ana@example.com";
const WEIGHTS: &str = "/banking/banking-v1/resolve/main/weights.bin";
const CONFIG: &str = "/banking/banking-v1/resolve/main/config.json";

/// A Drive with a version of a large and a small file.
struct Cloud {
    server: Server,
    weights: Vec<u8>,
    config: Vec<u8>,
    settings: String,
    home: TempDir,
}

impl Cloud {
    async fn new() -> Self {
        let server = Server::start(Fake { accounts: vec![ME.to_owned()], ..Fake::default() }).unwrap();
        // Larger than what comes in one piece.
        let (weights, config) = (noise(40 << 20, 1), noise(500, 2));
        let mut cloud = Self { server, weights, config, settings: String::new(), home: tempfile::tempdir().unwrap() };
        let env = cloud.env("pusher");
        let observer: Arc<dyn Observer> = Arc::new(Silent);
        let request = init::Request { remote: Some("gdrive:Banking LLM".to_owned()), ..init::Request::default() };
        init::init(&env, &Options::default(), &observer, &request).await.unwrap();
        cloud.settings = fs::read_to_string(env.cwd.join("modelkeep.toml")).unwrap();
        let files: [(&str, &[u8]); 2] = [("weights.bin", &cloud.weights), ("config.json", &cloud.config)];
        let request = push::Request { model: "banking-v1".to_owned(), ..Default::default() };
        cloud.machine("pusher").await.push(&files, request).await;
        cloud.server.clear_calls();
        cloud
    }

    fn env(&self, name: &str) -> modelkeep_ops::context::Env {
        let home = self.home.path().join(name);
        fs::create_dir_all(&home).unwrap();
        let mut env = env(&home);
        let token =
            self.server.token(ME, "client", "https://www.googleapis.com/auth/drive", Duration::from_secs(86400));
        for (name, value) in [
            ("MODELKEEP_GDRIVE_ENDPOINT", self.server.url()),
            ("MODELKEEP_GDRIVE_TOKEN", &token),
            ("MODELKEEP_TESTING", "1"),
            ("MODELKEEP_RETRY_BASE_MS", "1"),
            ("MODELKEEP_GDRIVE_SETTLE_MS", "0"),
        ] {
            env.vars.insert(name.to_owned(), value.to_owned());
        }
        env
    }

    /// Somebody who has the settings alone.
    async fn machine(&self, name: &str) -> Machine {
        let env = self.env(name);
        fs::write(env.cwd.join("modelkeep.toml"), &self.settings).unwrap();
        let ctx = Arc::new(Context::open(env, Options::default(), Arc::new(Silent)).unwrap());
        let trace = Arc::clone(&ctx.store().await.unwrap().trace);
        Machine { ctx, trace }
    }

    async fn serve(&self) -> Arc<Serving> {
        Arc::new(self.machine("server").await.serve().await)
    }

    /// Whether something lies in the server's cache that is not whole.
    fn half_done(&self) -> bool {
        let served = fs::read_dir(self.home.path().join("server/.modelkeep/served"));
        served.into_iter().flatten().flatten().any(|entry| entry.metadata().is_ok_and(|metadata| metadata.len() > 0))
    }

    /// Every byte range that was asked for, of large and small files.
    fn ranges(&self) -> Vec<String> {
        let calls = self.server.calls().into_iter().filter(|call| call.name == "files.download");
        calls.map(|call| format!("{} {}", call.path, call.range.unwrap_or_default())).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_and_its_ranges_are_one_download() {
    let cloud = Cloud::new().await;
    let serving = cloud.serve().await;
    let size = cloud.weights.len();
    let parts = [0..size, 0..10, size - 10..size, 15 << 20..17 << 20, size / 2..size, 0..size];
    cloud.server.clear_calls();
    let clients: Vec<_> = (0..24)
        .map(|client: usize| {
            let (serving, range) = (Arc::clone(&serving), parts[client % parts.len()].clone());
            tokio::spawn(async move {
                let header = format!("Range: bytes={}-{}\r\n", range.start, range.end - 1);
                (serving.ask("GET", WEIGHTS, &header).await, serving.get(CONFIG).await, range)
            })
        })
        .collect();
    for client in clients {
        let (part, config, range) = client.await.unwrap();
        assert_eq!((part.status, config.status), (206, 200), "{}", config.text());
        let said = format!("bytes {}-{}/{size}", range.start, range.end - 1);
        assert_eq!(part.header("content-range"), said);
        assert!(part.body == cloud.weights[range] && config.body == cloud.config);
    }
    assert_eq!(serving.calls("fetch"), 2);
    // Five pieces of the one and the other as a whole, each once; where the version stands may be read besides.
    let ranges = cloud.ranges();
    let first = ranges.iter().filter(|range| range.ends_with("bytes=0-8388607")).count();
    let later = ranges.iter().filter(|range| !range.contains("bytes=0-")).count();
    assert_eq!((first, later), (2, 4), "{ranges:?}");
    // From now on the Drive is not asked for content.
    assert!(serving.get(WEIGHTS).await.body == cloud.weights);
    assert_eq!(cloud.ranges().len(), ranges.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_on_the_way_is_mended_on_the_way() {
    let cloud = Cloud::new().await;
    let serving = cloud.serve().await;
    cloud.server.fault("cut=700000*3@files.download,503*2@files.download,429*2@files.download").unwrap();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let serving = Arc::clone(&serving);
            tokio::spawn(async move { serving.get(WEIGHTS).await })
        })
        .collect();
    for client in clients {
        let reply = client.await.unwrap();
        assert!(reply.is_good() && reply.body == cloud.weights, "{} {}", reply.status, reply.body.len());
    }
    assert_eq!(serving.calls("fetch"), 1);
    assert!(cloud.server.calls().iter().any(|call| call.fault.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_drive_gives_no_more_it_is_an_error_and_what_came_stays() {
    let cloud = Cloud::new().await;
    let serving = cloud.serve().await;
    // Its login is good for a few requests more, until some of the file has come; then nothing does.
    for more in 1.. {
        cloud.server.clear_faults();
        cloud.server.fault(&format!("expire-token={}", cloud.server.calls().len() + more)).unwrap();
        let cut = serving.get(WEIGHTS).await;
        assert!(!cut.is_good(), "{} {}", cut.status, cut.body.len());
        if cloud.half_done() {
            break;
        }
    }
    let refused = serving.get(CONFIG).await;
    assert_eq!(refused.status, 502, "{}", refused.text());
    // What is known of it is answered all the same.
    assert_eq!(serving.ask("HEAD", WEIGHTS, "").await.header("content-length"), cloud.weights.len().to_string());
    cloud.server.clear_faults();
    cloud.server.clear_calls();
    let reply = serving.get(WEIGHTS).await;
    assert!(reply.is_good() && reply.body == cloud.weights);
    let ranges = cloud.ranges();
    assert!(ranges.iter().all(|range| !range.contains("bytes=0-8388607")), "{ranges:?}");
    assert_eq!(serving.get(CONFIG).await.body, cloud.config);
}
