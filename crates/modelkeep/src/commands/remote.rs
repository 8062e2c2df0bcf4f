//! `modelkeep remote`: stores by name.

use clap::Subcommand;
use modelkeep_core::Result;
use modelkeep_ops::remotes::{self, Item, Tested};

use crate::session::Session;
use crate::style::{FAINT, GOOD, STRONG, paint};
use crate::table::{Table, styled};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do with them.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with stores.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Add a store and make its tree
    Add {
        /// Its name
        name: String,
        /// Where it is: a path, folder:PATH, gdrive:FOLDER, gdrive:id:FOLDERID or sim:
        url: String,
        /// On Drive: whose access is used [default: that of the only login]
        #[arg(long, value_name = "EMAIL")]
        account: Option<String>,
    },
    /// List them
    #[command(visible_alias = "ls")]
    List,
    /// Show one
    Show {
        /// Its name
        name: String,
    },
    /// Forget one; what it holds stays
    #[command(visible_alias = "rm")]
    Remove {
        /// Its name
        name: String,
    },
    /// Read, write and clean up again
    Test {
        /// Its name, a URL or a path [default: the one in use]
        name: Option<String>,
    },
    /// Let somebody else's account use a store on Google Drive
    Share {
        /// Whose: an e-mail address
        email: String,
        /// Its name or URL [default: the one in use]
        name: Option<String>,
        /// They may pull, and not push
        #[arg(long)]
        read_only: bool,
    },
}

/// Runs it.
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let ctx = session.context()?;
    match args.action {
        Action::Add { name, url, account } => {
            let added = remotes::add_for(ctx, &name, &url, account.as_deref()).await?;
            session.show(&added, |item| format!("remote {}", one(item)))
        }
        Action::List => {
            let report = remotes::list(ctx);
            session.show(&report, |report| list(&report.remotes))?;
            if report.remotes.is_empty() && !session.globals.json {
                session.note("no store is set");
                session.next("modelkeep init --remote PATH-OR-URL");
            }
            Ok(())
        }
        Action::Show { name } => session.show(&remotes::show(ctx, &name)?, one),
        Action::Remove { name } => session.show(&remotes::remove(ctx, &name)?, |item| {
            format!("remote {} is forgotten; what {} holds stays\n", paint(STRONG, &item.name), item.url)
        }),
        Action::Test { name } => session.show(&remotes::test(ctx, name.as_deref()).await?, tested),
        Action::Share { email, name, read_only } => {
            let shared = remotes::share(ctx, name.as_deref(), &email, !read_only).await?;
            session.show(&shared, |shared| {
                let may = if shared.writes { "pull and push" } else { "pull" };
                format!("{} may {may} now; Google tells them by mail\n", paint(STRONG, &shared.with))
            })?;
            session.next(&format!(
                "modelkeep remote add ours gdrive:id:{} --account {}   (they, on their machine)",
                shared.folder, shared.with
            ));
            Ok(())
        }
    }
}

fn one(item: &Item) -> String {
    let default = if item.default { format!("  {}", paint(GOOD, "default")) } else { String::new() };
    let id = item.id.clone().unwrap_or_default();
    let (account, folder) = (item.account.clone().unwrap_or_default(), item.folder.clone().unwrap_or_default());
    let facts = [("url", item.url.clone()), ("tree", id), ("account", account), ("folder", folder)];
    format!("{}{default}\n{}", paint(STRONG, &item.name), words::facts(facts))
}

fn list(items: &[Item]) -> String {
    let mut table = Table::default().left("NAME").left("URL").left("TREE").left("");
    for item in items {
        table.row([
            styled(STRONG, &item.name),
            item.url.as_str().into(),
            styled(FAINT, item.id.as_deref().unwrap_or_default()),
            styled(GOOD, if item.default { "default" } else { "" }),
        ]);
    }
    table.render()
}

fn tested(tested: &Tested) -> String {
    let verdict = if tested.ok { paint(GOOD, "works") } else { "does not work".to_owned() };
    format!(
        "{} {verdict}: read, written and cleaned up in {}\n{}",
        paint(STRONG, &tested.name),
        words::count(tested.calls as u64, "call"),
        words::facts([("url", tested.url.clone()), ("can", tested.can.join("; ")), ("not", tested.cannot.join("; "))])
    )
}
