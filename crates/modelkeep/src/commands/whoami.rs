//! `modelkeep whoami`: who is signed in to Google Drive, and whose access a command would use.

use modelkeep_core::Result;
use modelkeep_ops::login::{Who, whoami};

use crate::session::Session;
use crate::style::{FAINT, STRONG, paint};
use crate::table::{Table, styled};
use crate::words;

/// Runs it.
pub async fn run(session: &Session) -> Result<()> {
    session.show(&whoami(session.context()?).await?, human)
}

fn human(who: &Who) -> String {
    let used = match &who.used {
        None => "no access is used here\n".to_owned(),
        Some(used) => {
            let account = used.account.as_deref().unwrap_or("somebody");
            let asked = if used.works { "" } else { ", Google was not asked" };
            format!("{} by {}{asked}\n", paint(STRONG, account), used.by)
        }
    };
    if who.logins.is_empty() {
        return used;
    }
    let mut table = Table::default().left("LOGIN").left("SEES").left("SINCE").left("CLIENT");
    for login in &who.logins {
        table.row([
            styled(STRONG, &login.account),
            login.scope.as_str().into(),
            words::time(login.since).into(),
            styled(FAINT, &login.client_id),
        ]);
    }
    used + &table.render()
}
