//! The logins of this machine's user, by account: what is secret in the keyring where there is one, all else in a file
//! that nobody else can read.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use modelkeep_core::{Error, Kind, Result};
use serde::{Deserialize, Serialize};

use super::{Keyring, OAuthClient, Secret};
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
    keyring: Option<Keyring>,
}

#[derive(Default, Serialize, Deserialize)]
struct Content {
    gdrive: BTreeMap<String, Kept>,
}

/// A login in the file; what is secret in it may be in the keyring.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    in_keyring: bool,
    client: OAuthClient,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<Secret>,
    scope: String,
    since: jiff::Timestamp,
}

/// What goes into the keyring.
#[derive(Serialize, Deserialize)]
struct Secrets {
    refresh_token: Secret,
    client_secret: Option<Secret>,
}

impl Credentials {
    /// The file at this path; it need not be there.
    pub fn at(path: PathBuf) -> Self {
        Self { path, keyring: None }
    }

    /// What is secret goes into this keyring.
    #[must_use]
    pub fn with_keyring(self, keyring: Option<Keyring>) -> Self {
        Self { keyring, ..self }
    }

    /// Where the secrets of an account are, for people.
    pub fn place(&self, account: &str) -> Result<String> {
        let in_keyring = self.read()?.gdrive.get(account).is_some_and(|kept| kept.in_keyring);
        Ok(if in_keyring { "the keyring".to_owned() } else { self.path.display().to_string() })
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
                (Some((account, kept)), [_]) => self.whole(account, kept),
                (None, _) => Err(Error::new(Kind::Auth, "nobody is logged in to Google Drive").hint(hint)),
                (_, names) => Err(Error::new(Kind::Auth, format!("several are logged in: {}", names.join(", ")))
                    .hint("modelkeep remote add NAME gdrive:FOLDER --account E-MAIL")),
            };
        };
        let kept = logins.get(account).cloned().ok_or_else(|| {
            let others: Vec<&str> = logins.keys().map(String::as_str).collect();
            let others = if others.is_empty() { "nobody".to_owned() } else { others.join(", ") };
            Error::new(Kind::Auth, format!("{account} is not logged in here ({others} is)"))
                .hint(format!("modelkeep login gdrive --account {account}"))
        })?;
        self.whole(account.to_owned(), kept)
    }

    /// Keeps a login: what is secret in the keyring, if that gives it back, else in the file.
    pub fn keep(&self, account: &str, login: Login) -> Result<()> {
        let mut content = self.read()?;
        let Login { mut client, refresh_token, scope, since } = login;
        let secrets = Secrets { refresh_token, client_secret: client.client_secret.clone() };
        let text = serde_json::to_string(&secrets).map_err(|error| Error::internal("a login").because(error))?;
        let in_keyring = self.keyring.as_ref().is_some_and(|keyring| keyring.keep(account, &Secret::new(text)));
        if in_keyring {
            client.client_secret = None;
        }
        let refresh_token = Some(secrets.refresh_token).filter(|_| !in_keyring);
        content.gdrive.insert(account.to_owned(), Kept { in_keyring, client, refresh_token, scope, since });
        self.write(&content)
    }

    /// Forgets a login.
    pub fn forget(&self, account: &str) -> Result<()> {
        let mut content = self.read()?;
        let Some(kept) = content.gdrive.remove(account) else { return Ok(()) };
        self.write(&content)?;
        if let Some(keyring) = self.keyring.as_ref().filter(|_| kept.in_keyring) {
            keyring.forget(account);
        }
        Ok(())
    }

    /// A login with what is secret in it.
    fn whole(&self, account: String, kept: Kept) -> Result<(String, Login)> {
        let Kept { in_keyring, mut client, refresh_token, scope, since } = kept;
        let lost = |why: &str| {
            Error::new(Kind::Auth, format!("the login of {account} is in the keyring, {why}"))
                .hint(format!("modelkeep login gdrive --account {account}"))
        };
        let refresh_token = match (refresh_token, &self.keyring) {
            (Some(token), _) if !in_keyring => token,
            (_, None) => return Err(lost("and there is none here")),
            (_, Some(keyring)) => {
                let found = keyring.find_secret(&account).ok_or_else(|| lost("which does not give it"))?;
                let secrets: Secrets =
                    serde_json::from_str(found.reveal()).map_err(|_| lost("in a shape that cannot be read"))?;
                client.client_secret = secrets.client_secret;
                secrets.refresh_token
            }
        };
        Ok((account, Login { client, refresh_token, scope, since }))
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

    fn login(token: &str) -> Login {
        Login {
            client: OAuthClient { client_id: "id".into(), client_secret: Some(Secret::new("hush")) },
            refresh_token: Secret::new(token),
            scope: "s".into(),
            since: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    /// A `secret-tool` that keeps secrets in a folder.
    #[cfg(unix)]
    fn tool(folder: &Path, body: &str) -> Keyring {
        use std::os::unix::fs::PermissionsExt as _;
        let tool = folder.join("secret-tool");
        fs::write(&tool, format!("#!/bin/sh\nfor last; do :; done\nat={}/$last\n{body}\n", folder.display())).unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        Keyring::SecretTool(tool)
    }

    #[cfg(unix)]
    #[test]
    fn what_is_secret_goes_into_the_keyring_where_it_can_be_had_again() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("credentials.json");
        let works = "case $1 in store) cat > \"$at\";; lookup) cat \"$at\";; clear) rm \"$at\";; esac";
        let credentials = Credentials::at(path.clone()).with_keyring(Some(tool(folder.path(), works)));
        credentials.keep("a@x", login("token")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("token\":") && !text.contains("hush"), "{text}");
        assert_eq!(credentials.place("a@x").unwrap(), "the keyring");
        let (_, found) = credentials.login(Some("a@x")).unwrap();
        assert_eq!(found, login("token"));
        let without = Credentials::at(path.clone());
        assert_eq!(without.login(None).unwrap_err().kind(), Kind::Auth);
        credentials.forget("a@x").unwrap();
        assert!(!folder.path().join("a@x").exists());

        // One that takes a secret and does not give it back is not relied on.
        for broken in ["case $1 in store) cat > /dev/null;; *) exit 1;; esac", "exit 1", "echo another"] {
            let credentials = Credentials::at(path.clone()).with_keyring(Some(tool(folder.path(), broken)));
            credentials.keep("a@x", login("token")).unwrap();
            assert_eq!(Credentials::at(path.clone()).login(None).unwrap().1, login("token"), "{broken}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_keyring_is_used_where_somebody_is_at_a_screen() {
        let folder = tempfile::TempDir::new().unwrap();
        fs::write(folder.path().join("secret-tool"), "").unwrap();
        let path = folder.path().to_str().unwrap();
        let with = |given: &[(&str, &'static str)]| {
            let given: BTreeMap<String, &str> =
                given.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
            Keyring::find(|name| if name == "PATH" { Some(path) } else { given.get(name).copied() })
        };
        assert!(with(&[("DBUS_SESSION_BUS_ADDRESS", "x"), ("DISPLAY", ":0")]).is_some());
        assert!(with(&[("DBUS_SESSION_BUS_ADDRESS", "x")]).is_none());
        assert!(with(&[("DISPLAY", ":0")]).is_none());
    }

    #[test]
    fn logins_are_kept_by_account_and_for_nobody_else() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("deep/credentials.json");
        let credentials = Credentials::at(path.clone());
        assert_eq!(credentials.login(None).unwrap_err().kind(), Kind::Auth);
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
        credentials.forget("b@x").unwrap();
        assert_eq!(credentials.accounts().unwrap(), ["a@x"]);
        fs::write(&path, "{\"gdrive\": secret").unwrap();
        assert!(!credentials.accounts().unwrap_err().full_message().contains("secret"));
    }
}
