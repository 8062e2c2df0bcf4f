//! Which caches there are on a machine, and who may clean each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use modelkeep_core::{Error, Result};

use crate::context::{Context, Env};
use crate::hub;
use crate::walk::{self, Sum};

/// A cache that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// Repositories of the Hub.
    HuggingFace,
    /// Chunks of Xet downloads.
    Xet,
    /// Prepared data sets of the `datasets` library.
    Datasets,
    /// pip.
    Pip,
    /// uv.
    Uv,
    /// Checkpoints and repositories of `torch.hub`.
    Torch,
    /// Packages of conda and mamba.
    Conda,
    /// What pulls wrote in the workspace.
    Models,
}

/// Who takes things out of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleaner {
    /// We do, file by file, each with its proof.
    Us,
    /// Its own program: to make it smaller, and to empty it.
    Program {
        /// What it is called.
        program: &'static str,
        /// Arguments that remove what is not used.
        prune: &'static [&'static str],
        /// Arguments that remove everything.
        purge: &'static [&'static str],
    },
    /// Nobody: what it holds may have been made here from files that exist nowhere else.
    Nobody,
}

impl Name {
    /// Every one, in the order in which they are shown.
    pub const ALL: [Self; 8] =
        [Self::HuggingFace, Self::Xet, Self::Datasets, Self::Models, Self::Torch, Self::Pip, Self::Uv, Self::Conda];

    /// As in JSON and `--include`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HuggingFace => "huggingface",
            Self::Xet => "xet",
            Self::Datasets => "datasets",
            Self::Pip => "pip",
            Self::Uv => "uv",
            Self::Torch => "torch",
            Self::Conda => "conda",
            Self::Models => "models",
        }
    }

    /// By that word.
    pub fn parse(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|name| name.as_str() == text).ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            Error::usage(format!("there is no cache `{text}`")).hint(format!("--include one of: {all}"))
        })
    }

    /// Who cleans it.
    pub fn cleaner(self) -> Cleaner {
        match self {
            Self::HuggingFace | Self::Xet | Self::Torch | Self::Models => Cleaner::Us,
            Self::Datasets => Cleaner::Nobody,
            // pip has nothing between all and nothing.
            Self::Pip => Cleaner::Program { program: "pip", prune: &["cache", "purge"], purge: &["cache", "purge"] },
            Self::Uv => Cleaner::Program { program: "uv", prune: &["cache", "prune"], purge: &["cache", "clean"] },
            Self::Conda => Cleaner::Program {
                program: "conda",
                prune: &["clean", "--packages", "--tarballs", "--yes"],
                purge: &["clean", "--packages", "--tarballs", "--index-cache", "--yes"],
            },
        }
    }

    /// Whether it is cleaned without being named by `--include`.
    pub fn is_default(self) -> bool {
        matches!(self, Self::HuggingFace | Self::Xet)
    }
}

/// A cache and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which.
    pub name: Name,
    /// Its folder; it may not be there.
    pub path: PathBuf,
}

/// What Xet makes in its folder for each endpoint.
const OF_XET: [&str; 5] = ["chunk-cache", "chunk_cache", "shard-cache", "shard_cache", "staging"];

impl Place {
    /// Files and folders that are the cache's own. `HF_XET_CACHE` may name a folder that others keep things in: of Xet are
    /// `https___…/chunk-cache`, `shard-cache` and `staging`, and `logs/xet_*.log`
    /// (<https://huggingface.co/docs/huggingface_hub/guides/manage-cache>; hf-xet 1.8).
    pub(crate) fn own(&self) -> Vec<PathBuf> {
        if self.name != Name::Xet {
            return vec![self.path.clone()];
        }
        let begins = |path: &Path, starts: &[&str]| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            starts.iter().any(|start| name.starts_with(start))
        };
        let endpoints = below(&self.path).filter(|path| begins(path, &["https___", "http___"]));
        let kept = endpoints.flat_map(|endpoint| OF_XET.map(|name| endpoint.join(name))).filter(|path| path.is_dir());
        let logs = below(&self.path.join("logs")).filter(|path| begins(path, &["xet_"]) && path.is_file());
        kept.chain(logs).collect()
    }

    /// How much it holds.
    pub(crate) fn size(&self) -> Sum {
        let mut sum = Sum::default();
        self.own().iter().for_each(|path| sum += walk::size(path));
        sum
    }
}

fn below(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Where each cache is, by the variables that its program reads.
pub fn find(ctx: &Context) -> Result<Vec<Place>> {
    let hf = hub::home(ctx)?;
    let env = &ctx.env;
    let cache = cache_home(env);
    let under = |variable: &str, below: &str| {
        env.get(variable).map(PathBuf::from).or_else(|| cache.as_ref().map(|cache| cache.join(below)))
    };
    let torch = env.get("TORCH_HOME").map(PathBuf::from).or_else(|| cache.as_ref().map(|cache| cache.join("torch")));
    let models = ctx.workspace.as_ref().map(|workspace| workspace.root.join("models"));
    let mut places = vec![(Name::HuggingFace, hf.hub), (Name::Xet, hf.xet), (Name::Datasets, hf.datasets)];
    places.extend(models.map(|path| (Name::Models, path)));
    // `torch.hub.get_dir()`; `pip cache dir`; `uv cache dir`.
    places.extend(torch.map(|path| (Name::Torch, path.join("hub"))));
    places.extend(under("PIP_CACHE_DIR", "pip").map(|path| (Name::Pip, path)));
    places.extend(under("UV_CACHE_DIR", "uv").map(|path| (Name::Uv, path)));
    places.extend(conda(env).into_iter().map(|path| (Name::Conda, path)));
    Ok(places.into_iter().map(|(name, path)| Place { name, path: ctx.absolute(&path) }).collect())
}

fn cache_home(env: &Env) -> Option<PathBuf> {
    env.get("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| env.home().map(|home| home.join(".cache")))
}

/// `CONDA_PKGS_DIRS`, else `pkgs` of the installation that is active or of those in their usual places.
fn conda(env: &Env) -> Option<PathBuf> {
    if let Some(named) = env.get("CONDA_PKGS_DIRS") {
        return std::env::split_paths(named).next();
    }
    let active = env.get("CONDA_EXE").and_then(|exe| Some(Path::new(exe).parent()?.parent()?.join("pkgs")));
    let root = env.get("MAMBA_ROOT_PREFIX").map(|root| Path::new(root).join("pkgs"));
    let home = env.home();
    let usual = ["miniconda3", "anaconda3", "miniforge3", "mambaforge"].map(|name| format!("{name}/pkgs"));
    let usual = usual.into_iter().chain([".conda/pkgs".to_owned()]);
    let usual = usual.filter_map(|below| home.as_ref().map(|home| home.join(below)));
    active.into_iter().chain(root).chain(usual).chain([PathBuf::from("/opt/conda/pkgs")]).find(|path| path.is_dir())
}

/// A program on `PATH`, as this process was started with it.
pub(super) fn program(env: &Env, name: &str) -> Option<PathBuf> {
    let file = if cfg!(windows) { format!("{name}.exe") } else { name.to_owned() };
    let paths = env.get("PATH").map(|path| std::env::split_paths(path).collect::<Vec<_>>()).unwrap_or_default();
    paths.into_iter().map(|folder| folder.join(&file)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    }
    #[cfg(not(unix))]
    path.is_file()
}

/// Runs a cache's own program to clean it, in this process's environment.
pub(super) fn clean(env: &Env, place: &Place, everything: bool) -> Result<()> {
    let Cleaner::Program { program: name, prune, purge } = place.name.cleaner() else { return Ok(()) };
    let args = if everything { purge } else { prune };
    let typed = format!("{name} {}", args.join(" "));
    let path = program(env, name).ok_or_else(|| {
        Error::local(format!("`{name}` cleans its own cache, and is not on PATH")).hint(typed.clone())
    })?;
    let mut command = Command::new(path);
    command.args(args).current_dir(&env.cwd).env_clear().envs(&env.vars).stdin(std::process::Stdio::null());
    let output = command.output().map_err(|error| Error::local(format!("running {typed}")).because(error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // Some versions call an empty cache an error.
    if said.contains("No matching packages") {
        return Ok(());
    }
    Err(Error::local(format!("{typed}: {}", said.trim().lines().last().unwrap_or("it failed"))).hint(typed))
}
