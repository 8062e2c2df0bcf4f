//! `files.list`: a query, an order, and pages of what it found.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State as Extract;
use serde_json::{Value, json};

use super::read::hash;
use crate::drive::app::{Answer, App, Params, reply};
use crate::drive::error::{ApiError, Result};
use crate::drive::fields::Mask;
use crate::drive::query::Query;
use crate::drive::resource;
use crate::drive::search::{self, Search};
use crate::drive::state::{Caller, Item, State};

const LIST: &str = "kind,incompleteSearch,nextPageToken,files(kind,id,name,mimeType)";

/// So many page tokens are remembered; a restart forgets them all, as a token may be rejected at any time.
const TOKENS: usize = 10_000;

/// What is still to come of listings.
#[derive(Debug, Default)]
pub struct Pages(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    rests: HashMap<String, Rest>,
    order: VecDeque<String>,
}

/// What one page token stands for. It can be asked for again: an answer may have been lost.
#[derive(Debug, Clone)]
struct Rest {
    ids: Arc<[String]>,
    at: usize,
    question: String,
}

impl Pages {
    fn keep(&self, token: String, rest: Rest) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.order.push_back(token.clone());
        known.rests.insert(token, rest);
        if known.order.len() > TOKENS
            && let Some(oldest) = known.order.pop_front()
        {
            known.rests.remove(&oldest);
        }
    }

    fn find(&self, token: &str) -> Option<Rest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).rests.get(token).cloned()
    }
}

pub async fn list(Extract(app): Extract<Arc<App>>, caller: Caller, params: Params) -> Answer {
    let mask = params.mask(LIST, "FileList")?;
    let size = params.count("pageSize", 100, 1000)?;
    let size = app.faults.page_size(size);
    // A token is good for the question it was given for.
    let question = ["q", "orderBy", "corpora", "driveId", "spaces", "includeItemsFromAllDrives"]
        .map(|name| params.get(name).unwrap_or_default())
        .join("\n");
    let question = format!("{}\n{question}", caller.account);
    let rest = match params.get("pageToken") {
        None => Rest { ids: find(&app, &caller, &params)?.into(), at: 0, question },
        Some(token) => app
            .pages
            .find(token)
            .filter(|rest| rest.question == question)
            .ok_or_else(|| ApiError::parameter("invalid", "pageToken", "Invalid Value"))?,
    };
    let end = (rest.at + size).min(rest.ids.len());
    let mut page = json!({ "kind": "drive#fileList", "incompleteSearch": false });
    page["files"] = show(&app, &caller, &params, &mask, &rest.ids[rest.at..end]).await?.into();
    if end < rest.ids.len() {
        let token = format!("~!!~{}", app.state().random.word(60));
        page["nextPageToken"] = token.clone().into();
        app.pages.keep(token, Rest { at: end, ..rest });
    }
    Ok(reply(&mask, page))
}

/// The files of a page. Those that went away since the first page are missing, so a page may be short or empty.
async fn show(app: &Arc<App>, caller: &Caller, params: &Params, mask: &Mask, ids: &[String]) -> Result<Vec<Value>> {
    let digests = resource::wants_older_digests(mask, &["files"]);
    if digests {
        let contents = {
            let state = app.state();
            let heads = ids.iter().filter_map(|id| state.items.get(id)?.head());
            heads.map(|head| Arc::clone(&head.content)).collect()
        };
        hash(app, contents).await?;
    }
    let mut state = app.state();
    let mut files = Vec::with_capacity(ids.len());
    for id in ids {
        let Ok(item) = state.visible(caller, id, params.all_drives()) else { continue };
        files.push(resource::file(&state, &app.contents, caller, item, digests)?);
        if mask.wants(&["files", "sha256Checksum"])
            && let Some(item) = state.items.get_mut(id)
        {
            item.checksum_late = item.checksum_late.saturating_sub(1);
        }
    }
    Ok(files)
}

/// The ids of everything that is found, in order.
fn find(app: &App, caller: &Caller, params: &Params) -> Result<Vec<String>> {
    let query = Query::parse(params.get("q").unwrap_or_default())?;
    let order = search::order(params.get("orderBy").unwrap_or_default())?;
    let place = Place::read(params)?;
    let mut state = app.state();
    let search = Search { state: &state, caller };
    if let Some(query) = &query {
        search.check(query, params.all_drives())?;
    }
    if let Place::Drive(drive) = &place {
        state.visible(caller, drive, true)?;
    }
    let matching = candidates(&state, caller, query.as_ref())
        .into_iter()
        .filter(|item| place.has(item) && caller.reaches(item))
        .filter(|item| state.listed_role(item, &caller.account).is_some())
        .filter(|item| query.as_ref().is_none_or(|query| search.matches(query, item)));
    let (mut found, mut late) = (Vec::new(), Vec::new());
    for item in matching {
        if item.listing_late > 0 { late.push(item.id.clone()) } else { found.push(item) }
    }
    if order.is_empty() {
        // The order that nobody promised: what changed last comes first.
        found.sort_by(|left, right| right.modified.cmp(&left.modified).then_with(|| left.id.cmp(&right.id)));
    } else {
        found.sort_by(|left, right| search::compare(&order, left, right));
    }
    let ids = found.into_iter().map(|item| item.id.clone()).collect();
    for id in late {
        if let Some(item) = state.items.get_mut(&id) {
            item.listing_late -= 1;
        }
    }
    Ok(ids)
}

/// The children of the folders that the query names, or else everything but the roots.
fn candidates<'a>(state: &'a State, caller: &Caller, query: Option<&Query>) -> Vec<&'a Item> {
    match query.and_then(Query::only_parents) {
        Some(mut parents) => {
            parents.sort_unstable();
            parents.dedup();
            let children = |parent| state.children(&state.resolve(caller, parent)).collect::<Vec<_>>();
            parents.into_iter().flat_map(children).collect()
        }
        None => state
            .items
            .values()
            .filter(|item| item.parent.is_some() || !state.accounts.values().any(|root| *root == item.id))
            .filter(|item| !state.drives.contains_key(&item.id))
            .collect(),
    }
}

/// Where a listing looks.
enum Place {
    Mine,
    MineAndShared,
    Drive(String),
    Nowhere,
}

impl Place {
    fn read(params: &Params) -> Result<Self> {
        let shared = params.flag("includeItemsFromAllDrives") || params.flag("includeTeamDriveItems");
        if shared && !params.all_drives() {
            let message = "The includeItemsFromAllDrives parameter requires supportsAllDrives.";
            return Err(ApiError::forbidden("teamDrivesNotSupported", message));
        }
        match params.get("spaces") {
            None | Some("drive") => {}
            Some(spaces) if spaces.split(',').all(|space| ["drive", "appDataFolder"].contains(&space)) => {
                if !spaces.contains("drive") {
                    return Ok(Self::Nowhere);
                }
            }
            Some(_) => return Err(ApiError::parameter("invalid", "spaces", "Invalid Value")),
        }
        let drive = params.get("driveId").or_else(|| params.get("teamDriveId"));
        match (params.get("corpora"), drive) {
            (None | Some("user" | "domain"), None) => Ok(if shared { Self::MineAndShared } else { Self::Mine }),
            (Some("allDrives"), None) if shared => Ok(Self::MineAndShared),
            (Some("drive"), Some(drive)) if shared => Ok(Self::Drive(drive.to_owned())),
            (Some("drive"), None) => {
                Err(ApiError::parameter("required", "driveId", "The driveId parameter must be specified."))
            }
            (Some("allDrives" | "drive"), _) => {
                let message = "The includeItemsFromAllDrives parameter must be set to true.";
                Err(ApiError::parameter("invalidParameter", "includeItemsFromAllDrives", message))
            }
            (_, Some(_)) => {
                let message = "The driveId parameter must be specified if and only if corpora is set to drive.";
                Err(ApiError::parameter("invalidParameter", "driveId", message))
            }
            _ => Err(ApiError::parameter("invalid", "corpora", "Invalid Value")),
        }
    }

    fn has(&self, item: &Item) -> bool {
        match self {
            Self::Mine => item.drive.is_none(),
            Self::MineAndShared => true,
            Self::Drive(drive) => item.drive.as_ref() == Some(drive),
            Self::Nowhere => false,
        }
    }
}
