//! Bad news that ends a call of a disk's driver.

use core::fmt;

use crate::class::{Part, Tell};

/// Who has a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOwner {
    /// Nobody: it was never given, or was completed before.
    Nobody,
    /// The host: it is in the ring, and the driver has not taken it.
    Host,
    /// The driver has one with this id, which was given later.
    Later,
}

/// What only a disk's driver can be guilty of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockFault {
    /// A request was completed that the driver does not have.
    NotGiven {
        /// The request's id.
        id: u32,
        /// The generation that was named.
        generation: u16,
        /// Who has it.
        owner: RequestOwner,
    },
    /// A completion breaks a rule.
    CompletionMalformed {
        /// The request's id.
        id: u32,
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The rule.
        rule: &'static str,
    },
    /// Requests were taken and not completed in time.
    RequestStuck {
        /// How many are overdue.
        requests: u32,
        /// For how long one may be kept, in nanoseconds.
        limit_ns: u64,
    },
    /// Requests fail each time, says the device, in several places: reads and writes, or one kind that changes the disk
    /// while another is done.
    RequestsFail {
        /// How many failed since one like them was done.
        requests: u32,
    },
    /// A block that was read does not hold what was written to it (policy `block.verify`): one of the two went
    /// elsewhere, or the disk lost it.
    ReadDiffers {
        /// The block's number.
        block: u64,
        /// The sum, a CRC-32C, of what was written.
        written: u32,
        /// The sum of what was read.
        read: u32,
    },
    /// A driver that was restarted found another disk than the one before it.
    DiskChanged {
        /// The field of `Disk` that differs.
        field: &'static str,
        /// What the instance before said.
        before: u64,
        /// What this one says.
        now: u64,
    },
}

impl BlockFault {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            BlockFault::NotGiven { .. } => "NotGiven",
            BlockFault::CompletionMalformed { .. } => "CompletionMalformed",
            BlockFault::RequestStuck { .. } => "RequestStuck",
            BlockFault::RequestsFail { .. } => "RequestsFail",
            BlockFault::ReadDiffers { .. } => "ReadDiffers",
            BlockFault::DiskChanged { .. } => "DiskChanged",
        }
    }

    pub(crate) fn parts(&self, tell: Tell<'_>) {
        match self {
            BlockFault::NotGiven { id, generation, owner } => {
                tell("request", Part::Number((*id).into()));
                tell("generation", Part::Number((*generation).into()));
                tell("owner", Part::Text(owner));
            }
            BlockFault::CompletionMalformed { id, field, value, rule } => {
                tell("request", Part::Number((*id).into()));
                tell("argument", Part::Text(field));
                tell("value", Part::Number(*value));
                tell("rule", Part::Text(rule));
            }
            BlockFault::RequestStuck { requests, limit_ns } => {
                tell("requests", Part::Number((*requests).into()));
                tell("limit_ns", Part::Number(*limit_ns));
            }
            BlockFault::RequestsFail { requests } => tell("requests", Part::Number((*requests).into())),
            BlockFault::ReadDiffers { block, written, read } => {
                tell("block", Part::Number(*block));
                tell("written", Part::Number((*written).into()));
                tell("read", Part::Number((*read).into()));
            }
            BlockFault::DiskChanged { field, before, now } => {
                tell("argument", Part::Text(field));
                tell("before", Part::Number(*before));
                tell("now", Part::Number(*now));
            }
        }
    }
}

impl fmt::Display for BlockFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            BlockFault::NotGiven { id, generation, owner } => {
                write!(f, "completions: request {id}, generation {generation}: {owner}")
            }
            BlockFault::CompletionMalformed { id, field, value, rule } => {
                write!(f, "completions: request {id}: {field} = {value:#x}: {rule}")
            }
            BlockFault::RequestStuck { requests, limit_ns } => {
                write!(f, "{requests} requests were taken and not completed within {} ms", limit_ns / 1_000_000)
            }
            BlockFault::RequestsFail { requests } => {
                write!(
                    f,
                    "the device fails each time: {requests} requests in several places since one like them was done"
                )
            }
            BlockFault::ReadDiffers { block, written, read } => {
                write!(
                    f,
                    "block {block} was written with the sum {written:#010x} and read with {read:#010x}: a write or a read \
                     went elsewhere, or the disk lost it"
                )
            }
            BlockFault::DiskChanged { field, before, now } => {
                write!(f, "block_attach: {field} = {now:#x}: another disk than before the restart, with {before:#x}")
            }
        }
    }
}

impl fmt::Display for RequestOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RequestOwner::Nobody => "was never given, or was completed before",
            RequestOwner::Host => "is in the ring and was not taken",
            RequestOwner::Later => "the driver has a later one with this id",
        })
    }
}
