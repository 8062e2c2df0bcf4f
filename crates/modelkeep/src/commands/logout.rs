//! `modelkeep logout`: give a login back to Google, and forget it.

use modelkeep_core::Result;
use modelkeep_ops::login::logout;

use crate::session::Session;
use crate::style::{STRONG, paint};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose [default: the only one there is]
    #[arg(long, value_name = "EMAIL")]
    pub account: Option<String>,
}

/// Runs it.
pub async fn run(session: &Session, args: &Args) -> Result<()> {
    session.show(&logout(session.context()?, args.account.as_deref()).await?, |gone| {
        let how = if gone.revoked { "Google took the login back" } else { "forgotten here only" };
        format!("{} is signed out: {how}\n", paint(STRONG, &gone.account))
    })
}
