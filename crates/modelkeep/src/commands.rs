//! One file per command: its arguments, one call, one way of printing.

pub mod adopt;
pub mod archive;
pub mod cache;
pub mod completions;
pub mod config;
pub mod cost;
pub mod demo;
pub mod deploy;
pub mod diff;
pub mod doctor;
pub mod fetch;
pub mod file;
pub mod guard;
pub mod history;
pub mod init;
pub mod label;
pub mod list;
pub mod log;
pub mod login;
pub mod logout;
pub mod maintain;
pub mod models;
pub mod place;
pub mod prune;
pub mod pull;
pub mod push;
pub mod remote;
pub mod repair;
pub mod restore;
pub mod rm;
pub mod rollback;
pub mod schedule;
pub mod schema;
pub mod serve;
pub mod set;
pub mod show;
pub mod status;
pub mod unarchive;
pub mod unuse;
pub mod use_model;
pub mod verify;
pub mod watch;
pub mod where_is;
pub mod whoami;

use std::process::ExitCode;

use modelkeep_core::Result;

use crate::cli::Command;
use crate::session::Session;

/// Runs one command; its exit code when it did not fail.
pub async fn run(session: &'static Session, command: Command) -> Result<ExitCode> {
    let local = matches!(
        command,
        Command::Unuse(_)
            | Command::Fetch(_)
            | Command::Guard(_)
            | Command::Login(_)
            | Command::Logout(_)
            | Command::Whoami
            | Command::Cache(_)
            | Command::Config(_)
            | Command::Completions(_)
            | Command::Schema(_)
            | Command::Complete(_)
    );
    let mut code = ExitCode::SUCCESS;
    let done = match command {
        Command::Init(args) => init::run(session, args).await,
        Command::Demo(args) => demo::run(session, args).await,
        Command::Push(args) => push::run(session, args).await,
        Command::Pull(args) => pull::run(session, args).await,
        Command::Fetch(args) => fetch::run(session, args).await,
        Command::Use(args) => use_model::run(session, &args).await,
        Command::Unuse(args) => unuse::run(session, &args),
        Command::List(args) => list::run(session, args).await,
        Command::Show(args) => show::run(session, &args).await,
        Command::History(args) => history::run(session, &args).await,
        Command::Diff(args) => diff::run(session, &args).await,
        Command::Label(args) => label::run(session, &args).await,
        Command::Set(args) => set::run(session, &args).await,
        Command::Deploy(args) => deploy::run(session, &args).await,
        Command::Rollback(args) => rollback::run(session, &args).await,
        Command::Archive(args) => archive::run(session, &args).await,
        Command::Unarchive(args) => unarchive::run(session, &args).await,
        Command::Rm(args) => rm::run(session, &args).await,
        Command::Restore(args) => restore::run(session, &args).await,
        Command::Adopt(args) => adopt::run(session, &args).await,
        Command::Verify(args) => verify::run(session, &args).await.map(|found| code = found),
        Command::Repair(args) => repair::run(session, &args).await,
        Command::Prune(args) => prune::run(session, &args).await,
        Command::Where(args) => where_is::run(session, &args).await,
        Command::Place(args) => place::run(session, &args).await,
        Command::File(args) => file::run(session, args).await,
        Command::Guard(args) => guard::run(session, &args).map(|found| code = found),
        Command::Status => status::run(session).await,
        Command::Cache(args) => cache::run(session, args).await,
        Command::Maintain(args) => maintain::run(session, &args).await.map(|found| code = found),
        Command::Doctor(args) => doctor::run(session, &args).await.map(|found| code = found),
        Command::Cost => cost::run(session).await,
        Command::Log(args) => log::run(session, args).await,
        Command::Watch(args) => watch::run(session, args).await,
        Command::Remote(args) => remote::run(session, args).await,
        Command::Login(args) => login::run(session, args).await,
        Command::Logout(args) => logout::run(session, &args).await,
        Command::Whoami => whoami::run(session).await,
        Command::Serve(args) => serve::run(session, args).await,
        Command::Config(args) => config::run(session, &args),
        Command::Completions(args) => completions::run(&args),
        Command::Schema(args) => schema::run(session, &args),
        Command::Complete(args) => models::run(session, &args).await,
    };
    if done.is_err() {
        session.progress.finish();
    }
    session.leave();
    if !local {
        session.tell_calls().await;
    }
    done.map(|()| code)
}
