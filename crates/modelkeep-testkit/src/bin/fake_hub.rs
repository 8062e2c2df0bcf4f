//! `fake-hub`: the server on its own, for tests in other languages and for trying things by hand.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use modelkeep_testkit::hub::{Options, Server};
use modelkeep_testkit::rule::Spec;

/// The read side of a Hugging Face Hub on this machine, for tests.
///
/// Faults are a list of NAME:RATE, where the rate is a chance for each request:
///
///   429, 503      refused as one too many; the server's own trouble
///   cut, stall    the connection closes, or nothing comes any more, after a random share of a body
///   slow          50 KB a second
///   wrong-bytes   as many bytes as there should be, but others
///   short, long   fewer or more bytes than the tree says, and headers that agree with them
///   gated         conditions have to be accepted first; `gated@NAMESPACE/NAME`: for this one
///   moved, loop   content is at another origin; content is where it was asked for, for ever
///   no-range      all of it comes when a part was asked for
///   escape        the tree has a file `../../../escaped`
///   seed:N        decides where faults strike
///
/// `cut=65536*2` says after how many bytes, and how often at most.
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment)]
struct Arguments {
    /// Port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Each DIR/NAMESPACE/NAME is a repository, each DIR/NAMESPACE/NAME@REVISION another revision of it
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Refuse everybody without this token
    #[arg(long)]
    token: Option<String>,
    /// Entries of a tree on one page
    #[arg(long, value_name = "N")]
    page: Option<usize>,
    /// What goes wrong, as in 503:0.05,cut:0.02,seed:7
    #[arg(long, value_name = "SPEC", default_value = "")]
    fault: Spec,
}

fn main() -> io::Result<()> {
    let Arguments { listen, root, token, page, fault } = Arguments::parse();
    let server = Server::start(Options { listen: Some(listen), root, token, page, faults: fault })?;
    let mut out = io::stdout();
    writeln!(out, "listening on {}", server.url())?;
    // Whoever started it reads this line through a pipe.
    out.flush()?;
    modelkeep_testkit::asked_to_stop()?;
    server.stop();
    Ok(())
}
