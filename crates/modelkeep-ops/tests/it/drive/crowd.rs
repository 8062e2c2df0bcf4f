//! Several at once on one Drive: two through the API, and one through a mount of it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use modelkeep_core::Result;
use modelkeep_core::path::RemotePath;
use modelkeep_ops::store::{Format, read_format};
use modelkeep_ops::{list, log, repair};
use modelkeep_remote::{
    Capabilities, Copied, Entry, Inline, Meter, Mode, NoMeter, Object, PointerKind, Remote, Source, Transferred, Usage,
    Written,
};

use super::{Cloud, settled, tree};
use crate::world::{Machine, files, pull, push};

/// The Drive as a mount shows it: paths without ids, no checksums, and nothing that is certain to have arrived.
#[derive(Debug)]
struct Mounted(Arc<dyn Remote>);

/// A mount knows paths alone.
fn by_path(object: &Object) -> Object {
    Object::at(object.path.clone())
}

fn plain(entry: Entry) -> Entry {
    Entry { id: None, sha256: None, ..entry }
}

#[async_trait]
impl Remote for Mounted {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            ids: false,
            unique_names: true,
            pointers: PointerKind::File,
            checksums: false,
            copies: false,
            confirms: false,
            cheap_reads: true,
            ..self.0.capabilities()
        }
    }

    fn describe(&self) -> String {
        "/content/drive/MyDrive/Banking LLM".to_owned()
    }

    async fn now(&self) -> Result<Timestamp> {
        self.0.now().await
    }

    async fn list(&self, dir: &RemotePath, inline: Inline<'_>) -> Result<Vec<Entry>> {
        // Of two with one name a mount shows one as it is called, and the other as `name (1)`.
        let entries = self.0.list(dir, inline).await?.into_iter().map(|entry| (entry.path.clone(), plain(entry)));
        Ok(entries.collect::<BTreeMap<_, _>>().into_values().collect())
    }

    async fn find(&self, object: &Object) -> Result<Option<Entry>> {
        Ok(self.0.find(&by_path(object)).await?.map(plain))
    }

    async fn read(&self, object: &Object, range: Range<u64>) -> Result<Bytes> {
        self.0.read(&by_path(object), range).await
    }

    async fn fetch(&self, object: &Object, to: &Path, meter: Arc<dyn Meter>) -> Result<Transferred> {
        self.0.fetch(&by_path(object), to, meter).await
    }

    async fn write(&self, path: &RemotePath, source: Source, mode: Mode, meter: Arc<dyn Meter>) -> Result<Written> {
        Ok(Written { id: None, ..self.0.write(path, source, mode, meter).await? })
    }

    async fn write_many(&self, files: Vec<(RemotePath, PathBuf)>, meter: Arc<dyn Meter>) -> Result<Vec<Written>> {
        let written = self.0.write_many(files, meter).await?;
        Ok(written.into_iter().map(|written| Written { id: None, ..written }).collect())
    }

    async fn copy(&self, _: &Object, _: &RemotePath, _: Arc<dyn Meter>) -> Result<Copied> {
        Err(modelkeep_core::Error::usage("a mount copies nothing"))
    }

    async fn rename(&self, from: &Object, to: &RemotePath) -> Result<()> {
        self.0.rename(&by_path(from), to).await
    }

    async fn exchange(&self, one: &RemotePath, other: &RemotePath) -> Result<()> {
        self.0.exchange(one, other).await
    }

    async fn create_dir(&self, path: &RemotePath) -> Result<Entry> {
        self.0.create_dir(path).await.map(plain)
    }

    async fn point(&self, path: &RemotePath, target: &RemotePath) -> Result<()> {
        self.0.point(path, target).await
    }

    async fn delete(&self, object: &Object) -> Result<()> {
        self.0.delete(&by_path(object)).await
    }

    async fn flush(&self, paths: &[RemotePath]) -> Result<()> {
        self.0.flush(paths).await
    }

    async fn usage(&self) -> Result<Usage> {
        self.0.usage().await
    }
}

const ROUNDS: usize = 3;

async fn life(
    name: &'static str,
    machine: &Machine,
    ctx: impl AsyncFn() -> modelkeep_ops::Context,
) -> Vec<(String, Vec<u8>)> {
    let mut pushed = Vec::new();
    for round in 0..ROUNDS {
        for model in ["same-v1".to_owned(), format!("{name}-v1")] {
            let content = format!("{model} of {name} in round {round}").into_bytes();
            let dir =
                machine.directory(&format!("{model}-{round}"), &[("model.bin", &content), ("config.json", b"{}")]);
            let mut tries = 0;
            let report = loop {
                match push(&ctx().await, &dir, &model).await {
                    Ok(report) => break report,
                    Err(error) => {
                        tries += 1;
                        assert!(tries < 20, "{name}, {model}: {}", error.full_message());
                    }
                }
            };
            assert!(report.created);
            assert_eq!(report.wrote.confirmed, name != "colab", "only the store itself can confirm");
            pushed.push((report.revision.to_string(), content));
        }
    }
    pushed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_through_the_api_and_one_through_a_mount() {
    let (cloud, ana) = Cloud::new().await;
    let (ben, cyd) = (cloud.machine("ben"), cloud.machine("cyd"));
    let colab = Machine::new("colab");
    let through = cyd.remote().await;
    let format: Format = read_format(&*through).await.unwrap().unwrap();
    let mount: Arc<dyn Remote> = Arc::new(Mounted(through));
    let (one, two, three) = tokio::join!(
        life("ana", &ana.machine, async || ana.ctx()),
        life("ben", &ben.machine, async || ben.ctx()),
        life("colab", &colab, async || colab.context(&mount, &format, None, None)),
    );
    // Whoever talks to the Drive itself takes in what came through the mount, once it is seen there.
    settled(&ana).await;
    let models = list::list(&ben.ctx(), &list::Request::default()).await.unwrap().models;
    let ids: Vec<(&str, usize)> = models.iter().map(|model| (model.id.as_str(), model.revisions)).collect();
    assert_eq!(ids, [("ana-v1", 3), ("ben-v1", 3), ("colab-v1", 3), ("same-v1", 9)]);
    let ctx = ben.ctx();
    let view = log::refresh(&ctx, &ctx.store().await.unwrap()).await.unwrap();
    assert!(view.pending.is_empty(), "{:?}", view.pending);
    let all: Vec<_> = [one, two, three].into_iter().flatten().collect();
    for (nth, (revision, content)) in all.iter().enumerate() {
        let model = models.iter().find_map(|model| {
            let name = String::from_utf8_lossy(content);
            name.starts_with(model.id.as_str()).then(|| model.id.to_string())
        });
        let to = ben.machine.home.path().join(format!("back-{nth}"));
        pull(&ben.ctx(), &format!("{}@{}", model.unwrap(), &revision[..12]), &to).await.unwrap();
        assert_eq!(files(&to)["model.bin"], *content);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_through_a_mount_is_confirmed_when_the_drive_has_its_bytes_and_not_before() {
    let (cloud, ana) = Cloud::new().await;
    let colab = Machine::new("colab");
    let through = cloud.machine("cyd").remote().await;
    let format: Format = read_format(&*through).await.unwrap().unwrap();
    let mount: Arc<dyn Remote> = Arc::new(Mounted(through));
    let dir = colab.directory("m", &[("model.bin", b"the right bytes")]);
    let pushed = push(&colab.context(&mount, &format, None, None), &dir, "m-v1").await.unwrap();
    assert!(!pushed.wrote.confirmed);

    // So far there are as many bytes, and other ones.
    let remote = ana.remote().await;
    let place = tree(&*remote).await.into_iter().find(|path| path.ends_with("model.bin")).unwrap().parse().unwrap();
    let arrives = async |bytes: &'static [u8]| {
        let source = Source::Bytes(Bytes::from_static(bytes));
        remote.write(&place, source, Mode::Replace, Arc::new(NoMeter)).await.unwrap();
    };
    let pending = async || {
        let ctx = ana.ctx();
        log::refresh(&ctx, &ctx.store().await.unwrap()).await.unwrap().pending.len()
    };
    arrives(b"the wrong bytes").await;
    let waits = repair::repair(&ana.ctx(), &repair::Request::default()).await.unwrap();
    assert!(waits.left.iter().any(|left| left.contains("not arrived whole")), "{waits:#?}");
    assert_eq!(pending().await, 1);
    arrives(b"the right bytes").await;
    settled(&ana).await;
    assert_eq!(pending().await, 0);
}
