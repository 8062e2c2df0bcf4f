//! `modelkeep schema`: what each report looks like, as JSON Schema.

use modelkeep_core::{Error, Result};
use modelkeep_ops::{
    adopt, cache, checkpoint, config, cost, demo, diff, doctor, fetch, file, guard, history, init, list, login,
    maintain, pins, place, placement, prune, pull, push, remotes, repair, report, runlog, schedule, show, status,
    verify,
};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};

use crate::output;
use crate::session::Session;
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The report [default: print their names]
    pub report: Option<String>,
}

type Report = (&'static str, fn() -> Schema);

/// Every report, by the command that prints it; `change` is that of every command that changes the registry.
const REPORTS: &[Report] = &[
    ("adopt", schema_of::<adopt::Report>),
    ("cache-evict", schema_of::<cache::evict::Report>),
    ("cache-list", schema_of::<cache::list::Report>),
    ("cache-repair", schema_of::<cache::repair::Report>),
    ("cache-status", schema_of::<cache::status::Report>),
    ("change", schema_of::<report::Change>),
    ("checkpoints", schema_of::<checkpoint::Stored>),
    ("config", schema_of::<config::Report>),
    ("config-item", schema_of::<config::Item>),
    ("cost", schema_of::<cost::Report>),
    ("demo", schema_of::<demo::Report>),
    ("diff", schema_of::<diff::Report>),
    ("doctor", schema_of::<doctor::Report>),
    ("fetch", schema_of::<fetch::Report>),
    ("file-list", schema_of::<file::list::Report>),
    ("file-pull", schema_of::<file::pull::Report>),
    ("file-push", schema_of::<file::push::Report>),
    ("guard-check", schema_of::<guard::Report>),
    ("guard-history", schema_of::<guard::History>),
    ("guard-install", schema_of::<guard::Installed>),
    ("history", schema_of::<history::Report>),
    ("init", schema_of::<init::Report>),
    ("list", schema_of::<list::Report>),
    ("log-append", schema_of::<runlog::Report>),
    ("log-list", schema_of::<runlog::list::Report>),
    ("log-show", schema_of::<runlog::show::Report>),
    ("login", schema_of::<login::Report>),
    ("logout", schema_of::<login::Gone>),
    ("maintain", schema_of::<maintain::Report>),
    ("maintain-schedule", schema_of::<schedule::Report>),
    ("place", schema_of::<place::Report>),
    ("prune", schema_of::<prune::Report>),
    ("pull", schema_of::<pull::Report>),
    ("pull-all", schema_of::<pins::Pulled>),
    ("push", schema_of::<push::Report>),
    ("remote", schema_of::<remotes::Item>),
    ("remote-share", schema_of::<remotes::Shared>),
    ("remote-test", schema_of::<remotes::Tested>),
    ("repair", schema_of::<repair::Report>),
    ("show", schema_of::<show::Report>),
    ("status", schema_of::<status::Report>),
    ("use", schema_of::<pins::Report>),
    ("verify", schema_of::<verify::Report>),
    ("watch", schema_of::<checkpoint::Report>),
    ("where", schema_of::<placement::Report>),
    ("whoami", schema_of::<login::Who>),
];

/// Commands whose report has another's name.
const SAME: &[(&str, &str)] = &[
    ("cache-clear", "cache-evict"),
    ("label", "change"),
    ("set", "change"),
    ("deploy", "change"),
    ("rollback", "change"),
    ("archive", "change"),
    ("unarchive", "change"),
    ("rm", "change"),
    ("restore", "change"),
    ("unuse", "use"),
];

/// As it is written: a field that is left out when it is empty is not required.
fn schema_of<R: JsonSchema>() -> Schema {
    SchemaSettings::default().for_serialize().into_generator().into_root_schema_for::<R>()
}

/// Runs it.
pub fn run(session: &Session, args: &Args) -> Result<()> {
    let names = || REPORTS.iter().map(|(name, _)| *name);
    let Some(wanted) = &args.report else {
        return session.show(&serde_json::json!({"reports": names().collect::<Vec<_>>()}), |_| {
            words::lines(names().map(str::to_owned))
        });
    };
    let name = SAME.iter().find(|(command, _)| command == wanted).map_or(wanted.as_str(), |(_, report)| report);
    let (_, schema) = REPORTS.iter().find(|(known, _)| *known == name).ok_or_else(|| {
        Error::not_found(format!("there is no report `{wanted}`"))
            .hint(format!("modelkeep schema REPORT, with one of: {}", names().collect::<Vec<_>>().join(", ")))
    })?;
    let text = serde_json::to_string_pretty(&schema()).map_err(|error| Error::internal("a schema").because(error))?;
    output::print(&(text + "\n"))
}
