//! `modelkeep serve`: the stored versions as a Hugging Face Hub, for programs that load models by name.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use modelkeep_core::{Error, Result};
use modelkeep_server::{Message, Options, Server};

use crate::interrupt;
use crate::output;
use crate::session::Session;
use crate::words;

/// Where it listens when nobody says otherwise.
const PORT: u16 = 7654;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen: ADDRESS:PORT, an address or a port; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7654")]
    pub listen: String,
    /// What clients have to show (theirs is `HF_TOKEN`); needed for any address but loopback
    #[arg(long, value_name = "TOKEN", env = "MODELKEEP_SERVE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// A further name that clients call this server by; may be repeated
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// Pass names that are not here on to this Hub, through Hugging Face's cache
    #[arg(long, value_name = "URL")]
    pub upstream: Option<String>,
}

/// Runs it, until it is asked to stop.
pub async fn run(session: &'static Session, args: Args) -> Result<()> {
    let options = Options {
        listen: address(&args.listen)?,
        token: args.token,
        allow_hosts: args.allow_host,
        upstream: args.upstream,
    };
    let told = Arc::new(move |message: &Message| tell(session, message));
    let stop = interrupt::asked_to_stop()?;
    let server = Server::bind(Arc::clone(session.context()?), options, told).await?;
    server.run(stop).await;
    Ok(())
}

/// An address, a port or both.
fn address(text: &str) -> Result<SocketAddr> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, PORT));
    }
    let wrong =
        || Error::usage(format!("`{text}` is no address to listen on")).hint("modelkeep serve --listen 127.0.0.1:7654");
    text.to_socket_addrs().map_err(|error| wrong().because(error))?.next().ok_or_else(wrong)
}

/// The first line on standard output says where; with `--json` every message is a line there.
fn tell(session: &Session, message: &Message) {
    let request = matches!(message, Message::Request { .. });
    if request && session.globals.verbose == 0 {
        return;
    }
    if session.globals.json {
        // A reader that went away is no reason to stop serving others.
        let _ = output::json(message);
        return;
    }
    match message {
        Message::Listening { url, namespace, models } => {
            let _ = output::print(&format!("listening on {url}\n"));
            session.note(&format!("{}, called {namespace}/MODEL; Ctrl-C stops", words::count(*models as u64, "model")));
            session.next(&format!("HF_ENDPOINT={url} hf download {namespace}/MODEL"));
        }
        Message::Request { method, path, status, seconds } => {
            output::say(&format!("{status} {method} {path} {:.1} ms", seconds * 1000.0));
        }
        Message::Stopping { connections: 0 } | Message::Stopped => {}
        Message::Stopping { connections } => {
            session.note(&format!(
                "stopping when {} is done; Ctrl-C again stops at once",
                words::count(*connections as u64, "connection")
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_a_port_or_both() {
        for (text, expected) in [
            ("8080", "127.0.0.1:8080"),
            ("0", "127.0.0.1:0"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("0.0.0.0", "0.0.0.0:7654"),
            ("::1", "[::1]:7654"),
            ("[::1]:9", "[::1]:9"),
        ] {
            assert_eq!(address(text).unwrap(), expected.parse().unwrap(), "{text}");
        }
        assert!(address("no:such:thing").is_err() && address("99999").is_err());
    }
}
