//! `modelkeep login`: sign in to Google Drive with an OAuth client of one's own.

use clap::ValueEnum;
use modelkeep_core::{Error, Result};
use modelkeep_ops::drive::endpoints;
use modelkeep_ops::login::{self, OAuthClient, Report, Scope};

use crate::session::Session;
use crate::style::{STRONG, paint};
use crate::{ask, output, words};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// To what
    #[arg(value_enum, default_value = "gdrive", hide_default_value = true)]
    pub service: Service,
    /// Whose Drive it must be
    #[arg(long, value_name = "EMAIL")]
    pub account: Option<String>,
    /// The JSON of your own OAuth client, of type "Desktop app" [default: asked for, with the way to make one]
    #[arg(long, value_name = "FILE")]
    pub client_secret: Option<String>,
    /// drive: everything; drive.file: only what this client makes [default: asked for, else drive]
    #[arg(long, value_enum)]
    pub scope: Option<Seen>,
    /// Sign in on another device with a code (drive.file only)
    #[arg(long, conflicts_with = "paste")]
    pub device: bool,
    /// Sign in with a browser elsewhere, then paste the address it ends at [default in Codespaces and over SSH]
    #[arg(long)]
    pub paste: bool,
}

/// To what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// Google Drive.
    Gdrive,
}

/// What the login may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Seen {
    /// Everything.
    Drive,
    /// Only what this OAuth client makes.
    #[value(name = "drive.file")]
    DriveFile,
}

/// The way through Google's console.
const STEPS: &str = "\
modelkeep comes with no OAuth client: you make your own, once, for nothing.

  1. Make a project (or take one):  https://console.cloud.google.com/projectcreate
  2. Turn the Drive API on in it:   https://console.cloud.google.com/apis/library/drive.googleapis.com
  3. Name the app, choose External: https://console.cloud.google.com/auth/overview
  4. Add yourself as a test user:   https://console.cloud.google.com/auth/audience
     (in \"Testing\" a login ends after 7 days; \"Publish app\" there makes it last)
  5. Make a client of type
     \"Desktop app\":                 https://console.cloud.google.com/auth/clients/create
  6. Download its JSON (client_secret_….json). Give it to nobody.
";

const TESTING: &str = "while the app is in \"Testing\" at https://console.cloud.google.com/auth/audience, Google ends this \
                       login after 7 days; publish it there (no review is needed for yourself) and it lasts";

/// Runs it.
pub async fn run(session: &Session, args: Args) -> Result<()> {
    if args.device && args.scope == Some(Seen::Drive) {
        return Err(Error::usage("on another device Google grants only drive.file")
            .hint("modelkeep login gdrive --paste, or --device --scope drive.file"));
    }
    let client = client(session, &args)?;
    let scope = scope(session, &args)?;
    let endpoints = endpoints(&session.env);
    let remote_terminal = ["CODESPACES", "SSH_CONNECTION"].iter().any(|name| session.env.get(name).is_some());
    let granted = if args.device {
        let device = login::begin_device(client.clone(), endpoints).await?;
        output::say(&format!("open {} on any device, and type {}", device.address(), paint(STRONG, device.code())));
        device.wait().await?
    } else {
        let browser = login::Browser::begin(client.clone(), endpoints, scope).await?;
        let address = browser.address()?;
        if args.paste || (remote_terminal && session.interactive) {
            output::say(&format!("open this address in a browser, anywhere:\n\n{address}\n"));
            output::say("It ends at a page that cannot be shown (http://127.0.0.1:…). That is fine: copy its address.");
            browser.paste(&ask::question("The address: ")?).await?
        } else {
            output::say(&format!("open this address in a browser on this machine:\n\n{address}\n"));
            output::say("waiting for the browser (it runs elsewhere? Ctrl-C, then modelkeep login gdrive --paste)");
            browser.wait().await?
        }
    };
    let report = login::keep(&session.env, client, granted, args.account.as_deref()).await?;
    session.show(&report, human)?;
    output::warning(TESTING);
    session.next("modelkeep init --remote 'gdrive:Banking LLM'");
    Ok(())
}

fn client(session: &Session, args: &Args) -> Result<OAuthClient> {
    if let Some(given) = &args.client_secret {
        return login::client(&session.env, given);
    }
    if let Some(known) = login::known_client(&session.env, args.account.as_deref())? {
        session.note("with the OAuth client of the login before; --client-secret FILE takes another");
        return Ok(known);
    }
    output::say(STEPS);
    if !session.interactive {
        return Err(Error::usage("an OAuth client of your own is needed, and there is no terminal to ask for it at")
            .hint("modelkeep login gdrive --client-secret client_secret_….json"));
    }
    login::client(&session.env, &ask::question("  7. Its path, or the JSON itself: ")?)
}

fn scope(session: &Session, args: &Args) -> Result<Scope> {
    if let Some(seen) = args.scope {
        return Ok(if seen == Seen::Drive { Scope::Drive } else { Scope::DriveFile });
    }
    if args.device {
        return Ok(Scope::DriveFile);
    }
    if !session.interactive {
        return Ok(Scope::Drive);
    }
    let answer = ask::question(
        "Does anything else write this tree: Colab's mount or credentials, your own hands, rclone? [Y/n] ",
    )?;
    let no = ["n", "no"].iter().any(|no| answer.eq_ignore_ascii_case(no));
    Ok(if no { Scope::DriveFile } else { Scope::Drive })
}

fn human(report: &Report) -> String {
    let seen = match report.scope.as_str() {
        "drive" => "everything on this Drive".to_owned(),
        scope => format!("only what this OAuth client makes ({scope})"),
    };
    format!(
        "signed in to the Drive of {}\n{}",
        paint(STRONG, &report.account),
        words::facts([
            ("sees", seen),
            ("client", report.client_id.clone()),
            ("kept in", format!("{} (for you alone)", report.kept_in))
        ])
    )
}
