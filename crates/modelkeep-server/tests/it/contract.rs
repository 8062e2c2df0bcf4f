//! The questions that clients ask, and what they need of the answers.

use modelkeep_core::digest::Sha256;

use crate::world::{Reply, Serving, World, noise, request};

const CONFIG: &[u8] = br#"{"model_type": "llama"}"#;

/// Two versions, the first one labelled.
async fn models() -> (World, Serving, [String; 2]) {
    let world = World::in_folder().await;
    let weights = noise(3_000_000, 1);
    let one = [
        ("config.json", CONFIG),
        ("weights.bin", &weights),
        ("a/b/deep.txt", b"deep"),
        ("a/top.txt", b"top"),
        ("empty", b""),
    ];
    let first = world.push("banking-v2", &one, &["prod", "team/best"]).await;
    let second = world.push("banking-v2", &[("config.json", CONFIG), ("weights.bin", &noise(100, 2))], &[]).await;
    let serving = world.machine("server").serve().await;
    (world, serving, [first.revision.to_string(), second.revision.to_string()])
}

fn etag(content: &[u8]) -> String {
    format!("\"{}\"", Sha256::of(content))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_described_and_delivered() {
    let (_world, serving, [first, second]) = models().await;
    let head =
        serving.ask("HEAD", "/banking/banking-v2/resolve/prod/weights.bin", "Accept-Encoding: identity\r\n").await;
    let weights = noise(3_000_000, 1);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), "3000000");
    assert_eq!(head.header("etag"), etag(&weights));
    assert_eq!(head.header("x-linked-etag"), etag(&weights));
    assert_eq!(head.header("x-linked-size"), "3000000");
    assert_eq!(head.header("x-repo-commit"), first);
    assert_eq!(head.header("x-xet-hash"), "");
    let get = serving.ask("GET", "/banking/banking-v2/resolve/prod/weights.bin", "Accept-Encoding: gzip\r\n").await;
    assert_eq!((get.status, get.header("content-encoding"), get.body == weights), (200, "", true));
    let newest = serving.get("/banking/banking-v2/resolve/main/weights.bin").await;
    assert_eq!((newest.header("x-repo-commit"), &newest.body), (&*second, &noise(100, 2)));
    let empty = serving.get(&format!("/banking/banking-v2/resolve/{first}/empty")).await;
    assert_eq!((empty.status, empty.header("content-length"), empty.body.len()), (200, "0", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_of_a_version_finds_it() {
    let (_world, serving, [first, second]) = models().await;
    for (revision, commit) in [
        ("main", &second),
        ("latest", &second),
        ("2", &second),
        ("1", &first),
        ("prod", &first),
        ("team%2Fbest", &first),
        (&*first.clone(), &first),
        (&first[..12], &first),
        (&second[..7], &second),
    ] {
        let reply = serving.get(&format!("/banking/banking-v2/resolve/{revision}/config.json")).await;
        assert_eq!((reply.status, reply.header("x-repo-commit")), (200, &**commit), "{revision}");
        let info = serving.json(&format!("/api/models/banking/banking-v2/revision/{revision}")).await;
        assert_eq!((&info["sha"], &info["id"]), (&commit.as_str().into(), &"banking/banking-v2".into()));
    }
    // Adapters name their base by its id alone.
    assert_eq!(serving.get("/banking-v2/resolve/main/config.json").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_served() {
    let (_world, serving, [first, _]) = models().await;
    let path = format!("/banking/banking-v2/resolve/{first}/weights.bin");
    let weights = noise(3_000_000, 1);
    for (range, from, to) in [
        ("10-19", 10, 20),
        ("2999999-", 2_999_999, 3_000_000),
        ("1000000-", 1_000_000, 3_000_000),
        ("-5", 2_999_995, 3_000_000),
        ("0-99999999", 0, 3_000_000),
    ] {
        let reply = serving.ask("GET", &path, &format!("Range: bytes={range}\r\n")).await;
        assert_eq!((reply.status, reply.body == weights[from..to]), (206, true), "{range}");
        assert_eq!(reply.header("content-range"), format!("bytes {from}-{}/3000000", to - 1));
        assert_eq!(reply.header("content-length"), (to - from).to_string());
    }
    let beyond = serving.ask("GET", &path, "Range: bytes=3000000-\r\n").await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */3000000"));
    // Of something else that it was once the beginning is no use.
    let other = serving.ask("GET", &path, "Range: bytes=10-\r\nIf-Range: \"other\"\r\n").await;
    assert_eq!((other.status, other.body.len()), (200, 3_000_000));
    let same = serving.ask("GET", &path, &format!("Range: bytes=10-\r\nIf-Range: {}\r\n", etag(&weights))).await;
    assert_eq!(same.status, 206);
    let known = serving.ask("GET", &path, &format!("If-None-Match: {}\r\n", etag(&weights))).await;
    assert_eq!((known.status, known.body.len()), (304, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_in_words_that_clients_know() {
    let (_world, serving, [first, _]) = models().await;
    for (path, code, commit) in [
        ("/banking/banking-v2/resolve/prod/vocab.txt", "EntryNotFound", &*first),
        ("/banking/banking-v2/resolve/prod/a", "EntryNotFound", &*first),
        ("/api/models/banking/banking-v2/tree/prod/no%2Fsuch?recursive=false", "EntryNotFound", &*first),
        ("/banking/banking-v2/resolve/no-such/config.json", "RevisionNotFound", ""),
        ("/banking/banking-v2/resolve/9/config.json", "RevisionNotFound", ""),
        ("/banking/banking-v2/resolve/NO%20NAME/config.json", "RevisionNotFound", ""),
        ("/api/models/banking/banking-v2/revision/0123456789abcdef0123456789abcdef01234567", "RevisionNotFound", ""),
        ("/banking/banking-v3/resolve/main/config.json", "RepoNotFound", ""),
        ("/other/banking-v2/resolve/main/config.json", "RepoNotFound", ""),
        ("/api/models/other/model", "RepoNotFound", ""),
        ("/api/datasets/banking/banking-v2", "RepoNotFound", ""),
    ] {
        for method in ["GET", "HEAD"] {
            let reply = serving.ask(method, path, "").await;
            let got = (reply.status, reply.header("x-error-code"), reply.header("x-repo-commit"));
            assert_eq!(got, (404, code, commit), "{method} {path}");
            assert_eq!(reply.body.is_empty(), method == "HEAD");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_and_lists_tell_all_that_clients_read() {
    let (_world, serving, [first, second]) = models().await;
    let tree = serving.json("/api/models/banking/banking-v2/tree/prod?recursive=True&expand=false").await;
    let paths: Vec<&str> = tree.as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["a", "a/b", "a/b/deep.txt", "a/top.txt", "config.json", "empty", "weights.bin"]);
    assert_eq!((&tree[0]["type"], &tree[4]["type"]), (&"directory".into(), &"file".into()));
    // As git-lfs says: sha1("blob 126\0version https://git-lfs.github.com/spec/v1\noid sha256:…\nsize 23\n").
    assert_eq!(tree[4]["oid"].as_str().unwrap().len(), 40);
    assert_eq!(tree[4]["lfs"]["oid"].as_str().unwrap(), Sha256::of(CONFIG).to_string());
    assert_eq!((&tree[4]["size"], &tree[4]["lfs"]["size"]), (&23.into(), &23.into()));
    assert!(tree[4]["lfs"]["pointerSize"].as_u64() > Some(100) && tree[4].get("xetHash").is_none());
    let inside = serving.json("/api/models/banking/banking-v2/tree/prod/a%2Fb").await;
    assert_eq!(inside[0]["path"], "a/b/deep.txt");
    let inside = serving.json("/api/models/banking/banking-v2/tree/prod/a?expand=true").await;
    assert_eq!((inside.as_array().unwrap().len(), &inside[0]["lastCommit"]["id"]), (2, &first.as_str().into()));

    let info = serving.json("/api/models/banking/banking-v2?blobs=true").await;
    assert_eq!(info["sha"], second);
    let sibling = &info["siblings"][1];
    assert_eq!((&sibling["rfilename"], &sibling["size"]), (&"weights.bin".into(), &100.into()));
    assert_eq!(sibling["lfs"]["sha256"].as_str().unwrap(), Sha256::of(&noise(100, 2)).to_string());
    assert_eq!(sibling["blobId"].as_str().unwrap().len(), 40);
    assert!(sibling["lfs"]["pointerSize"].is_number());

    let refs = serving.json("/api/models/banking/banking-v2/refs?include_prs=1").await;
    assert_eq!(refs["branches"][0]["name"], "main");
    assert_eq!(refs["branches"][0]["targetCommit"], second);
    let tags: Vec<(&str, &str)> = refs["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| (tag["name"].as_str().unwrap(), tag["targetCommit"].as_str().unwrap()))
        .collect();
    assert_eq!(tags, [("latest", &*second), ("prod", &first), ("team/best", &first), ("2", &second), ("1", &first)]);
    assert!(refs["converts"].as_array().unwrap().is_empty() && refs["pullRequests"].as_array().unwrap().is_empty());

    let commits = serving.json("/api/models/banking/banking-v2/commits/main").await;
    assert_eq!((&commits[0]["id"], &commits[1]["id"]), (&second.as_str().into(), &first.as_str().into()));
    for field in ["title", "message", "date", "authors"] {
        assert!(commits[0].get(field).is_some(), "{field}");
    }
    let older = serving.json("/api/models/banking/banking-v2/commits/prod").await;
    assert_eq!(older.as_array().unwrap().len(), 1);
}

async fn post(serving: &Serving, kind: &str, body: &str) -> Reply {
    let headers = format!("Content-Type: {kind}\r\n");
    let path = "/api/models/banking/banking-v2/paths-info/prod";
    serving.say(request("POST", path, &serving.address.to_string(), &headers, body).as_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_are_asked_about_in_a_form_or_in_json() {
    let (_world, serving, _) = models().await;
    let form = "paths=config.json&paths=a&paths=no-such&paths=..%2F..%2Fetc%2Fpasswd&expand=False";
    let json = r#"{"paths": ["config.json", "a", "no-such", "../../etc/passwd"]}"#;
    for (kind, body) in [("application/x-www-form-urlencoded", form), ("application/json", json)] {
        let reply = post(&serving, kind, body).await;
        let found: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        let found: Vec<(&str, &str)> = found
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| (entry["type"].as_str().unwrap(), entry["path"].as_str().unwrap()))
            .collect();
        assert_eq!(found, [("file", "config.json"), ("directory", "a")], "{kind}");
    }
    let twice = post(&serving, "application/json", r#"{"paths": ["a", "/a/", "config.json", "a", ""]}"#).await;
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&twice.body).unwrap().as_array().unwrap().len(), 2);
    let very_many = format!(r#"{{"paths": [{}"a"]}}"#, r#""a","#.repeat(100_000));
    assert_eq!(post(&serving, "application/json", &very_many).await.status, 413);
    assert_eq!(post(&serving, "application/json", "no json").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_listed_in_pages() {
    let (world, serving, _) = models().await;
    for n in 0..4 {
        world.push(&format!("other-v{n}"), &[("config.json", &noise(10, n))], &[]).await;
    }
    // What was pushed since is seen when the last reading of the log is no longer fresh.
    let mut all = Vec::new();
    while all.len() < 5 {
        all = serving.json("/api/models?author=banking").await.as_array().unwrap().clone();
    }
    let (mut ids, mut next) = (Vec::new(), Some("/api/models?search=other&limit=3&full=true".to_owned()));
    let mut pages = 0;
    while let Some(path) = next {
        let reply = serving.get(&path).await;
        let page: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        ids.extend(page.as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()));
        let here = format!("<http://{}", serving.address);
        next = reply.headers.get("link").map(|link| {
            let (url, rel) = link.split_once(">; ").unwrap();
            assert_eq!(rel, "rel=\"next\"");
            url.strip_prefix(&here).unwrap().to_owned()
        });
        pages += 1;
    }
    ids.sort();
    assert_eq!((pages, ids), (2, (0..4).map(|n| format!("banking/other-v{n}")).collect()));
    assert!(serving.json("/api/models?author=somebody").await.as_array().unwrap().is_empty());
    let tagged = serving.json("/api/models?filter=prod").await;
    assert!(tagged.as_array().unwrap().is_empty(), "the newest version has no such label");
}

#[tokio::test(flavor = "multi_thread")]
async fn small_questions_and_writes() {
    let (_world, serving, _) = models().await;
    assert_eq!(serving.json("/api/agent-harnesses").await["harnesses"], serde_json::json!({}));
    assert_eq!(serving.get("/api/whoami-v2").await.status, 401);
    let me = serving.ask("GET", "/api/whoami-v2", "Authorization: Bearer any\r\n").await;
    assert!(me.status == 200 && me.text().contains("\"name\":\"banking\""), "{}", me.text());
    assert_eq!(serving.get("/healthz").await.text(), "ok\n");
    for (method, path) in [
        ("POST", "/api/repos/create"),
        ("POST", "/api/models/banking/banking-v2/commit/main"),
        ("PUT", "/banking/banking-v2/resolve/main/config.json"),
        ("DELETE", "/api/repos/delete"),
        ("GET", "/api/models/banking/banking-v2/xet-write-token/main"),
    ] {
        let reply = serving.say(request(method, path, &serving.address.to_string(), "", "{}").as_bytes()).await;
        assert!(reply.status == 403 && reply.text().contains("modelkeep push"), "{method} {path}: {}", reply.text());
    }
    serving.get("/banking/banking-v2/resolve/prod/weights.bin").await;
    let metrics = serving.get("/metrics").await;
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"));
    for line in [
        "modelkeep_requests_total{method=\"GET\",status=\"200\"}",
        "modelkeep_sent_bytes_total 3000000",
        "modelkeep_content_hits_total 1",
        "modelkeep_content_fetches_total 0",
        "modelkeep_answer_seconds_count",
        "# EOF",
    ] {
        assert!(metrics.text().contains(line), "{line} is not in\n{}", metrics.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_model_keeps_its_name_and_commit_of_the_hub() {
    use modelkeep_ops::set;
    let world = World::in_folder().await;
    let pushed = world.push_base("tiny", &[("config.json", CONFIG)]).await;
    let ctx = world.machine("pusher").ctx;
    set::set(&ctx, "tiny", &["source=meta-llama/Tiny".to_owned()], false).await.unwrap();
    let serving = world.machine("server").serve().await;
    // Without a commit of the Hub's it has ours.
    let commit = pushed.revision.to_string();
    for repo in ["meta-llama/Tiny", "banking/tiny", "tiny"] {
        let reply = serving.get(&format!("/{repo}/resolve/main/config.json")).await;
        assert_eq!((reply.status, reply.header("x-repo-commit")), (200, &*commit), "{repo}");
    }
    assert_eq!(serving.json("/api/models/meta-llama/Tiny").await["id"], "meta-llama/Tiny");
}
