//! `fake-drive`: the server on its own, for tests in other languages and for trying things by hand.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use jiff::Timestamp;
use modelkeep_testkit::drive::{Options, Server, Spec, Token};

/// A Google Drive (API v3) on this machine, for tests.
///
/// Faults are a list of NAME:RATE, where the rate is a chance for each request:
///
///   429, 403rate      refused as one too many
///   503, 5xx          the server's own trouble
///   cut               the connection closes after a random share of the body, either way
///   lost-reply        the server acts, then closes without an answer
///   expire-session    this upload session is gone (404)
///   expire-token      this one request gets 401; the token is good again at the next
///   late-checksum     checksums are absent for the next 1 to 3 reads of that file
///   late-list         a new object is left out of the next 1 to 3 listings
///   slow              50 KB a second for this answer
///   stall             nothing for 60 seconds
///   short-page, full  pages with fewer files than they could have; no room for a byte
///   seed:N            decides where faults strike
///
/// `lost-reply:1*2@files.create` loses the answers of two creates, and `cut=65536`, `slow=65536`, `late-list=2`,
/// `late-checksum=2`, `expire-token=50` say how much: the calls have the names that GET /_fake/calls shows.
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment)]
struct Arguments {
    /// Port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// What clients reach the server by, if that is not its own address
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// A token to accept, NAME or NAME=SCOPE:CLIENT; may be repeated [default: valid-token]
    #[arg(long, value_name = "TOKEN")]
    token: Vec<String>,
    /// Keep everything in this directory, not in a temporary one
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Bytes that each account may store
    #[arg(long, value_name = "BYTES")]
    quota: Option<u64>,
    /// Milliseconds added to each request
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,
    /// What the server's clock says at the start (RFC 3339)
    #[arg(long, value_name = "TIME")]
    now: Option<Timestamp>,
    /// What goes wrong, as in 429:0.05,cut:0.02,seed:7
    #[arg(long, value_name = "SPEC", default_value = "")]
    fault: Spec,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let tokens = if arguments.token.is_empty() { vec!["valid-token".to_owned()] } else { arguments.token };
    let server = Server::start(Options {
        listen: Some(arguments.listen),
        url: arguments.public_url,
        tokens: tokens.iter().map(|token| Token::from(token.as_str())).collect(),
        state: arguments.state,
        quota: arguments.quota,
        latency: Duration::from_millis(arguments.latency),
        now: arguments.now,
        faults: arguments.fault,
        ..Options::default()
    })?;
    let mut out = io::stdout();
    writeln!(out, "listening on {}", server.address())?;
    // Whoever started it reads this line through a pipe.
    out.flush()?;
    modelkeep_testkit::asked_to_stop()?;
    server.stop();
    Ok(())
}
