//! Counterparts for tests: services that modelkeep talks to, running on this machine, with faults on demand.
//!
//! Knows how those services answer. Does not know modelkeep: a fake that shared code with what it tests would agree
//! with it about the same mistakes.

pub mod drive;
pub mod hub;
mod range;
pub mod rule;

/// Waits for Ctrl-C or a polite kill, so that what is temporary is removed.
pub fn asked_to_stop() -> std::io::Result<()> {
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
