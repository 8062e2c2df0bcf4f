//! Google Colab: the two ways to a Drive there, and which one is taken.
//!
//! Drive itself comes first, whenever a token can be had: what a mount says it has written may still be on its way. Knows
//! the mount and what signs in. Does not know Drive's calls.

use std::path::{Path, PathBuf};

use modelkeep_remote::drive::auth::application_default;

use crate::context::{Context, Env};
use crate::drive::{self, Folder};
use crate::store::Location;

/// Python to type where a Drive is missing.
pub const MOUNT: &str = "from google.colab import drive; drive.mount('/content/drive')";

/// Whether this is Colab.
pub fn is_here(env: &Env) -> bool {
    env.get("COLAB_RELEASE_TAG").is_some()
}

/// Whether Drive itself can be asked: somebody gave a token or a way to one, or signed in.
pub fn has_access(ctx: &Context) -> bool {
    let given = |names: [&str; 2]| names.iter().any(|name| ctx.env.get(name).is_some());
    let login =
        || drive::credentials(&ctx.env).and_then(|logins| logins.accounts()).is_ok_and(|known| !known.is_empty());
    ctx.options.credentials.is_some()
        || given(["MODELKEEP_GDRIVE_TOKEN", "MODELKEEP_GDRIVE_TOKEN_COMMAND"])
        // Elsewhere it speaks of other things than Drive.
        || (is_here(&ctx.env) && is_authenticated(&ctx.env))
        || login()
}

/// Whether something is there that `auth.authenticate_user()` leaves. Credentials of another type, such as a service
/// account's for a data set in a bucket, are no way to a Drive.
fn is_authenticated(env: &Env) -> bool {
    match env.get("GOOGLE_APPLICATION_CREDENTIALS") {
        Some(file) => application_default(Some(&env.cwd.join(file)), None, "").is_ok(),
        None => env.get("GCE_METADATA_HOST").is_some(),
    }
}

/// `MyDrive` of the Drive that is mounted in Colab.
pub fn mounted(env: &Env) -> Option<PathBuf> {
    if !is_here(env) {
        return None;
    }
    let pretended = env.testing("MODELKEEP_COLAB_MOUNT").map(PathBuf::from);
    let mount = pretended.clone().unwrap_or_else(|| PathBuf::from("/content/drive"));
    let drive = mount.join("MyDrive");
    (drive.is_dir() && (pretended.is_some() || is_mounted(&mount, &drive))).then_some(drive)
}

/// Where a store is reached: a named folder of the Drive through the mount, when Drive itself cannot be asked. Which tree
/// it must be is checked by its id, whatever the way.
pub(crate) fn reach(ctx: &Context, location: Location) -> Location {
    match (&location, mounted(&ctx.env)) {
        (Location::Drive(Folder::Named(name)), Some(drive)) if is_plain(name) && !has_access(ctx) => {
            Location::Folder(drive.join(name))
        }
        _ => location,
    }
}

/// The better address of a folder that was given by its path on the mount, where there is one.
pub(crate) fn better(ctx: &Context, folder: &Path) -> Option<String> {
    let name = folder.strip_prefix(mounted(&ctx.env)?).ok()?.to_str()?;
    (is_plain(name) && has_access(ctx)).then(|| format!("gdrive:{name}"))
}

/// Whether a name on the Drive is that of a file system too.
fn is_plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\'])
}

/// Whether `drive` is on another file system than the folder that holds `mount`: a `MyDrive` that somebody made
/// before mounting is on Colab's own disk, and dies with it.
#[cfg(unix)]
fn is_mounted(mount: &Path, drive: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.dev());
    match (mount.parent().map(device), device(drive)) {
        (Some(Ok(outside)), Ok(inside)) => outside != inside,
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_mounted(_: &Path, _: &Path) -> bool {
    true
}
