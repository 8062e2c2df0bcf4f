//! The calls to Drive that we need, typed.
//!
//! Knows URLs, fields and queries. Does not know paths or what is in a tree. Every call names its fields, and reaches
//! into shared drives.

use bytes::Bytes;
use modelkeep_core::{Error, Result};
use reqwest::{Method, Url};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::Failure;
use super::http::{Answer, Http, Request};
use super::limit::cost;
use super::wire::{self, About, Change, ChangeList, File, FileList, GeneratedIds, StartPageToken};
use super::{Endpoints, Options};
use crate::drive::auth::Auth;

/// The most that Drive lists at once, and the most ids it makes at once.
const PAGE: u32 = 1000;
/// So many files are looked through for one name.
const FEW: &str = "100";
/// A copy of a large file may take ten minutes where other calls take half a minute at most.
const COPY: u32 = 20;

/// Drive's calls.
#[derive(Debug)]
pub(super) struct Client {
    pub http: Http,
    endpoints: Endpoints,
}

/// What a new or changed file says of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Metadata(serde_json::Map<String, Value>);

impl Metadata {
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    /// A new file or folder.
    pub fn new(id: &str, name: &str, parent: &str) -> Self {
        Self::default().with("id", id).with("name", name).with("parents", json!([parent]))
    }

    pub fn folder(self) -> Self {
        self.with("mimeType", wire::FOLDER)
    }

    pub fn shortcut(self, target: &str) -> Self {
        self.with("mimeType", wire::SHORTCUT).with("shortcutDetails", json!({ "targetId": target }))
    }

    pub fn value(&self) -> Value {
        Value::Object(self.0.clone())
    }
}

impl Client {
    pub fn new(options: &Options, auth: Auth) -> Result<Self> {
        Ok(Self { http: Http::new(options, auth)?, endpoints: options.endpoints.clone() })
    }

    /// A URL of the API with these parameters.
    fn url(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Url, Failure> {
        parse(&self.endpoints.api, path, parameters)
    }

    /// A URL for content.
    pub fn upload_url(&self, id: Option<&str>, kind: &str) -> Result<Url, Failure> {
        let path = id.map_or_else(|| "files".to_owned(), |id| format!("files/{id}"));
        let parameters = [("uploadType", kind), ("supportsAllDrives", "true"), ("fields", wire::FILE)];
        parse(&self.endpoints.upload, &path, &parameters)
    }

    /// The URL of a file's bytes.
    pub fn media_url(&self, id: &str) -> Result<Url, Failure> {
        self.url(&format!("files/{id}"), &[("alt", "media"), ("supportsAllDrives", "true")])
    }

    /// A file, in the trash or not; `None` if there is none, or none that we may see.
    pub async fn get(&self, id: &str, doing: &str) -> Result<Option<File>, Failure> {
        let url = self.url(&format!("files/{id}"), &[("supportsAllDrives", "true"), ("fields", wire::FILE)])?;
        match self.call(Request::new(Method::GET, url, cost::GET, doing)).await {
            Err(failure) if failure.is(404) => Ok(None),
            other => other.map(Some),
        }
    }

    /// What stands in these folders, of one name or all, without the trash.
    pub async fn list(&self, parents: &[String], name: Option<&str>, doing: &str) -> Result<Vec<File>, Failure> {
        let parents: Vec<_> = parents.iter().map(|id| format!("{} in parents", quoted(id))).collect();
        let name = name.map(|name| format!(" and name = {}", quoted(name))).unwrap_or_default();
        self.search(&format!("({}){name} and trashed = false", parents.join(" or ")), doing).await
    }

    /// What stands in a folder, if that is little enough for one small page.
    pub async fn list_if_few(&self, folder: &str, doing: &str) -> Result<Option<Vec<File>>, Failure> {
        let fields = format!("nextPageToken,files({})", wire::FILE);
        let query = format!("{} in parents and trashed = false", quoted(folder));
        let parameters = [
            ("q", &*query),
            ("pageSize", FEW),
            ("supportsAllDrives", "true"),
            ("includeItemsFromAllDrives", "true"),
            ("fields", &fields),
        ];
        let url = self.url("files", &parameters)?;
        let list: FileList = self.call(Request::new(Method::GET, url, cost::LIST, doing)).await?;
        Ok(if list.next_page_token.is_none() { Some(list.files) } else { None })
    }

    /// Everything that a query finds.
    pub async fn search(&self, query: &str, doing: &str) -> Result<Vec<File>, Failure> {
        const RESTARTS: u32 = 3;
        let fields = format!("nextPageToken,files({})", wire::FILE);
        let size = PAGE.to_string();
        let mut files = Vec::new();
        let (mut page, mut restarts) = (None::<String>, 0);
        loop {
            let mut parameters = vec![
                ("q", query),
                ("pageSize", &size),
                ("supportsAllDrives", "true"),
                ("includeItemsFromAllDrives", "true"),
                ("fields", &fields),
            ];
            parameters.extend(page.as_deref().map(|token| ("pageToken", token)));
            let url = self.url("files", &parameters)?;
            match self.call::<FileList>(Request::new(Method::GET, url, cost::LIST, doing)).await {
                Ok(list) => {
                    files.extend(list.files);
                    // Only this ends a listing: a page may be short or empty and still have one after it.
                    page = list.next_page_token;
                    if page.is_none() {
                        return Ok(files);
                    }
                }
                // A token that is refused is no longer good: from the beginning.
                Err(failure) if page.is_some() && failure.is(400) && restarts < RESTARTS => {
                    restarts += 1;
                    page = None;
                    files.clear();
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// A folder or a shortcut. Safe to repeat, since its id is given.
    pub async fn create(&self, metadata: &Metadata, doing: &str) -> Result<File, Failure> {
        let url = self.url("files", &[("supportsAllDrives", "true"), ("fields", wire::FILE)])?;
        self.call(Request::new(Method::POST, url, cost::WRITE, doing).json(&metadata.value())).await
    }

    /// A copy that Drive makes itself. Safe to repeat, since its id is given.
    pub async fn copy(&self, from: &str, metadata: &Metadata, doing: &str) -> Result<File, Failure> {
        let path = format!("files/{from}/copy");
        let url = self.url(&path, &[("supportsAllDrives", "true"), ("fields", wire::FILE)])?;
        let mut request = Request::new(Method::POST, url, cost::WRITE, doing).json(&metadata.value());
        request.patience = COPY;
        self.call(request).await
    }

    /// Changes what a file says of itself, and moves it from one folder to another.
    pub async fn update(
        &self,
        id: &str,
        metadata: &Metadata,
        from_to: Option<(&str, &str)>,
        doing: &str,
    ) -> Result<File, Failure> {
        let mut parameters = vec![("supportsAllDrives", "true"), ("fields", wire::FILE)];
        if let Some((from, to)) = from_to {
            parameters.extend([("removeParents", from), ("addParents", to)]);
        }
        let url = self.url(&format!("files/{id}"), &parameters)?;
        self.call(Request::new(Method::PATCH, url, cost::WRITE, doing).json(&metadata.value())).await
    }

    /// Deletes for good, not into the trash. What is not there is fine.
    pub async fn delete(&self, id: &str, doing: &str) -> Result<(), Failure> {
        let url = self.url(&format!("files/{id}"), &[("supportsAllDrives", "true")])?;
        match self.http.send(&Request::new(Method::DELETE, url, cost::OTHER, doing)).await {
            Err(failure) if failure.is(404) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Ids that nobody had before: of files and folders, or of shortcuts.
    pub async fn generate_ids(&self, count: usize, kind: &str) -> Result<Vec<String>, Failure> {
        let count = count.min(PAGE as usize).to_string();
        let url = self.url("files/generateIds", &[("count", &count), ("type", kind), ("fields", "ids")])?;
        let generated: GeneratedIds = self.call(Request::new(Method::GET, url, cost::OTHER, "asking for ids")).await?;
        Ok(generated.ids)
    }

    /// Where changes begin that happen from now on, in a shared drive or for the user.
    pub async fn start_of_changes(&self, drive: Option<&str>) -> Result<String, Failure> {
        let mut parameters = vec![("supportsAllDrives", "true"), ("fields", "startPageToken")];
        parameters.extend(drive.map(|id| ("driveId", id)));
        let url = self.url("changes/startPageToken", &parameters)?;
        let token: StartPageToken =
            self.call(Request::new(Method::GET, url, cost::OTHER, "asking for changes")).await?;
        Ok(token.start_page_token)
    }

    /// What changed since a token, and the token for what comes after.
    pub async fn changes(&self, token: &str, drive: Option<&str>) -> Result<(Vec<Change>, String), Failure> {
        let fields = format!("nextPageToken,newStartPageToken,changes(fileId,removed,file({}))", wire::FILE);
        let size = PAGE.to_string();
        let (mut changes, mut page) = (Vec::new(), token.to_owned());
        loop {
            let mut parameters = vec![
                ("pageToken", &*page),
                ("pageSize", &size),
                ("includeRemoved", "true"),
                ("supportsAllDrives", "true"),
                ("includeItemsFromAllDrives", "true"),
                ("fields", &fields),
            ];
            parameters.extend(drive.map(|id| ("driveId", id)));
            let url = self.url("changes", &parameters)?;
            let list: ChangeList = self.call(Request::new(Method::GET, url, cost::LIST, "asking for changes")).await?;
            changes.extend(list.changes);
            match (list.next_page_token, list.new_start_page_token) {
                (Some(next), _) => page = next,
                (None, Some(new)) => return Ok((changes, new)),
                (None, None) => return Err(Failure::Stopped(Error::internal("Drive's changes have no end"))),
            }
        }
    }

    /// Lets somebody else use a file or folder: `reader` or `writer`. Google tells them by mail.
    pub async fn share(&self, id: &str, email: &str, role: &str, doing: &str) -> Result<(), Failure> {
        let path = format!("files/{id}/permissions");
        let url = self.url(&path, &[("supportsAllDrives", "true"), ("fields", "id")])?;
        let who = json!({ "type": "user", "role": role, "emailAddress": email });
        self.http.send(&Request::new(Method::POST, url, cost::OTHER, doing).json(&who)).await.map(drop)
    }

    /// Whose Drive it is, and how full.
    pub async fn about(&self, doing: &str) -> Result<About, Failure> {
        let url = self.url("about", &[("fields", "user(emailAddress),storageQuota")])?;
        self.call(Request::new(Method::GET, url, cost::GET, doing)).await
    }

    async fn call<T: DeserializeOwned>(&self, request: Request) -> Result<T, Failure> {
        let doing = request.doing.clone();
        decode(&self.http.send(&request).await?, &doing)
    }
}

/// An answer as what it should be.
pub(super) fn decode<T: DeserializeOwned>(answer: &Answer, doing: &str) -> Result<T, Failure> {
    decode_bytes(&answer.body, doing)
}

pub(super) fn decode_bytes<T: DeserializeOwned>(body: &Bytes, doing: &str) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        Failure::Stopped(Error::internal(format!("{doing}: Drive's answer cannot be read")).because(error))
    })
}

fn parse(base: &str, path: &str, parameters: &[(&str, &str)]) -> Result<Url, Failure> {
    let url = Url::parse_with_params(&format!("{base}/{path}"), parameters);
    url.map_err(|error| Failure::Stopped(Error::usage(format!("{base} is no address of Drive")).because(error)))
}

/// A string of a query: <https://developers.google.com/workspace/drive/api/guides/search-files>.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_stay_inside_the_string() {
        assert_eq!(quoted("it's"), r"'it\'s'");
        assert_eq!(quoted(r"a\"), r"'a\\'");
        assert_eq!(quoted(r"\' or name = 'x"), r"'\\\' or name = \'x'");
    }
}
