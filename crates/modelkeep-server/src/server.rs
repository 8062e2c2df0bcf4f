//! The server's life: an address, connections, an end at which what is being sent still is.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use modelkeep_core::{Error, Kind, Result};
use modelkeep_ops::Context;
use modelkeep_ops::catalogue::upstream::Upstream;
use modelkeep_ops::catalogue::{self, Catalogue};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::app::{App, router};
use crate::connection;
use crate::guard::Guard;
use crate::metrics::Metrics;

/// More connections at once wait until one ends.
const CONNECTIONS: usize = 1024;
/// What is being sent when the server is asked to stop has so long.
const TO_FINISH: Duration = Duration::from_secs(30);

/// How to serve.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What every request has to show. Needed where others can reach the address.
    pub token: Option<String>,
    /// Names that clients may call the server by, besides loopback names and its address.
    pub allow_hosts: Vec<String>,
    /// A Hub that names which are not ours are passed on to.
    pub upstream: Option<String>,
}

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Message {
    /// It can be asked from now on.
    Listening {
        /// What to set `HF_ENDPOINT` to.
        url: String,
        /// First part of the models' names.
        namespace: String,
        /// How many models there are.
        models: usize,
    },
    /// An answer began.
    Request {
        /// `GET` and the like.
        method: String,
        /// What was asked for.
        path: String,
        /// The answer's.
        status: u16,
        /// Until the first byte of the answer.
        seconds: f64,
    },
    /// It was asked to stop.
    Stopping {
        /// Connections that are still being answered.
        connections: usize,
    },
    /// It is over.
    Stopped,
}

/// Who is told what happens.
pub type Told = Arc<dyn Fn(&Message) + Send + Sync>;

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    app: Arc<App>,
    url: String,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Server {
    /// Reads the log and listens. Nobody is answered before [`Server::run`].
    pub async fn bind(ctx: Arc<Context>, options: Options, told: Told) -> Result<Self> {
        let guard = Guard::new(options.listen, options.token.as_deref(), options.allow_hosts)?;
        let upstream = match &options.upstream {
            Some(url) => Upstream::open(Arc::clone(&ctx), url)?.map(Arc::new),
            None => None,
        };
        let catalogue = Catalogue::open(ctx).await?;
        let listener = TcpListener::bind(options.listen).await.map_err(|error| {
            Error::new(Kind::Local, format!("cannot listen on {}", options.listen))
                .because(error)
                .hint("modelkeep serve --listen 127.0.0.1:0 takes a free port")
        })?;
        let address = listener.local_addr().map_err(|error| Error::local("no address").because(error))?;
        let metrics = Metrics::new(Arc::clone(&catalogue));
        let app = Arc::new(App { catalogue, upstream, guard, metrics, told });
        Ok(Self { listener, app, url: format!("http://{address}") })
    }

    /// What clients reach it by.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers until `stop`; what is being sent then still is.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let state = self.app.catalogue.state().await;
        let models = catalogue::models(&state).count();
        let namespace = self.app.catalogue.namespace().to_owned();
        self.app.tell(&Message::Listening { url: self.url.clone(), namespace, models });
        let router = router(Arc::clone(&self.app));
        let (tell, stopping) = watch::channel(false);
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            let accept = async {
                // Never closed, so there is always a permit some time.
                let permit = Arc::clone(&room).acquire_owned().await.ok();
                (self.listener.accept().await, permit)
            };
            tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                (accepted, permit) = accept => match accepted {
                    Ok((socket, _)) => {
                        let (router, stopping) = (router.clone(), stopping.clone());
                        connections.spawn(async move {
                            connection::serve(socket, router, stopping).await;
                            drop(permit);
                        });
                    }
                    // One connection failed, or there are too many open files: neither is the server's end.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                },
            }
        }
        drop(self.listener);
        let _ = tell.send(true);
        while connections.try_join_next().is_some() {}
        self.app.tell(&Message::Stopping { connections: connections.len() });
        let done = tokio::time::timeout(TO_FINISH, async { while connections.join_next().await.is_some() {} }).await;
        if done.is_err() {
            connections.shutdown().await;
        }
        self.app.catalogue.close();
        self.app.upstream.iter().for_each(|upstream| upstream.close());
        self.app.tell(&Message::Stopped);
    }
}
