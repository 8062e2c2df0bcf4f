//! What is known of models and their versions: one, all, branches and tags, history.

use std::sync::Arc;

use axum::Json;
use axum::response::IntoResponse as _;
use jiff::Timestamp;
use modelkeep_core::manifest::ModelKind;
use modelkeep_core::registry::{Model, Push, State};
use modelkeep_hub::repo::Commit;
use modelkeep_hub::wire::{CardData, Gated, GitRef, ModelInfo, OneOrMany, Refs, Sibling, SiblingLfs, TreeEntry};
use modelkeep_ops::catalogue::{self, MAIN, Version};
use serde::Serialize;

use super::shown::Shown;
use super::{Answer, Asked, page};
use crate::app::App;

/// Models of one page.
const PAGE: usize = 1000;

/// What clients are told of a model besides what they need.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    #[serde(flatten)]
    info: ModelInfo,
    #[serde(rename = "modelId")]
    model_id: String,
    author: String,
    created_at: Option<String>,
    disabled: bool,
    downloads: u64,
    likes: u64,
    /// The one field that the Hub spells so.
    #[serde(rename = "library_name", skip_serializing_if = "Option::is_none")]
    library_name: Option<&'static str>,
    used_storage: u64,
}

/// A version, in a list of them.
#[derive(Debug, Clone, Serialize)]
pub struct CommitNote {
    id: Commit,
    title: String,
    date: Timestamp,
}

impl CommitNote {
    /// Of a push of this version's model.
    pub fn of(version: &Version, push: &Push) -> Self {
        Self { id: version.commit_of(push), title: format!("version {}", push.number), date: push.at }
    }
}

/// `GET /api/models/REPO[/revision/REV]`.
pub async fn info(app: &Arc<App>, asked: &Asked, repo: &str, revision: &str) -> Answer {
    let shown = Shown::find(app, repo, revision).await?;
    let siblings = siblings(shown.files(), asked.is_set("blobs"));
    let version = match shown {
        Shown::Ours(version) => version,
        Shown::Theirs(_, listed) => {
            return Ok(Json(ModelInfo { siblings, ..(*listed.info).clone() }).into_response());
        }
    };
    let state = app.catalogue.state().await;
    let told = told(app, &state, &version.model, &version.push);
    // A base model is told under the name and with the commit that it was asked for by.
    let id = if repo.contains('/') { repo.to_owned() } else { told.info.id.clone() };
    let info = ModelInfo { id: id.clone(), sha: version.commit(), siblings, ..told.info };
    Ok(Json(Told { info, model_id: id, ..told }).into_response())
}

/// `GET /api/models`.
pub async fn models(app: &Arc<App>, asked: &Asked) -> Answer {
    let state = app.catalogue.state().await;
    let search = asked.get("search").unwrap_or_default().to_lowercase();
    let author = asked.get("author");
    let filters: Vec<&str> =
        asked.query.iter().filter(|(key, _)| key == "filter").flat_map(|(_, value)| value.split(',')).collect();
    let mut found = Vec::new();
    for (model, push) in catalogue::models(&state) {
        let one = told(app, &state, model, push);
        let wanted = one.info.id.to_lowercase().contains(&search)
            && author.is_none_or(|author| author == one.author)
            && filters.iter().all(|filter| filter.is_empty() || one.info.tags.iter().any(|tag| tag == filter));
        if wanted {
            found.push(one);
        }
    }
    match asked.get("sort") {
        Some("createdAt" | "created_at") => found.sort_by(|a, b| b.created_at.cmp(&a.created_at)),
        // Nobody counts downloads or likes here; what is new comes first.
        _ => found.sort_by(|a, b| b.info.last_modified.cmp(&a.info.last_modified)),
    }
    page(asked, found, PAGE)
}

/// `GET /api/models/REPO/refs`: `main` is the newest version; every label, number and `latest` is a tag.
pub async fn refs(app: &Arc<App>, asked: &Asked, repo: &str) -> Answer {
    let named = |kind: &str, name: &str, target_commit: Commit| GitRef {
        full: format!("refs/{kind}/{name}"),
        name: name.to_owned(),
        target_commit,
    };
    let (main, tags) = match Shown::find(app, repo, MAIN).await? {
        Shown::Ours(version) => {
            let tags = catalogue::names(&version.model).into_iter();
            let tags = tags.map(|(name, push)| named("tags", &name, version.commit_of(push)));
            (version.commit(), tags.collect())
        }
        // Of what is passed on nothing but the newest is known by name.
        Shown::Theirs(_, listed) => (listed.info.sha.clone(), Vec::new()),
    };
    let refs = Refs {
        branches: vec![named("heads", MAIN, main)],
        converts: Vec::new(),
        tags,
        pull_requests: asked.is_set("include_prs").then(Vec::new),
    };
    Ok(Json(refs).into_response())
}

/// `GET /api/models/REPO/commits/REV`: this version and those before it, newest first.
pub async fn commits(app: &Arc<App>, asked: &Asked, repo: &str, revision: &str) -> Answer {
    #[derive(Serialize)]
    struct Author {
        user: String,
    }
    #[derive(Serialize)]
    struct Told {
        #[serde(flatten)]
        note: CommitNote,
        message: String,
        authors: Vec<Author>,
    }
    let version = app.catalogue.find(repo, revision).await?;
    let model = &version.model;
    let told = catalogue::versions(model).skip_while(|push| push.txn != version.push.txn).map(|push| {
        let labels: Vec<String> = model.labels_of(&push.revision).iter().map(ToString::to_string).collect();
        Told {
            note: CommitNote::of(&version, push),
            message: labels.join(", "),
            authors: vec![Author { user: push.by.clone() }],
        }
    });
    page(asked, told.collect(), PAGE)
}

fn told(app: &App, state: &State, model: &Model, push: &Push) -> Told {
    let namespace = app.catalogue.namespace();
    let id = format!("{namespace}/{}", model.id);
    let said = model.describe(push);
    let base = said.base_model.map(|name| state.base_name(&name));
    let adapter = push.facts.adapter.is_some();
    let mut tags =
        vec!["modelkeep".to_owned(), model.kind.as_str().to_owned(), state.status(model).as_str().to_owned()];
    tags.extend(adapter.then(|| "peft".to_owned()));
    tags.extend(base.iter().map(|base| format!("base_model:{base}")));
    tags.extend(model.labels_of(&push.revision).iter().map(ToString::to_string));
    let base_model = base.filter(|_| model.kind == ModelKind::Finetuned).map(OneOrMany::One);
    Told {
        info: ModelInfo {
            id: id.clone(),
            sha: push.revision.into(),
            last_modified: Some(push.at.to_string()),
            private: false,
            gated: Gated::default(),
            tags,
            card_data: base_model.map(|base_model| CardData { base_model: Some(base_model), ..CardData::default() }),
            siblings: Vec::new(),
        },
        model_id: id,
        author: namespace.to_owned(),
        created_at: model.pushes.first().map(|push| push.at.to_string()),
        disabled: false,
        downloads: 0,
        likes: 0,
        library_name: adapter.then_some("peft"),
        used_storage: push.size_bytes,
    }
}

fn siblings(files: Vec<TreeEntry>, blobs: bool) -> Vec<Sibling> {
    let one = |file: TreeEntry| {
        let lfs = file.lfs.map(|lfs| SiblingLfs { sha256: lfs.oid, size: lfs.size, pointer_size: lfs.pointer_size });
        Sibling {
            rfilename: file.path,
            size: blobs.then_some(file.size),
            blob_id: blobs.then_some(file.oid),
            lfs: lfs.filter(|_| blobs),
        }
    };
    files.into_iter().map(one).collect()
}
