//! `modelkeep init`: a workspace, and the tree on its store.

use std::path::PathBuf;

use modelkeep_core::Result;
use modelkeep_ops::init::{Report, Request, init};

use crate::session::Session;
use crate::style::{CARE, STRONG, paint};
use crate::{ask, words};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The workspace's folder [default: here]
    pub dir: Option<PathBuf>,
    /// Its name [default: the folder's]
    #[arg(long)]
    pub name: Option<String>,
    /// Write src/cloud too, the Python face
    #[arg(long)]
    pub python: bool,
    /// On Drive: whose access is used [default: that of the only login]
    #[arg(long, value_name = "EMAIL")]
    pub account: Option<String>,
}

/// Runs it.
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let mut request = Request {
        dir: args.dir,
        remote: session.globals.remote.clone(),
        name: args.name,
        python: args.python,
        account: args.account,
    };
    let make = async |request: &Request| init(&session.env, &session.options(), &session.observer(), request).await;
    let mut report = make(&request).await?;
    if report.remote.is_none() && session.interactive {
        let answer = ask::question("Where are the models to be stored? A path, gdrive:FOLDER or sim: (empty: later) ")?;
        if !answer.is_empty() {
            request.remote = Some(answer);
            let before = report;
            report = make(&request).await?;
            report.created.splice(0..0, before.created);
            report.offers = before.offers;
        }
    }
    session.show(&report, |report| human(session, report))?;
    session.next(if report.remote.is_some() {
        "modelkeep push DIRECTORY MODEL"
    } else {
        "modelkeep init --remote PATH-OR-URL"
    });
    report.offers.iter().for_each(|command| session.also(command));
    Ok(())
}

fn human(session: &Session, report: &Report) -> String {
    let store = match (&report.remote, &report.remote_id) {
        (Some(url), Some(id)) => format!("{url}  (tree {})", id.get(..12).unwrap_or(id)),
        _ => paint(CARE, "not set"),
    };
    let simulated = if report.simulated {
        format!("  {}", paint(CARE, "[simulation: only on this machine]"))
    } else {
        String::new()
    };
    let drive = match (&report.account, &report.folder) {
        (Some(account), Some(folder)) => format!("of {account}, folder {folder}"),
        _ => String::new(),
    };
    let spent = report.spent.map_or_else(String::new, words::spent);
    let created = match report.created.as_slice() {
        [] => "nothing: everything was there".to_owned(),
        created => created.join(", "),
    };
    let adoptable = match report.adoptable {
        0 => String::new(),
        n => format!("{} that the registry does not know: modelkeep adopt", words::count(n, "folder")),
    };
    format!(
        "workspace {} in {}\n{}",
        paint(STRONG, &report.name),
        session.path(&report.workspace),
        words::facts([
            ("store", format!("{store}{simulated}")),
            ("drive", drive),
            ("made", created),
            ("there", adoptable),
            ("took", spent)
        ])
    )
}
