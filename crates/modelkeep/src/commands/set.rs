//! `modelkeep set`: fields of a model.

use modelkeep_core::Result;
use modelkeep_ops::set::set;

use crate::session::Session;
use crate::style::{FAINT, paint};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model
    pub model: String,
    /// Fields, such as purpose="fraud triage" or metrics.f1=0.95; an empty value takes one back
    #[arg(value_name = "KEY=VALUE", required = true)]
    pub fields: Vec<String>,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs it.
pub async fn run(session: &Session, args: &Args) -> Result<()> {
    let change = set(session.context()?, &args.model, &args.fields, args.dry_run).await?;
    session.show(&change, |change| {
        words::change(change, "that is what they are already", |change| {
            let line = |step: &modelkeep_ops::report::Step| format!("{}  {}", step.target, paint(FAINT, &step.reason));
            change.steps.iter().map(line).collect::<Vec<_>>().join("\n")
        })
    })
}
