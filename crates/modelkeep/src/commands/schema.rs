//! `modelkeep schema`: what each report looks like, as JSON Schema.

use modelkeep_core::{Error, Result};
use modelkeep_ops::{
    adopt, config, demo, diff, history, init, list, login, pins, prune, pull, push, remotes, repair, report, show,
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
const REPORTS: [Report; 22] = [
    ("adopt", schema_of::<adopt::Report>),
    ("change", schema_of::<report::Change>),
    ("config", schema_of::<config::Report>),
    ("config-item", schema_of::<config::Item>),
    ("demo", schema_of::<demo::Report>),
    ("diff", schema_of::<diff::Report>),
    ("history", schema_of::<history::Report>),
    ("init", schema_of::<init::Report>),
    ("list", schema_of::<list::Report>),
    ("login", schema_of::<login::Report>),
    ("logout", schema_of::<login::Gone>),
    ("prune", schema_of::<prune::Report>),
    ("pull", schema_of::<pull::Report>),
    ("pull-all", schema_of::<pins::Pulled>),
    ("push", schema_of::<push::Report>),
    ("remote", schema_of::<remotes::Item>),
    ("remote-test", schema_of::<remotes::Tested>),
    ("repair", schema_of::<repair::Report>),
    ("show", schema_of::<show::Report>),
    ("use", schema_of::<pins::Report>),
    ("verify", schema_of::<verify::Report>),
    ("whoami", schema_of::<login::Who>),
];

/// Commands whose report has another's name.
const SAME: [(&str, &str); 9] = [
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
