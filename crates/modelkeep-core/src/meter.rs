//! Being told about bytes as they go by.

use std::ops::ControlFlow;

/// Told about bytes as they go by; may stop the transfer.
pub trait Meter: Send + Sync {
    /// `bytes` more were moved and acknowledged. `Break` ends the transfer with `Interrupted`.
    fn advance(&self, bytes: u64) -> ControlFlow<()>;
}

/// A meter that nobody reads.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMeter;

impl Meter for NoMeter {
    fn advance(&self, _: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
