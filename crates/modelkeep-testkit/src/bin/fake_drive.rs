//! `fake-drive`: the server on its own, for tests in other languages and for trying things by hand.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use modelkeep_testkit::drive::{Fault, Options, Server};

/// A Google Drive (API v3) on this machine, for tests.
///
/// Faults: `KIND[:ARGUMENT][:PROBABILITY][*TIMES][@CALL]`, with the kinds rate-limit, 5xx, cut-after:BYTES,
/// lost-response, slow:RATE, stall, session-expired, checksum-late:LOOKS, listing-late:LISTINGS, short-page,
/// quota-full, token-expired-after:REQUESTS. `lost-response:1*2@files.create` loses the answers of two creates.
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment)]
struct Arguments {
    /// 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Keep everything in this directory
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Bytes that each account may store
    #[arg(long, value_name = "BYTES")]
    quota: Option<u64>,
    /// Something that goes wrong; may be repeated
    #[arg(long, value_name = "RULE")]
    fault: Vec<Fault>,
    /// Decides ids, tokens and where faults strike
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Milliseconds added to each request
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,
    /// What clients reach the server by, if that is not its own address
    #[arg(long)]
    url: Option<String>,
    /// An account that is there from the start; the first signs in where nobody is named
    #[arg(long, value_name = "EMAIL")]
    account: Vec<String>,
    /// Seconds that a refresh token is good for (604800 for an app in "Testing")
    #[arg(long, value_name = "SECONDS")]
    refresh_lifetime: Option<u64>,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let server = Server::start(Options {
        port: arguments.port,
        state: arguments.state,
        quota: arguments.quota,
        faults: arguments.fault,
        seed: arguments.seed,
        latency: Duration::from_millis(arguments.latency),
        url: arguments.url,
        accounts: arguments.account,
        clients: Vec::new(),
        refresh_lifetime: arguments.refresh_lifetime.map(Duration::from_secs),
    })?;
    let mut out = io::stdout();
    writeln!(out, "listening on {}", server.url())?;
    // Whoever started it reads this line through a pipe.
    out.flush()?;
    asked_to_stop()?;
    server.stop();
    Ok(())
}

/// Ctrl-C or a polite kill; what is temporary is then removed.
fn asked_to_stop() -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        #[cfg(unix)]
        {
            let mut end = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            tokio::select! {
                ended = tokio::signal::ctrl_c() => ended,
                _ = end.recv() => Ok(()),
            }
        }
        #[cfg(not(unix))]
        tokio::signal::ctrl_c().await
    })
}
