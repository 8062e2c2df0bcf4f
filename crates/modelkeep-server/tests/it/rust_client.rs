//! The Rust client of the Hub that candle and tokenizers bring: it looks, loads and finds again in its own cache.

use std::fs;

use hf_hub::api::sync::{Api, ApiBuilder};
use hf_hub::{Cache, Repo, RepoType};

use crate::world::{World, noise};

#[tokio::test(flavor = "multi_thread")]
async fn hf_hub_lists_inspects_and_loads() {
    let world = World::in_folder().await;
    let weights = noise(12_000_000, 1);
    let first = world.push("banking-v2", &[("config.json", b"{}"), ("a/weights.bin", &weights)], &["prod"]).await;
    let second = world.push("banking-v2", &[("config.json", b"{\"new\": 1}")], &[]).await;
    let serving = world.machine("server").serve().await;
    let cache = world.folder.path().join("rust-client");
    let builder = ApiBuilder::from_cache(Cache::new(cache.clone()));
    let api = builder.with_endpoint(format!("http://{}", serving.address)).with_token(None).with_progress(false);
    let api = api.build().unwrap();
    let looked = move || {
        for (revision, push, names) in [
            ("main", &second, vec!["config.json"]),
            ("prod", &first, vec!["a/weights.bin", "config.json"]),
            ("1", &first, vec!["a/weights.bin", "config.json"]),
            (&*second.revision.to_string(), &second, vec!["config.json"]),
        ] {
            let info = at(&api, "banking/banking-v2", revision).info().unwrap();
            let mut files: Vec<_> = info.siblings.iter().map(|file| file.rfilename.as_str()).collect();
            files.sort_unstable();
            assert_eq!((info.sha, files), (push.revision.to_string(), names), "{revision}");
        }
        let prod = at(&api, "banking/banking-v2", "prod");
        let loaded = prod.get("a/weights.bin").unwrap();
        assert!(fs::read(&loaded).unwrap() == weights);
        assert_eq!(
            fs::read(at(&api, "banking/banking-v2", "main").get("config.json").unwrap()).unwrap(),
            b"{\"new\": 1}"
        );
        // Its cache knows it by the label from now on.
        let repo = Repo::with_revision("banking/banking-v2".to_owned(), RepoType::Model, "prod".to_owned());
        assert_eq!(Cache::new(cache).repo(repo).get("a/weights.bin"), Some(loaded));
        // What is not there is an error and no file.
        assert!(prod.get("nothing.bin").is_err() && at(&api, "banking/unknown", "main").info().is_err());
    };
    tokio::task::spawn_blocking(looked).await.unwrap();
}

fn at(api: &Api, model: &str, revision: &str) -> hf_hub::api::sync::ApiRepo {
    api.repo(Repo::with_revision(model.to_owned(), RepoType::Model, revision.to_owned()))
}
