//! What the oracles of all classes have in common: traffic that goes on at a pace, and flows of it that complete.

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Frames that arrived as they were sent; requests that were done.
    pub delivered: u64,
    /// Frames that arrived more than once; requests that were answered more than once.
    pub duplicates: u64,
    /// Times that a frame did not arrive, or a request was not done, and it was sent again.
    pub lost: u64,
    /// Frames that arrived changed, or that nobody sent; reads that gave something else than was written.
    pub corrupted: u64,
    /// Blocks of the disk that hold something else in the end than was acknowledged.
    pub damaged: u64,
}

/// A flow that was begun: the numbers from which it goes, of each way.
#[derive(Clone, Copy, Debug)]
pub struct Flow(pub(crate) [u64; 2]);

/// Traffic of which an oracle knows each byte. What does not arrive is sent again, later each time, and never given up.
pub trait Traffic {
    /// Sends, each way, something every `pace_ns` from now on.
    fn pace(&self, pace_ns: u64);

    /// Begins a flow.
    fn flow(&self) -> Flow;

    /// Returns whether all of a flow has arrived, and all that was under way when it began.
    fn is_complete(&self, flow: Flow) -> bool;

    /// Returns when the first was sent that did not arrive in time, if there was one.
    fn first_failure_ns(&self) -> Option<u64>;

    /// Returns what was counted.
    fn tally(&self) -> Tally;

    /// Returns what stands still, in words: something of it is overdue.
    fn standing(&self) -> Vec<&'static str>;

    /// Ends the traffic: looks past the driver at what it has left, as far as there is something to look at, and counts
    /// what is wrong there.
    fn finish(&self) {}
}

/// When what did not arrive is sent again first, and at most so much later each time.
pub(crate) const RESEND_FIRST_NS: u64 = 20_000_000;
pub(crate) const RESEND_MOST_NS: u64 = 500_000_000;
/// How late something is that is overdue. Models leave work lying for 40 µs at most, a few times in a row.
pub(crate) const OVERDUE_NS: u64 = 15_000_000;
/// What is not taken when it is due is offered again after this: a receiver may be off for good, and time would pass by
/// the length of a turn only.
pub(crate) const NOT_TAKEN_NS: u64 = 20_000;
/// Numbers, each way, that make a flow.
pub(crate) const FLOW: u64 = 64;
