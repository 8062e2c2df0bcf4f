//! This machine: the workspace sorted into rows while it is walked, and the caches beside it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use modelkeep_core::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Item, Local};
use crate::cache::places::{self, Name};
use crate::context::Context;
use crate::observe::blocking;
use crate::room::free_at;
use crate::walk::{self, Sorter, Sum};

/// How a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Within its budget.
    Ok,
    /// Over it.
    Over,
    /// Within it, and may be cleared at any time.
    Temporary,
}

/// What lies in the workspace and around it, by what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Code,
    Dependencies,
    Data,
    Models,
    HuggingFace,
    Pip,
    OtherCaches,
    Git,
}

const ROWS: [Row; 8] =
    [Row::Code, Row::Dependencies, Row::Data, Row::Models, Row::HuggingFace, Row::Pip, Row::OtherCaches, Row::Git];

impl Row {
    fn number(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Dependencies => "dependencies",
            Self::Data => "data",
            Self::Models => "models",
            Self::HuggingFace => "huggingface",
            Self::Pip => "pip",
            Self::OtherCaches => "other caches",
            Self::Git => "git",
        }
    }
}

/// Measures the machine.
pub async fn local(ctx: &Context) -> Result<Local> {
    let settings = &ctx.settings;
    let root = ctx.workspace.as_ref().map_or_else(|| ctx.env.cwd.clone(), |workspace| workspace.root.clone());
    // Without a workspace the current folder may be anything, a home or a whole disk: only the caches are counted.
    let workspace = ctx.workspace.is_some();
    let mut roots: Vec<(PathBuf, Row)> = Vec::new();
    let mut caches = Vec::new();
    for place in places::find(ctx)?.into_iter().filter(|place| place.name != Name::Models) {
        let row = match place.name {
            Name::HuggingFace | Name::Xet => Row::HuggingFace,
            Name::Pip => Row::Pip,
            _ => Row::OtherCaches,
        };
        roots.extend(place.own().into_iter().map(|path| (path, row)));
        caches.push((place.name, place.path));
    }
    roots.extend(environments(ctx).into_iter().map(|path| (path, Row::Dependencies)));
    if workspace {
        roots.push((root.clone(), Row::Code));
    }
    let sorter = InWorkspace::new(&root, &roots);
    // Those inside of others are met on the way, sorted by where they are.
    let outer = outermost(&roots);
    let walked = blocking(move || Ok(walk::walk(&outer, &sorter))).await?;
    let sum = |row: Row| walked.sums[row.number()];
    let path_of = |name: Name| caches.iter().find(|(known, _)| *known == name).map(|(_, path)| path.clone());
    let models = sum(Row::Models).bytes + sum(Row::HuggingFace).bytes;
    let over_models = models > settings.budget_models.0;
    let item = |row: Row, path: PathBuf, budget: Option<u64>, state: State| {
        let Sum { files, bytes, allocated } = sum(row);
        let name = row.name().to_owned();
        Item { name, path, size_bytes: bytes, allocated_bytes: allocated, files, budget_bytes: budget, state }
    };
    let judged = |row: Row, path: PathBuf, budget: u64| {
        let state = if sum(row).bytes > budget { State::Over } else { State::Ok };
        item(row, path, Some(budget), state)
    };
    let shared = if over_models { State::Over } else { State::Temporary };
    let mut items = Vec::new();
    if workspace {
        items.push(judged(Row::Code, root.clone(), settings.budgets.code.0));
    }
    items.push(judged(Row::Dependencies, root.clone(), settings.budgets.dependencies.0));
    if workspace {
        items.push(judged(Row::Data, root.join("data"), settings.budgets.data.0));
        items.push(item(Row::Models, root.join("models"), Some(settings.budget_models.0), shared));
    }
    let hf = path_of(Name::HuggingFace).unwrap_or_default();
    items.push(item(Row::HuggingFace, hf.clone(), Some(settings.budget_models.0), shared));
    let others = sum(Row::Pip).bytes + sum(Row::OtherCaches).bytes;
    let of_caches = if others > settings.budgets.caches.0 { State::Over } else { State::Temporary };
    items.push(item(Row::Pip, path_of(Name::Pip).unwrap_or_default(), Some(settings.budgets.caches.0), of_caches));
    if sum(Row::OtherCaches).files > 0 {
        let path = path_of(Name::Uv).unwrap_or_default();
        let path = path.parent().map(Path::to_owned).unwrap_or_default();
        items.push(item(Row::OtherCaches, path, Some(settings.budgets.caches.0), of_caches));
    }
    if workspace {
        items.push(judged(Row::Git, root.join(".git"), settings.budgets.git.0));
    }
    let free = free_at(&root).unwrap_or(0);
    let used: u64 = items.iter().map(|item| item.size_bytes).sum();
    let wanted = settings.budgets.free.0;
    items.push(Item {
        name: "free".to_owned(),
        path: root,
        size_bytes: free,
        allocated_bytes: free,
        files: 0,
        budget_bytes: Some(wanted),
        state: if free < wanted { State::Over } else { State::Ok },
    });
    let mut unread: Vec<String> =
        walked.unread.iter().map(|(path, why)| format!("{}: {why}", path.display())).collect();
    let more = walked.unread_count.saturating_sub(unread.len() as u64);
    if more > 0 {
        unread.push(format!("and {more} more"));
    }
    Ok(Local { budget_bytes: settings.budget_total.0, used_bytes: used, free_bytes: free, items, unread })
}

/// Virtual environments that are active but lie elsewhere, and packages installed for this user.
fn environments(ctx: &Context) -> Vec<PathBuf> {
    let active = ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(|name| ctx.env.get(name).map(PathBuf::from));
    // `site.getusersitepackages()`.
    let user = ctx.env.home().map(|home| home.join(".local/lib"));
    let versions = user.into_iter().flat_map(|lib| std::fs::read_dir(lib).into_iter().flatten().flatten());
    let pythons = versions.filter(|entry| entry.file_name().to_string_lossy().starts_with("python"));
    active.chain(pythons.map(|entry| entry.path())).map(|path| ctx.absolute(&path)).collect()
}

/// Roots that lie in no other, by their real paths, each with its row's number.
fn outermost(roots: &[(PathBuf, Row)]) -> Vec<(PathBuf, usize)> {
    let real: Vec<(PathBuf, Row)> =
        roots.iter().filter_map(|(path, row)| Some((path.canonicalize().ok()?, *row))).collect();
    let inside = |path: &Path| real.iter().any(|(other, _)| path != other && path.starts_with(other));
    let outer = real.iter().filter(|(path, _)| !inside(path));
    outer.map(|(path, row)| (path.clone(), row.number())).collect()
}

/// Sorts what is met in a workspace, by names as people and tools give them.
struct InWorkspace {
    root: PathBuf,
    /// Known places, by their real paths.
    known: HashMap<PathBuf, Row>,
}

impl InWorkspace {
    fn new(root: &Path, roots: &[(PathBuf, Row)]) -> Self {
        let known = roots.iter().filter(|(path, _)| path != root);
        let known = known.filter_map(|(path, row)| Some((path.canonicalize().ok()?, *row))).collect();
        Self { root: root.canonicalize().unwrap_or_else(|_| root.to_owned()), known }
    }
}

impl Sorter for InWorkspace {
    fn kinds(&self) -> usize {
        ROWS.len()
    }

    fn folder(&self, parent: usize, path: &Path, name: &OsStr) -> Option<usize> {
        // A place that is known is what it is, wherever it lies: the HF cache may be in the workspace.
        if !self.known.is_empty()
            && let Some(row) = self.known.get(&path.join(name))
        {
            return Some(row.number());
        }
        if parent != Row::Code.number() {
            return Some(parent);
        }
        let name = name.to_str().unwrap_or_default();
        let at_top = path == self.root;
        let row = match name {
            ".git" => Row::Git,
            "node_modules" | "site-packages" | ".venv" | ".tox" | ".nox" | "__pypackages__" | ".pixi" => {
                Row::Dependencies
            }
            "venv" | "env" if path.join(name).join("pyvenv.cfg").is_file() => Row::Dependencies,
            "target" if path.join("Cargo.toml").is_file() => Row::Dependencies,
            "data" | "datasets" if at_top => Row::Data,
            "models" | "checkpoints" if at_top => Row::Models,
            _ if name.contains("env") && path.join(name).join("conda-meta").is_dir() => Row::Dependencies,
            _ => Row::Code,
        };
        Some(row.number())
    }

    /// Weights are models wherever they lie.
    fn file(&self, parent: usize, name: &OsStr, _: u64) -> usize {
        const WEIGHTS: [&str; 7] = ["safetensors", "gguf", "pt", "pth", "ckpt", "onnx", "bin"];
        let extension = Path::new(name).extension().and_then(OsStr::to_str);
        let weights = parent == Row::Code.number() && extension.is_some_and(|extension| WEIGHTS.contains(&extension));
        if weights { Row::Models.number() } else { parent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_sorted_by_what_they_are_for() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let write = |path: &str, bytes: usize| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, vec![0; bytes]).unwrap();
        };
        write("src/main.py", 1);
        write("src/data/loader.py", 2);
        write(".git/objects/pack/x.pack", 10);
        write(".venv/lib/python3.11/site-packages/torch/lib.so", 100);
        write("web/node_modules/x/data/y.js", 200);
        write("env/pyvenv.cfg", 400);
        write("environment/readme", 4);
        write("crate/Cargo.toml", 8);
        write("crate/target/debug/x.rlib", 800);
        write("target/notes", 16);
        write("data/train.csv", 1000);
        write("models/base/model.safetensors", 10_000);
        write("models/cache/models--a--b/blobs/x", 100_000);
        write("outputs/adapter_model.safetensors", 20_000);
        let roots = [(root.clone(), Row::Code), (root.join("models/cache"), Row::HuggingFace)];
        let outer = outermost(&roots);
        assert_eq!(outer, [(root.clone(), Row::Code.number())]);
        let walked = walk::walk(&outer, &InWorkspace::new(&root, &roots));
        let bytes = |row: Row| walked.sums[row.number()].bytes;
        assert_eq!(bytes(Row::Code), 1 + 2 + 4 + 8 + 16);
        assert_eq!(bytes(Row::Dependencies), 100 + 200 + 400 + 800);
        assert_eq!((bytes(Row::Data), bytes(Row::Git)), (1000, 10));
        assert_eq!((bytes(Row::Models), bytes(Row::HuggingFace)), (30_000, 100_000));
    }
}
