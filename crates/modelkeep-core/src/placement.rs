//! The decision matrix as rules: what a thing is decides where it belongs.
//!
//! The first rule that fits gives the row; the row gives each place's verdict. The rules of `modelkeep.toml` come before
//! the ones built in, and may overrule single verdicts. Sees facts, never a file.

use globset::{Glob, GlobSet, GlobSetBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::inspect::content::Content;
use crate::name::nearest_id;
use crate::size::ByteSize;

/// A row of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Code, and what belongs to it.
    SourceCode,
    /// What the code needs to be installed.
    Requirements,
    /// A model taken from elsewhere.
    BaseModel,
    /// A model trained here.
    Finetuned,
    /// Data to train and test with.
    Datasets,
    /// Jupyter notebooks.
    Notebooks,
    /// What training runs left: logs, metrics, results.
    TrainingLogs,
    /// How training is set up.
    Configs,
}

/// What a Codespace (or any machine one works on) does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Codespaces {
    /// It lives there.
    Store,
    /// It is there while it is needed.
    Temporary,
    /// A pin stands for it; it is brought when it is needed.
    Link,
    /// It is better not there.
    No,
}

/// What the store does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Drive {
    /// It lives there.
    Store,
    /// It is not needed there.
    No,
}

/// What the Hugging Face Hub, or MLflow, does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Hub {
    /// Where it is best had from.
    Preferred,
    /// It may be there too.
    Optional,
    /// MLflow keeps it too.
    Mlflow,
    /// It is not for there.
    No,
}

/// One line of the matrix as it applies to one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// On the machine one works on.
    pub codespaces: Codespaces,
    /// On the store.
    pub drive: Drive,
    /// On the Hub.
    pub hub: Hub,
    /// In git.
    pub git: bool,
}

impl Category {
    /// The seed's row. A data set belongs on the store when it is large, a notebook in git when it has no outputs.
    pub fn row(self, large: bool, outputs: bool) -> Row {
        let row = |codespaces, drive, hub, git| Row { codespaces, drive, hub, git };
        match self {
            Self::Datasets if large => row(Codespaces::Link, Drive::Store, Hub::No, false),
            // A small data set is a file of the project.
            Self::SourceCode | Self::Requirements | Self::Datasets => row(Codespaces::Store, Drive::No, Hub::No, true),
            Self::BaseModel => row(Codespaces::Temporary, Drive::Store, Hub::Preferred, false),
            Self::Finetuned => row(Codespaces::Temporary, Drive::Store, Hub::Optional, false),
            Self::Notebooks => row(Codespaces::Temporary, Drive::Store, Hub::No, !outputs),
            Self::TrainingLogs => row(Codespaces::No, Drive::Store, Hub::Mlflow, false),
            Self::Configs => row(Codespaces::Store, Drive::Store, Hub::No, true),
        }
    }

    /// The folder on the store for what is no model, as `--to` takes it.
    pub fn folder(self) -> Option<&'static str> {
        match self {
            Self::Datasets => Some("datasets"),
            Self::Notebooks => Some("notebooks"),
            Self::TrainingLogs => Some("results/training_logs"),
            Self::Configs => Some("configs"),
            Self::SourceCode | Self::Requirements => Some("docs"),
            Self::BaseModel | Self::Finetuned => None,
        }
    }

    /// As people read it.
    pub fn words(self) -> &'static str {
        match self {
            Self::SourceCode => "source code",
            Self::Requirements => "requirements",
            Self::BaseModel => "base model",
            Self::Finetuned => "fine-tuned",
            Self::Datasets => "data set",
            Self::Notebooks => "notebook",
            Self::TrainingLogs => "training log",
            Self::Configs => "config",
        }
    }
}

/// A data set is large from here, in bytes.
pub const LARGE: u64 = 10_000_000;

/// What is known of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its path below the workspace, `/` between parts; of a folder, the path of the file that says most.
    pub path: String,
    /// All of it, in bytes.
    pub size: u64,
    /// What it is; of a folder, what its weightiest file is.
    pub content: Content,
    /// Whether it was trained here: an adapter, or a trainer's files beside it.
    pub trained: bool,
    /// Bytes of a notebook's outputs.
    pub outputs: u64,
}

/// One rule, as `[[placement]]` in `modelkeep.toml` writes it. It fits when all that it names fits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The row.
    pub category: Category,
    /// Paths, as in `.gitignore` with `**`; one must fit.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Kinds of content ([`Content::names`]); one must fit.
    #[serde(default)]
    pub content: Vec<String>,
    /// Only what is as large as this, or larger.
    pub from: Option<String>,
    /// Only what is smaller than this.
    pub below: Option<String>,
    /// Overrules the row.
    pub codespaces: Option<Codespaces>,
    /// Overrules the row.
    pub drive: Option<Drive>,
    /// Overrules the row.
    pub hub: Option<Hub>,
    /// Overrules the row.
    pub git: Option<bool>,
    /// Overrules the row's folder on the store.
    pub to: Option<String>,
    /// Why, for people.
    pub reason: Option<String>,
}

/// A rule that is built in.
struct BuiltIn {
    category: Category,
    paths: &'static [&'static str],
    content: &'static [&'static str],
    /// Whether it must have been trained here, or must not.
    trained: Option<bool>,
    from: u64,
    below: u64,
    reason: &'static str,
}

const ANY: BuiltIn = BuiltIn {
    category: Category::SourceCode,
    paths: &[],
    content: &[],
    trained: None,
    from: 0,
    below: u64::MAX,
    reason: "code and documents live in git",
};

/// Every rule there is without settings; the last one takes what is left.
const BUILT_IN: [BuiltIn; 15] = [
    BuiltIn { category: Category::Notebooks, content: &["notebook"], reason: "a notebook", ..ANY },
    BuiltIn {
        paths: &[
            "**/*.{py,pyi,md,rst,sh,rs,js,ts,html,css,ipynb_checkpoints}",
            ".github/**",
            ".devcontainer/**",
            "{.*,LICENSE*,Makefile,Dockerfile,modelkeep.toml,modelkeep.lock}",
        ],
        content: &["text"],
        below: LARGE,
        ..ANY
    },
    BuiltIn {
        category: Category::TrainingLogs,
        paths: &["**/mlruns/**", "**/wandb/**", "**/results/**", "**/trainer_state.json", "**/*.log", "**/runs/**"],
        content: &["run", "text", "csv", "binary"],
        reason: "left by a training run",
        ..ANY
    },
    BuiltIn { category: Category::TrainingLogs, content: &["run"], reason: "left by a training run", ..ANY },
    BuiltIn {
        category: Category::BaseModel,
        paths: &["**/base/**", "**/base-models/**", "**/cache/**", "**/hub/**", "**/models--*/**"],
        content: &["model"],
        trained: Some(false),
        reason: "a model in a folder of base models",
        ..ANY
    },
    BuiltIn {
        category: Category::Finetuned,
        content: &["model"],
        trained: Some(true),
        reason: "a model trained here",
        ..ANY
    },
    BuiltIn { category: Category::Finetuned, content: &["model"], reason: "a model", ..ANY },
    BuiltIn {
        category: Category::Requirements,
        paths: &[
            "**/requirements*.txt",
            "**/requirements/**",
            "**/pyproject.toml",
            "**/environment*.{yml,yaml}",
            "**/{setup.py,setup.cfg,Pipfile,Pipfile.lock,poetry.lock,uv.lock,pdm.lock,conda-lock.yml}",
            "**/{package.json,package-lock.json,Cargo.toml,Cargo.lock,go.mod,go.sum}",
        ],
        content: &["text"],
        reason: "what the code needs to be installed",
        ..ANY
    },
    BuiltIn {
        category: Category::Configs,
        paths: &["**/configs/**", "**/config/**", "data/finetuning/**", "**/*config*.{json,yaml,yml,toml,ini}"],
        content: &["text"],
        below: LARGE,
        reason: "how training is set up",
        ..ANY
    },
    BuiltIn { category: Category::Datasets, content: &["table"], reason: "a table of data", ..ANY },
    BuiltIn {
        category: Category::Datasets,
        paths: &["data/**", "**/datasets/**", "**/dataset/**"],
        content: &["text", "binary"],
        reason: "in a folder of data",
        ..ANY
    },
    BuiltIn {
        category: Category::Configs,
        paths: &["**/*.{yaml,yml,toml,ini,cfg,json}"],
        content: &["text"],
        below: 1_000_000,
        reason: "how something is set up",
        ..ANY
    },
    BuiltIn {
        category: Category::Datasets,
        content: &["text", "binary"],
        from: LARGE,
        reason: "too large for git, and no model",
        ..ANY
    },
    BuiltIn { content: &["binary"], reason: "a small file of the project", ..ANY },
    ANY,
];

#[derive(Debug, Clone)]
struct Compiled {
    paths: Option<GlobSet>,
    content: Vec<Content>,
    trained: Option<bool>,
    from: u64,
    below: u64,
    rule: Rule,
}

/// The rules that count, in order.
#[derive(Debug, Clone)]
pub struct Rules(Vec<Compiled>);

/// Where one thing belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The row.
    pub category: Category,
    /// Each place's verdict.
    pub row: Row,
    /// The folder on the store, as `--to` takes it; none for a model.
    pub to: Option<String>,
    /// Why.
    pub reason: String,
}

impl Rules {
    /// These rules before the ones built in. A rule with a mistake is told by its position.
    pub fn new(own: &[Rule]) -> std::result::Result<Self, (usize, Error)> {
        let own = own.iter().enumerate().map(|(at, rule)| compile(rule, None).map_err(|error| (at, error)));
        let built_in = BUILT_IN.iter().map(|rule| compile(&rule.written(), rule.trained).map_err(|error| (0, error)));
        own.chain(built_in).collect::<std::result::Result<_, _>>().map(Self)
    }

    /// Where a thing belongs.
    pub fn judge(&self, facts: &Facts) -> Verdict {
        let fitting = self.0.iter().find(|rule| rule.fits(facts));
        let (category, rule) = match fitting {
            Some(found) => (found.rule.category, Some(&found.rule)),
            None => (Category::SourceCode, None),
        };
        let mut row = category.row(facts.size >= LARGE, facts.outputs > 0);
        let mut to = category.folder().map(str::to_owned);
        let mut why = ANY.reason.to_owned();
        if let Some(rule) = rule {
            row.codespaces = rule.codespaces.unwrap_or(row.codespaces);
            row.drive = rule.drive.unwrap_or(row.drive);
            row.hub = rule.hub.unwrap_or(row.hub);
            row.git = rule.git.unwrap_or(row.git);
            to = rule.to.clone().filter(|_| to.is_some()).or(to);
            why = rule.reason.clone().unwrap_or(why);
        }
        Verdict { category, row, to, reason: explain(&why, category, facts) }
    }
}

/// The rule's reason, with what decided the verdict besides.
fn explain(why: &str, category: Category, facts: &Facts) -> String {
    let size = ByteSize(facts.size);
    match category {
        Category::Notebooks if facts.outputs > 0 => {
            format!("{why} with {} of outputs; git takes it without them", ByteSize(facts.outputs))
        }
        Category::Notebooks => format!("{why} without outputs"),
        Category::Datasets if facts.size >= LARGE => format!("{why}, {size}: large from {}", ByteSize(LARGE)),
        Category::Datasets => format!("{why}, {size}: small enough for git"),
        Category::BaseModel | Category::Finetuned => format!("{why}: {}, {size}", facts.content.words()),
        _ => why.to_owned(),
    }
}

impl BuiltIn {
    fn written(&self) -> Rule {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Rule {
            category: self.category,
            paths: owned(self.paths),
            content: owned(self.content),
            from: (self.from > 0).then(|| self.from.to_string()),
            below: (self.below < u64::MAX).then(|| self.below.to_string()),
            codespaces: None,
            drive: None,
            hub: None,
            git: None,
            to: None,
            reason: Some(self.reason.to_owned()),
        }
    }
}

fn compile(rule: &Rule, trained: Option<bool>) -> Result<Compiled> {
    let size = |field: &str, text: &Option<String>, default| match text {
        None => Ok(default),
        Some(text) => text.parse::<ByteSize>().map(|size| size.0).map_err(|error| error.context(field)),
    };
    let (from, below) = (size("from", &rule.from, 0)?, size("below", &rule.below, u64::MAX)?);
    if from >= below {
        return Err(Error::usage("`from` is not smaller than `below`: nothing can be both"));
    }
    let mut content = Vec::new();
    for name in &rule.content {
        let known = Content::named(name).ok_or_else(|| {
            let names = Content::names().collect::<Vec<_>>().join(", ");
            Error::usage(format!("`{name}` is no kind of content; it is one of {names}"))
        })?;
        content.extend(known);
    }
    let paths = if rule.paths.is_empty() { None } else { Some(globs(&rule.paths)?) };
    if let Some(to) = &rule.to {
        crate::filed::folder_of(to)?;
    }
    Ok(Compiled { paths, content, trained, from, below, rule: rule.clone() })
}

/// Patterns of paths as one matcher.
pub fn globs(patterns: &[String]) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = Glob::new(pattern)
            .map_err(|error| Error::usage(format!("`{pattern}` is no pattern of paths")).because(error))?;
        set.add(glob);
        // `data/` means all that is in it.
        if let Some(folder) = pattern.strip_suffix('/')
            && let Ok(inside) = Glob::new(&format!("{folder}/**"))
        {
            set.add(inside);
        }
    }
    set.build().map_err(|error| Error::usage("the patterns cannot be used together").because(error))
}

impl Compiled {
    fn fits(&self, facts: &Facts) -> bool {
        (self.from..self.below).contains(&facts.size)
            && (self.content.is_empty() || self.content.contains(&facts.content))
            && self.trained.is_none_or(|trained| trained == facts.trained)
            && self.paths.as_ref().is_none_or(|paths| paths.is_match(&facts.path))
    }
}

/// What is known of where a thing is now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// The store has this very content.
    pub stored: bool,
    /// Git tracks it.
    pub tracked: bool,
    /// `modelkeep.lock` pins it.
    pub pinned: bool,
}

/// The command that puts a thing right; empty when it lies right.
pub fn command(path: &str, verdict: &Verdict, standing: Standing) -> String {
    let quoted = quote(path);
    let must_leave_git = standing.tracked && !verdict.row.git;
    let must_be_stored = verdict.row.drive == Drive::Store && !standing.stored;
    let must_be_pinned = verdict.row.codespaces == Codespaces::Link && !standing.pinned && !must_be_stored;
    match (must_leave_git, must_be_stored, must_be_pinned) {
        (false, false, false) => String::new(),
        (true, false, false) => format!("git rm --cached -r -- {quoted}"),
        (false, true, _) => store_command(path, verdict),
        (false, false, true) => format!("modelkeep use {quoted}"),
        (true, _, _) => format!("modelkeep place {quoted}"),
    }
}

fn store_command(path: &str, verdict: &Verdict) -> String {
    let quoted = quote(path);
    match (&verdict.to, verdict.category) {
        (Some(to), _) => format!("modelkeep file push {quoted} --to {to}"),
        (None, category) => {
            let kind = if category == Category::BaseModel { " --kind base" } else { "" };
            format!("modelkeep push {quoted} {}{kind}", model_name(path))
        }
    }
}

/// The id that a model at a path gets: its file's name, or its folder's where the file's says nothing.
pub fn model_name(path: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect();
    let last = parts.pop().unwrap_or("model");
    let stem = if last.contains('.') && !last.starts_with('.') {
        last.rsplit_once('.').map_or(last, |(s, _)| s)
    } else {
        last
    };
    let says_nothing =
        ["model", "adapter_model", "pytorch_model", "checkpoint", "best", "final", "last", "output", "latest"];
    let name = if says_nothing.contains(&stem) { parts.last().copied().unwrap_or(stem) } else { stem };
    nearest_id(name).map_or_else(|| "model".to_owned(), |id| id.to_string())
}

/// A path as a shell takes it.
pub fn quote(path: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./@+=:,%".contains(c);
    if !path.is_empty() && path.chars().all(plain) && !path.starts_with('-') {
        return path.to_owned();
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests;
