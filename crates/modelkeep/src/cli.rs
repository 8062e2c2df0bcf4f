//! The command line: what applies to every command, and the list of commands.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::commands::{
    adopt, archive, cache, completions, config, demo, deploy, diff, doctor, fetch, file, guard, history, init, label,
    list, log, login, logout, maintain, models, place, prune, pull, push, remote, repair, restore, rm, rollback,
    schema, serve, set, show, unarchive, unuse, use_model, verify, watch, where_is,
};

/// A model store on storage you already own: push, find, compare and bring back models by content.
#[derive(Debug, Parser)]
#[command(name = "modelkeep", version, propagate_version = false, max_term_width = 100)]
#[command(after_help = "Begin with: modelkeep init --remote PATH, then modelkeep push DIR MODEL. \
                        To see it all once: modelkeep demo")]
pub struct Cli {
    /// What applies to every command.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Accepted before and after the command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Globals {
    /// The workspace [default: found upward from here by modelkeep.toml]
    #[arg(long, global = true, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    /// The store: a configured name, a URL or a path
    #[arg(long, global = true, value_name = "NAME|URL")]
    pub remote: Option<String>,
    /// Print one JSON document
    #[arg(long, global = true)]
    pub json: bool,
    /// Use no network
    #[arg(long, global = true)]
    pub offline: bool,
    /// Do not ask
    #[arg(long, short = 'y', global = true)]
    pub yes: bool,
    /// Say less
    #[arg(long, short = 'q', global = true)]
    pub quiet: bool,
    /// Say how many calls the store took; twice: each of them
    #[arg(long, short = 'v', global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_default_value = true)]
    pub color: Color,
    /// How to show progress; json: one object a line on standard error
    #[arg(long, global = true, value_name = "HOW", default_value = "auto", hide_default_value = true)]
    pub progress: Progress,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// At a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Also into files and pipes.
    Always,
    /// Never.
    Never,
}

/// How to show progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// Bars at a terminal.
    Auto,
    /// Nothing.
    Never,
    /// One JSON object a line, on standard error.
    Json,
}

/// Every command, in the order that `--help` shows them.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a workspace, and the tree on its store
    Init(init::Args),
    /// See it all once: base model, adapters, deployment, in a folder of its own
    Demo(demo::Args),
    /// Store a directory as a new revision of a model
    Push(push::Args),
    /// Bring a revision here
    Pull(pull::Args),
    /// Bring a base model from the Hugging Face Hub
    Fetch(fetch::Args),
    /// Pin a model, or a data set, in modelkeep.lock
    Use(use_model::Args),
    /// Take a pin away
    Unuse(unuse::Args),
    /// List models
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// Show one model: facts, files, history
    Show(show::Args),
    /// Show who did what when
    History(history::Args),
    /// Compare two revisions
    Diff(diff::Args),
    /// Name a revision, or take a name away
    Label(label::Args),
    /// Set fields of a model: purpose, note, a metric
    Set(set::Args),
    /// Make a revision what deployed/current points to
    Deploy(deploy::Args),
    /// Go back to what was deployed before
    Rollback(rollback::Args),
    /// Put a model away; its content stays
    Archive(archive::Args),
    /// Make an archived model active again
    Unarchive(unarchive::Args),
    /// Remove a model or one revision; it can be restored for a while
    Rm(rm::Args),
    /// Bring back what was removed
    Restore(restore::Args),
    /// Take in models that stand on the store already
    Adopt(adopt::Args),
    /// Check what the store holds against the log
    Verify(verify::Args),
    /// Mend what an interrupted command or a foreign hand left
    Repair(repair::Args),
    /// Apply retention, empty the trash past its grace
    Prune(prune::Args),
    /// Say where files belong, and what puts them there
    Where(where_is::Args),
    /// Bring files where they belong
    Place(place::Args),
    /// Keep data sets, notebooks, results, configs and documents on the store
    File(file::Args),
    /// Keep models out of git
    Guard(guard::Args),
    /// Show where the space is, here and on the store
    Status,
    /// Look at the caches of this machine, make them smaller, mend them
    Cache(cache::Args),
    /// Do the upkeep that is due
    Maintain(maintain::Args),
    /// Check that all is well: the success criteria, the tool itself
    Doctor(doctor::Args),
    /// Say what it costs, against the alternatives
    Cost,
    /// Keep the logs of trainings
    Log(log::Args),
    /// Push checkpoints as soon as training has finished them
    Watch(watch::Args),
    /// Add, list, show, remove or test stores
    Remote(remote::Args),
    /// Sign in to Google Drive
    Login(login::Args),
    /// Give a login back to Google, and forget it
    Logout(logout::Args),
    /// Say who is signed in to Google Drive
    Whoami,
    /// Serve every stored version to programs that load models from Hugging Face
    Serve(serve::Args),
    /// Show and change settings
    Config(config::Args),
    /// Print a completion script
    Completions(completions::Args),
    /// Print the JSON Schema of a report
    Schema(schema::Args),
    /// Words for completion scripts
    #[command(name = "__complete", hide = true)]
    Complete(models::Args),
}
