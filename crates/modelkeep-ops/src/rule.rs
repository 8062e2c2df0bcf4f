//! The rules of the storage protocol that a test can break on purpose, to show that it would notice.
//!
//! Each stands for a sentence of FORMAT.md. Nothing but a test ever breaks one.

/// A rule of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Content stands where readers look before the event says so.
    FindableBeforeEvent,
    /// Before the move, the push folder is looked for where it was left.
    LookBeforeMove,
    /// The moved folder is read back before the event is written.
    ReadBack,
    /// Look, move, reading back and event lie within one hour.
    OneHour,
    /// Projection moves; it never trashes.
    ProjectionOnlyMoves,
    /// Each push has a folder and a transaction of its own, also of equal content.
    OwnTransaction,
    /// A pull that misses something looks again.
    PullGoesRound,
    /// Readers look in the trash too.
    PullLooksInTrash,
    /// Removed content waits for the grace period.
    Grace,
    /// Removed content goes to our own trash, not to the store's.
    OwnTrash,
    /// The grace counts from that item's arrival.
    AgeOfItem,
    /// The trash is listed before the log is read.
    TrashThenLog,
    /// Content is removed only when a `removed` event names it.
    PositiveEvidence,
}
