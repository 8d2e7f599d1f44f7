//! Calls into a driver that can be undone: a pass over its module adds a log of what each call overwrites.
//!
//! [`instrument`] rewrites a module, and the runtime's `UndoLog` is the handle of one instance of it.
//!
//! - Each exported function becomes a wrapper. Where the ABI's table says that the entry is a transaction (`poll`,
//!   `irq`, `timer`, `work` …), it empties the log and saves the mutable globals, all in wasm. The other entries
//!   (`probe`, `open` …) empty the log too, but nothing of them can be undone; see "Limits". A call that is made while
//!   another one runs (a host that calls back in from a hostcall) is part of that one.
//! - A call that ended in an error (trap, fault in a hostcall) is undone by `UndoLog::roll_back`. One that returned,
//!   but must not count (its results were found wrong), by `UndoLog::roll_back_returned`; that is possible until the
//!   next call begins. Committing is nothing.
//! - What the host writes into the driver's memory inside a call is not logged: it writes to its own page only.
//! - The module has a second memory, the log, which driver code cannot name. The engine needs multi-memory; the host's
//!   `MemoryCreator` is asked for it right after the driver's own memory: 64 MiB, min = max, an ordinary mapping that
//!   is touched as far as it is used, with a guard behind it.
//!
//! # Calls that do not end
//!
//! The module gets [deadline checks](crate::deadline), with their cell in the log memory (`UndoLog::time_cell`). Where
//! they ask, the function that was given to `UndoLog::ask` is called.
//!
//! # What "as before" means
//!
//! Memory and globals are byte for byte as they were, except for declared scratch and for the memory below the stack
//! pointer at the beginning.
//!
//! What a call leaves below the stack pointer belongs to nobody, so stores to a function's own frame are not logged.
//! That is sound because every write of the stack pointer is checked: one above its value at the beginning traps. It is
//! done only where the stack surely lies first in memory (`--stack-first`).
//!
//! Declared scratch is what the driver stores through a hint ([`hints`](crate::hints)): contents of queues to the host
//! at and beyond `produced`, of descriptors and notes of packets in places of a ring that were free when the call
//! began. Counters, which are logged, say what of it means something. If the driver declares what is no scratch, its
//! own memory is wrong after its own rollback; the host believes nothing there in any case.
//!
//! What a device wrote meanwhile stays, because only what the driver stores is logged, at its own width.
//!
//! Whether that holds of what was written here is checked by [`stores`](crate::check::stores), which decides nothing.
//!
//! # Limits
//!
//! - A transaction that logs more than 64 MiB traps (out of bounds), and can be undone as any other.
//! - Outside transactions the log begins again at each hostcall and bulk instructions are not logged; code that
//!   makes more than four million scalar stores between two hostcalls there traps.
//! - A store that traps may do so a few instructions early: its group's old values are read together.
//! - Tables, `memory.grow`, `data.drop` and the like are refused, see [`Refused`].

mod code;
mod deadline;
mod facts;
pub mod layout;
mod module;
mod rewrite;
mod stores;
mod values;
mod write;

use std::fmt;

use crate::OffsetMap;
use crate::hints::Scratch;
#[cfg(test)]
pub(crate) use crate::planted::Flaw;
use crate::planted::{self, Planted};

/// Options of the pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Below this address no device writes: the beginning of the DMA window. Reading and logging ahead of the stores
    /// (at the beginning of loops) is confined to it. Without it, all of memory is taken to be private.
    pub private_bytes: Option<u32>,
    /// Somebody else keeps private memory (rollback by pages): only what reaches to
    /// [`private_bytes`](Self::private_bytes) or beyond is logged.
    pub private_is_kept: bool,
    /// Stores that are not logged, because what they write means nothing after a rollback.
    pub scratch: Option<&'a Scratch>,
    /// A mistake to make.
    #[cfg(test)]
    pub(crate) flaw: Option<Flaw>,
}

impl Options<'_> {
    fn planted(&self) -> Planted {
        Planted {
            #[cfg(test)]
            flaw: self.flaw,
        }
    }
}

/// A module whose calls can be undone.
#[derive(Clone, Debug)]
pub struct Instrumented {
    /// The module.
    pub wasm: Vec<u8>,
    /// What was added to it.
    pub effect: Effect,
    /// Where its code comes from.
    pub offsets: OffsetMap,
    /// The first of its last functions, which begin and end calls.
    pub wrappers_from: u32,
    /// How many records each function appends, by its number; those that append none are left out.
    pub records_by_function: Vec<(u32, usize)>,
}

/// What the pass did to a module; all counts are of places in the code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// Entries that are transactions.
    pub transactions: usize,
    /// Stores, read-modify-writes and compare-and-exchanges that can be reached.
    pub stores: usize,
    /// Of them: to the function's own frame, not logged.
    pub own_frame: usize,
    /// Of them: to declared scratch, not logged.
    pub scratch: usize,
    /// Of them: to bytes that are in the log by then on every path.
    pub covered: usize,
    /// Of them: to bytes that are in the log by then unless the loop's beginning could not read them.
    pub covered_by_flag: usize,
    /// Places where stores are logged, each for all that surely follow.
    pub groups: usize,
    /// Records that these append.
    pub records: usize,
    /// Records that the beginnings of loops append for their bodies.
    pub hoisted: usize,
    /// Bulk instructions.
    pub bulk: usize,
    /// Of them: to the function's own frame, not logged.
    pub bulk_own_frame: usize,
    /// Whether the module's stack is where its own frames need no log.
    pub own_frames_known: bool,
    /// Checked writes of the stack pointer.
    pub stack_checks: usize,
    /// Branches back to the beginning of a loop; each checks its deadline.
    pub back_edges: usize,
    /// Functions that check the deadline when they begin.
    pub entry_checks: usize,
    /// The length of its code before.
    pub code_bytes_before: usize,
    /// And after.
    pub code_bytes_after: usize,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Effect { stores, own_frame, scratch, covered, covered_by_flag, groups, records, hoisted, bulk, .. } = self;
        writeln!(
            f,
            "{stores} stores: {own_frame} to own frames, {scratch} to scratch, {covered} logged before, {covered_by_flag} \
             by their loop"
        )?;
        writeln!(f, "{groups} groups with {records} records, {hoisted} records before loops")?;
        writeln!(f, "{bulk} bulk instructions, {} of them to own frames", self.bulk_own_frame)?;
        let stack = if self.own_frames_known { "first in memory" } else { "not known to be first in memory" };
        writeln!(f, "stack {stack}, {} checks of its pointer", self.stack_checks)?;
        let Effect { back_edges, entry_checks, .. } = self;
        writeln!(f, "{back_edges} back-edges and {entry_checks} functions check their deadline")?;
        write!(f, "{} bytes of code, {} before", self.code_bytes_after, self.code_bytes_before)
    }
}

/// Why calls into a module cannot be undone.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Not valid, or with features that no driver may use.
    #[error("not a module that can be rewritten: {0}")]
    Invalid(String),
    /// An instruction with an effect that no log holds.
    #[error("function {function} uses {what} (at byte {offset:#x} of the module)")]
    Instruction {
        /// The instruction, and why not.
        what: &'static str,
        /// Its function's index.
        function: u32,
        /// Where it is in the module.
        offset: usize,
    },
    /// Something that others can change too.
    #[error("{what}: others can change it, and their changes are not logged; a driver imports functions only")]
    Shared {
        /// What it is.
        what: String,
    },
    /// Its world.
    #[error("imports WASI, whose calls write into its memory past the log")]
    Wasi,
    /// Its memory.
    #[error("the module's memory cannot be covered: {0}")]
    Memory(String),
    /// An export with a name that the pass uses.
    #[error("exports `{0}`, a name that is reserved for the undo log")]
    ReservedExport(String),
    /// Too much to save at each call.
    #[error("{found} mutable globals; at most {most} are saved at the beginning of a call")]
    TooManyGlobals {
        /// How many it has.
        found: usize,
        /// How many are saved.
        most: usize,
    },
}

impl From<crate::Invalid> for Refused {
    fn from(error: crate::Invalid) -> Self {
        Refused::Invalid(error.0)
    }
}

impl From<crate::sections::Error> for Refused {
    fn from(error: crate::sections::Error) -> Self {
        Refused::Invalid(error.to_string())
    }
}

impl From<wasmparser::Error> for Refused {
    fn from(error: wasmparser::Error) -> Self {
        Refused::Invalid(error.to_string())
    }
}

/// Rewrites a module so that calls into it can be undone.
///
/// # Errors
/// If it does something that cannot be undone.
pub fn instrument(wasm: &[u8], options: &Options<'_>) -> Result<Instrumented, Refused> {
    write::instrument(wasm, options)
}
