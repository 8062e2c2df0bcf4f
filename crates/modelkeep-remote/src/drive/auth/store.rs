//! The logins of this machine's user, by account, in a file that nobody else can read.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use modelkeep_core::{Error, Kind, Result};
use serde::{Deserialize, Serialize};

use super::{OAuthClient, Secret};
use crate::folder::failed;

/// A login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// By which program.
    pub client: OAuthClient,
    /// Gives access tokens.
    pub refresh_token: Secret,
    /// What was granted.
    pub scope: String,
    /// When.
    pub since: jiff::Timestamp,
}

/// A file of logins by account (an e-mail address).
#[derive(Debug, Clone)]
pub struct Credentials {
    path: PathBuf,
}

#[derive(Default, Serialize, Deserialize)]
struct Content {
    gdrive: BTreeMap<String, Login>,
}

impl Credentials {
    /// The file at this path; it need not be there.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// All accounts that are logged in.
    pub fn accounts(&self) -> Result<Vec<String>> {
        Ok(self.read()?.gdrive.into_keys().collect())
    }

    /// The login of an account; without a name that of the only one there is.
    pub fn login(&self, account: Option<&str>) -> Result<(String, Login)> {
        let logins = self.read()?.gdrive;
        let hint = "modelkeep login gdrive";
        let Some(account) = account else {
            let names: Vec<String> = logins.keys().cloned().collect();
            return match (logins.into_iter().next(), &names[..]) {
                (Some(login), [_]) => Ok(login),
                (None, _) => Err(Error::new(Kind::Auth, "nobody is logged in to Google Drive").hint(hint)),
                (_, names) => Err(Error::new(Kind::Auth, format!("several are logged in: {}", names.join(", ")))
                    .hint("modelkeep remote add NAME gdrive:FOLDER --account E-MAIL")),
            };
        };
        let login = logins.get(account).cloned().ok_or_else(|| {
            let others: Vec<&str> = logins.keys().map(String::as_str).collect();
            let others = if others.is_empty() { "nobody".to_owned() } else { others.join(", ") };
            Error::new(Kind::Auth, format!("{account} is not logged in here ({others} is)")).hint(hint)
        })?;
        Ok((account.to_owned(), login))
    }

    /// Keeps a login.
    pub fn keep(&self, account: &str, login: Login) -> Result<()> {
        let mut content = self.read()?;
        content.gdrive.insert(account.to_owned(), login);
        self.write(&content)
    }

    /// Forgets a login; what comes back is it, to be given back to Google.
    pub fn forget(&self, account: &str) -> Result<Option<Login>> {
        let mut content = self.read()?;
        let forgotten = content.gdrive.remove(account);
        if forgotten.is_some() {
            self.write(&content)?;
        }
        Ok(forgotten)
    }

    fn read(&self) -> Result<Content> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Content::default()),
            Err(error) => return Err(failed("reading", &self.path, error)),
        };
        // The cause could quote a secret.
        serde_json::from_str(&text).map_err(|_| {
            Error::local(format!("{} cannot be read", self.path.display()))
                .hint(format!("move {} aside, then modelkeep login gdrive", self.path.display()))
        })
    }

    fn write(&self, content: &Content) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(content).map_err(|error| Error::internal("logins").because(error))?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|error| failed("creating", folder, error))?;
        let partial = self.path.with_extension(format!("{}.partial", std::process::id()));
        let _ = fs::remove_file(&partial);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        // Never readable by others, not even for a moment.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(&partial).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        });
        let placed = written.and_then(|()| fs::rename(&partial, &self.path));
        placed.map_err(|error| failed("writing", &self.path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_kept_by_account_and_for_nobody_else() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("deep/credentials.json");
        let credentials = Credentials::at(path.clone());
        assert_eq!(credentials.login(None).unwrap_err().kind(), Kind::Auth);
        let login = |token: &str| Login {
            client: OAuthClient { client_id: "id".into(), client_secret: None },
            refresh_token: Secret::new(token),
            scope: "s".into(),
            since: jiff::Timestamp::UNIX_EPOCH,
        };
        credentials.keep("a@x", login("1")).unwrap();
        assert_eq!(credentials.login(None).unwrap().0, "a@x");
        credentials.keep("b@x", login("2")).unwrap();
        assert!(credentials.login(None).unwrap_err().to_string().contains("a@x, b@x"));
        assert_eq!(credentials.login(Some("b@x")).unwrap().1.refresh_token.reveal(), "2");
        assert!(credentials.login(Some("c@x")).is_err());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(credentials.forget("b@x").unwrap().unwrap().refresh_token.reveal(), "2");
        assert_eq!(credentials.accounts().unwrap(), ["a@x"]);
        fs::write(&path, "{\"gdrive\": secret").unwrap();
        assert!(!credentials.accounts().unwrap_err().full_message().contains("secret"));
    }
}
