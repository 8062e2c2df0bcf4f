//! `modelkeep label`: name a revision, move a name, take one away.

use modelkeep_core::Result;
use modelkeep_ops::label;

use crate::ask::{self, Ask};
use crate::session::Session;
use crate::style::{STRONG, paint};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// MODEL@REV; MODEL alone is its newest push
    pub model: String,
    /// The label, such as prod
    pub name: String,
    /// Take the label away; the revision stays
    #[arg(long)]
    pub remove: bool,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs it.
pub async fn run(session: &Session, args: &Args) -> Result<()> {
    let ctx = session.context()?;
    if args.remove {
        let change = label::remove(ctx, &args.model, &args.name, args.dry_run).await?;
        return session.show(&change, |change| {
            words::change(change, "there is no such label", |change| {
                format!("{} no longer has the label {}", paint(STRONG, &change.model), args.name)
            })
        });
    }
    let change = ask::confirmed(session, args.dry_run, Ask::About("move label"), words::steps_of, |dry_run| {
        label::add(ctx, &args.model, &args.name, dry_run)
    })
    .await?;
    session.show(&change, |change| {
        words::change(change, "it has that label already", |change| {
            let revision = change.revision.map(|revision| revision.short()).unwrap_or_default();
            format!("{} is {revision}", paint(STRONG, format!("{}@{}", change.model, args.name)))
        })
    })
}
