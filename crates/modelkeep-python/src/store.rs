//! Which store a notebook means when it says little or nothing.
//!
//! In order: what was given; what the settings say (`modelkeep.toml`, `MODELKEEP_REMOTE`); Drive itself, where somebody
//! gave access to it; in Colab the mounted Drive; for reads the simulation. A write never goes to a simulation, or to a Colab disk, that was not asked for by name.

use std::path::{Path, PathBuf};

use modelkeep_core::{Error, Kind, Result};
use modelkeep_ops::colab;
use modelkeep_ops::drive::Folder;
use modelkeep_ops::store::{Address, DEFAULT_NAME, Location, read_format};
use modelkeep_ops::{Context, Env, Options, init};

/// The store's folder on a Drive when nobody named one.
const DRIVE_FOLDER: &str = "Banking LLM";
/// The simulation of that name.
const SIMULATION: &str = "sim:";

/// What it is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To look or to pull.
    Read,
    /// To push.
    Write,
}

/// How the store came to be meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    /// It is configured, and was made with its workspace.
    Configured,
    /// A folder, here or on Drive, was named.
    Folder,
    /// The folder of that name on Drive: asked itself, or through Colab's mount.
    Drive,
    /// The simulation was named.
    Simulation,
    /// Nothing was: the simulation answers reads.
    Nothing,
}

/// A store that was chosen.
#[derive(Debug)]
pub struct Chosen {
    means: Means,
    url: String,
}

/// Fixes what was given, so that a later change of the current directory changes nothing.
pub fn settle(env: &Env, mut options: Options) -> Result<Options> {
    let ctx = Context::open(env.clone(), options.clone(), std::sync::Arc::new(modelkeep_ops::context::Silent))?;
    let Some(given) = &options.remote else { return Ok(options) };
    if ctx.settings.remotes.contains_key(given) || drive_folder(&ctx, given).is_some() {
        return Ok(options);
    }
    if let Location::Folder(folder) = Address::named_or_url(&ctx, given)?.location {
        // Without the `.` of `./drive`: it is shown to people.
        options.remote = Some(folder_url(&folder.components().collect::<PathBuf>()));
    }
    Ok(options)
}

impl Chosen {
    /// Decides, and points the context there.
    pub fn choose(ctx: &mut Context, access: Access) -> Result<Self> {
        let chosen = decide(ctx, access)?;
        ctx.options.remote = Some(chosen.url.clone());
        ctx.options.unreported = chosen.means == Means::Nothing;
        if chosen.means == Means::Nothing {
            ctx.warn("no store is set: this answer comes from the simulation, not from your Drive");
        }
        Ok(chosen)
    }

    /// Whether it is a simulation.
    pub fn simulated(&self) -> bool {
        matches!(self.means, Means::Simulation | Means::Nothing)
    }

    /// Whether a read finds nothing because the first write, which makes this store, is still to come.
    pub async fn is_unborn(&self, ctx: &Context) -> Result<bool> {
        match self.means {
            Means::Configured | Means::Folder => Ok(false),
            Means::Drive | Means::Simulation | Means::Nothing => Ok(!has_tree(ctx, &self.url).await?),
        }
    }

    /// Makes the tree when it is not there and a first write may make it.
    pub async fn make(&self, ctx: &Context) -> Result<()> {
        if self.means == Means::Configured || has_tree(ctx, &self.url).await? {
            return Ok(());
        }
        let address = Address::named_or_url(ctx, &self.url)?;
        if let (Means::Folder, Some(folder)) = (self.means, address.local_folder()) {
            check_parent(ctx, folder)?;
        }
        let opened = address.open(ctx, true).await?;
        let name = match &address.location {
            Location::Folder(folder) | Location::Simulation(folder) => {
                folder.file_name().and_then(|name| name.to_str())
            }
            Location::Drive(Folder::Named(name)) => Some(&**name),
            Location::Drive(Folder::Id(_)) => None,
        };
        init::make_tree(ctx, &*opened.remote, name).await?;
        let place = address.local_folder().map_or_else(|| address.url.clone(), |folder| folder.display().to_string());
        ctx.note(format!("made a new store in {place}"));
        Ok(())
    }
}

fn decide(ctx: &Context, access: Access) -> Result<Chosen> {
    let named = ctx.settings.remote.clone().filter(|name| name != DEFAULT_NAME);
    if let Some(given) = ctx.options.remote.clone().or(named) {
        return meant_by(ctx, &given);
    }
    if ctx.settings.remotes.contains_key(DEFAULT_NAME) {
        return Ok(Chosen { means: Means::Configured, url: DEFAULT_NAME.to_owned() });
    }
    if colab::has_access(ctx) {
        return Ok(Chosen { means: Means::Drive, url: format!("gdrive:{DRIVE_FOLDER}") });
    }
    if let Some(drive) = colab::mounted(&ctx.env) {
        return Ok(Chosen { means: Means::Drive, url: folder_url(&drive.join(DRIVE_FOLDER)) });
    }
    match access {
        Access::Read => Ok(Chosen { means: Means::Nothing, url: SIMULATION.to_owned() }),
        Access::Write => Err(Error::new(Kind::Auth, "no store is set, so there is nowhere to save").hint(way_out(ctx))),
    }
}

fn meant_by(ctx: &Context, given: &str) -> Result<Chosen> {
    if ctx.settings.remotes.contains_key(given) {
        return Ok(Chosen { means: Means::Configured, url: given.to_owned() });
    }
    if let Some(folder) = drive_folder(ctx, given) {
        // What a mount says it has written may still be on its way, so Drive itself comes first.
        if colab::has_access(ctx) {
            return Ok(Chosen { means: Means::Drive, url: format!("gdrive:{folder}") });
        }
        let drive = colab::mounted(&ctx.env).ok_or_else(|| {
            Error::new(Kind::Auth, format!("`{folder}` is on your Drive, and no Drive is mounted")).hint(colab::MOUNT)
        })?;
        return Ok(Chosen { means: Means::Drive, url: folder_url(&drive.join(folder)) });
    }
    let address = Address::named_or_url(ctx, given)?;
    let means = match address.location {
        Location::Folder(_) | Location::Drive(_) => Means::Folder,
        Location::Simulation(_) => Means::Simulation,
    };
    Ok(Chosen { means, url: address.url })
}

/// In Colab: the folder of the Drive that `gdrive:NAME`, or a plain word that is no configured store, means.
fn drive_folder<'a>(ctx: &Context, given: &'a str) -> Option<&'a str> {
    let folder = given.strip_prefix("gdrive:").unwrap_or(given);
    let plain = !folder.is_empty() && !folder.contains(['/', '\\', ':']) && !folder.starts_with(['.', '~']);
    // With a dot and no `gdrive:` it is a path, as everywhere.
    let plain = plain && (given.starts_with("gdrive:") || !folder.contains('.'));
    (colab::is_here(&ctx.env) && plain).then_some(folder)
}

fn folder_url(folder: &Path) -> String {
    format!("folder:{}", folder.display())
}

fn way_out(ctx: &Context) -> String {
    if colab::is_here(&ctx.env) {
        return colab::MOUNT.to_owned();
    }
    "modelkeep init --remote PATH-OR-URL in your project; or here init_drive_manager(remote=…), or simulate=True to \
     try it out"
        .to_owned()
}

/// A folder is made, its parents are not: a path with a slip in it, or on a Drive that is not there, is no new store.
fn check_parent(ctx: &Context, folder: &Path) -> Result<()> {
    let parent = folder.parent().unwrap_or(folder);
    if folder.is_dir() || parent.is_dir() {
        return Ok(());
    }
    let hint = if colab::is_here(&ctx.env) {
        colab::MOUNT.to_owned()
    } else {
        format!("check the path, or: mkdir {}", parent.display())
    };
    Err(Error::not_found(format!("there is no folder {}", parent.display())).hint(hint))
}

async fn has_tree(ctx: &Context, url: &str) -> Result<bool> {
    let address = Address::named_or_url(ctx, url)?;
    if address.local_folder().is_some_and(|folder| !folder.is_dir()) {
        return Ok(false);
    }
    match address.open(ctx, false).await {
        Ok(opened) => Ok(read_format(&*opened.remote).await?.is_some()),
        // A folder on Drive that the first write makes.
        Err(error) if error.kind() == Kind::NotFound && address.local_folder().is_none() => Ok(false),
        Err(error) => Err(error),
    }
}
