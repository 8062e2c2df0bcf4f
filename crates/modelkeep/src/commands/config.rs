//! `modelkeep config`: settings, where they come from, and how to change one.

use clap::Subcommand;
use modelkeep_core::Result;
use modelkeep_ops::config::{self, Report};
use modelkeep_ops::settings::Origin;

use crate::session::Session;
use crate::style::{FAINT, STRONG, paint};
use crate::table::{Table, styled};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do with them.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with settings.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Show all
    Show {
        /// Also say where each value came from
        #[arg(long)]
        origin: bool,
    },
    /// Print one
    Get {
        /// Its key, such as budget.models
        key: String,
    },
    /// Change one, in the workspace's settings file (or your own, without a workspace)
    Set {
        /// Its key, such as budget.models
        key: String,
        /// Its value
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Print the path of the file that `set` changes
    Path,
}

/// Runs it.
pub fn run(session: &Session, args: &Args) -> Result<()> {
    let ctx = session.context()?;
    match &args.action {
        Action::Show { origin } => session.show(&config::show(ctx), |report| show(session, report, *origin)),
        Action::Get { key } => session.show(&config::get(ctx, key)?, |item| format!("{}\n", item.value)),
        Action::Set { key, value } => session.show(&config::set(ctx, key, value)?, |item| {
            let origin = paint(FAINT, format!("({})", from(session, &item.origin)));
            format!("{} = {}  {origin}\n", paint(STRONG, &item.key), item.value)
        }),
        Action::Path => {
            let path = config::path(ctx)?;
            session.show(&serde_json::json!({"path": path}), |_| format!("{}\n", path.display()))
        }
    }
}

fn show(session: &Session, report: &Report, origin: bool) -> String {
    let mut table = Table::default().left("SETTING").left("VALUE").left(if origin { "FROM" } else { "WHAT FOR" });
    for item in &report.settings {
        let last = if origin { from(session, &item.origin) } else { item.about.clone() };
        let value = if item.value.is_empty() { styled(FAINT, "–") } else { item.value.as_str().into() };
        table.row([styled(STRONG, &item.key), value, styled(FAINT, last)]);
    }
    table.render()
}

fn from(session: &Session, origin: &Origin) -> String {
    match origin {
        Origin::Default => "default".to_owned(),
        Origin::User(file) | Origin::Workspace(file) => session.path(file),
        Origin::Environment(variable) => variable.clone(),
    }
}
