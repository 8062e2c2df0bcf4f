//! The keyring of a desktop, by the tool that comes with it: `secret-tool` (libsecret) or macOS's `security`.
//!
//! A secret goes through a pipe, never into an argument, which other programs could see. What the tool cannot do is no
//! error here: then the file of logins keeps the secret itself. Why tools: `docs/adr/0012-keyring-by-its-tool.md`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::Secret;

/// What our secrets are called there.
const SERVICE: &str = "modelkeep";

/// A keyring that seems to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keyring {
    /// `secret-tool` of libsecret: GNOME, KDE and others.
    SecretTool(PathBuf),
    /// `security` of macOS.
    Security(PathBuf),
}

impl Keyring {
    /// The one of this machine; `variable` reads the environment. Only where somebody is at a screen: a locked keyring
    /// asks there.
    pub fn find<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let tool = |name: &str| {
            let folders = variable("PATH")?;
            std::env::split_paths(folders).map(|folder| folder.join(name)).find(|file| file.is_file())
        };
        if cfg!(target_os = "macos") {
            return variable("SSH_CONNECTION").is_none().then(|| tool("security").map(Self::Security)).flatten();
        }
        let screen = variable("DISPLAY").or_else(|| variable("WAYLAND_DISPLAY")).is_some();
        let bus = variable("DBUS_SESSION_BUS_ADDRESS").is_some();
        if screen && bus { tool("secret-tool").map(Self::SecretTool) } else { None }
    }

    /// Keeps a secret; whether it can be had again, which is tried.
    pub(super) fn keep(&self, account: &str, secret: &Secret) -> bool {
        // A line of `security -i`: an account is an e-mail address, and the secret is hex there.
        let stored = match self {
            Self::SecretTool(tool) => {
                let label = format!("modelkeep: Google Drive of {account}");
                let arguments = ["store", "--label", &label, "service", SERVICE, "account", account];
                run(tool, &arguments, Some(secret.reveal()))
            }
            Self::Security(tool) => {
                let hex = hex::encode(secret.reveal());
                let line = format!("add-generic-password -U -s {SERVICE} -a \"{account}\" -w {hex}\n");
                run(tool, &["-i"], Some(&line))
            }
        };
        stored.is_some() && self.find_secret(account).as_ref() == Some(secret)
    }

    /// The secret of an account.
    pub(super) fn find_secret(&self, account: &str) -> Option<Secret> {
        match self {
            Self::SecretTool(tool) => {
                let found = run(tool, &["lookup", "service", SERVICE, "account", account], None)?;
                Some(Secret::new(found)).filter(|secret| !secret.reveal().is_empty())
            }
            Self::Security(tool) => {
                let found = run(tool, &["find-generic-password", "-s", SERVICE, "-a", account, "-w"], None)?;
                let bytes = hex::decode(found.trim()).ok()?;
                String::from_utf8(bytes).ok().map(Secret::new)
            }
        }
    }

    /// Takes a secret out again.
    pub(super) fn forget(&self, account: &str) {
        match self {
            Self::SecretTool(tool) => run(tool, &["clear", "service", SERVICE, "account", account], None),
            Self::Security(tool) => run(tool, &["delete-generic-password", "-s", SERVICE, "-a", account], None),
        };
    }
}

/// What a tool printed, if it went well.
fn run(tool: &Path, arguments: &[&str], input: Option<&str>) -> Option<String> {
    let mut command = Command::new(tool);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A tool that reads nothing says so by how it ends.
        let _ = stdin.write_all(input.unwrap_or_default().as_bytes());
    }
    let Output { status, stdout, .. } = child.wait_with_output().ok()?;
    if status.success() { String::from_utf8(stdout).ok() } else { None }
}
