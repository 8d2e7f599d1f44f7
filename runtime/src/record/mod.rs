//! Recording what enters a driver, and running it again against that, without its device.
//!
//! All that a driver's run depends on crosses its border: which entries are called, what its hostcalls return, and what
//! it loads from memory that others write too. Its module is made to [say the last](nook_instrument::Border); the
//! others the host knows. So neither the device nor what the host writes has to be watched, and what a driver never
//! looks at, such as most of what its device reads and writes, is in no recording.
//!
//! - [`Recorder`] keeps a *shadow* of the shared memory: what it would be if only the driver wrote to it, and only what
//!   it loaded had come from others. A load whose value is not the shadow's is an event, after which the shadow has it.
//! - [`Player`] answers an instance whose memory is the shadow: each event is put into it when the load that it is of
//!   comes, counted in loads since the call began. Hostcalls are compared, and answered with what they returned.
//! - [`replay()`] calls the entries, rolls back, and restores snapshots, as the recorded run did.
//!
//! Where host and driver changed memory together (a rollback, a restored snapshot), the recording has the bytes. A
//! recording of the last seconds only asks for all of the instance's state now and then, and forgets what was before.
//! A call that was ended from outside (its time was up, its device went) has no exact place: when it is run again, it
//! ends at the first deadline check, hostcall, or load from shared memory after its last event. That is right because
//! such a call was undone, or its instance is gone.
//!
//! What it does not cover: drivers outside the sandbox, registers as memory, WASI, and filters. Nothing in here is
//! believed: a recording decides nothing but what a driver without a device is given.

mod border;
mod player;
mod recorder;
mod replay;

use std::borrow::Cow;

use nook_abi::{Entry, Fault, Hostcall};
use wasmtime::Val;

pub(crate) use border::{attach, keep_state};
use player::Player;
pub(crate) use recorder::Recorder;
pub use replay::{Difference, Faulted, Found, ReplayError, Replayed, Stopped, replay};

/// Bytes of a driver's memory: where they are, and what they are.
pub type Bytes<'a> = (u64, Cow<'a, [u8]>);

/// One thing that entered a driver, or came out of it. Addresses are the driver's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded<'a> {
    /// An instance begins, in memory of which what it shares is zero.
    Begun,
    /// It ended.
    Ended,
    /// The driver was called.
    Entered {
        /// Which entry.
        entry: Entry,
        /// Its arguments, in the table's order.
        args: [u64; 3],
        /// The time in its host page, in nanoseconds of the nook's clock.
        told_ns: u64,
    },
    /// The call that has just begun is to be ended, or measured, after this many instructions.
    Counted(u64),
    /// It loaded from shared memory what neither it had stored nor an earlier event has.
    Loaded {
        /// Which load from shared memory of the call that is; the first is 1.
        load: u64,
        /// What is there.
        bytes: Bytes<'a>,
    },
    /// The driver called the host.
    Called {
        /// Which hostcall.
        call: Hostcall,
        /// Its arguments, in the table's order.
        args: [u64; 3],
        /// What it got, or why it was refused.
        outcome: Result<u64, Cow<'a, str>>,
    },
    /// The call ended.
    Left {
        /// How.
        how: HowLeft<'a>,
        /// Its loads from shared memory.
        loads: u64,
        /// A hash of all that it stored there, in order.
        stored: u64,
    },
    /// The call was undone; where it had stored in shared memory, or loaded what came from others, is this now.
    RolledBack(Vec<Bytes<'a>>),
    /// A snapshot was taken.
    Captured(u64),
    /// The instance goes on from a snapshot; its shared memory is this, and zero elsewhere.
    Restored {
        /// The snapshot's number.
        snapshot: u64,
        /// Shared memory.
        memory: Vec<Bytes<'a>>,
    },
    /// The instance goes on from here, also where nothing is known of what it did before: this is all of its state.
    State {
        /// The module's mutable globals.
        globals: Vec<GlobalValue>,
        /// Its memory; zero elsewhere.
        memory: Vec<Bytes<'a>>,
    },
}

/// The value of a global. That of a float is its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobalValue {
    /// `i32`.
    I32(u32),
    /// `i64`.
    I64(u64),
    /// `f32`.
    F32(u32),
    /// `f64`.
    F64(u64),
}

impl GlobalValue {
    /// Returns it, unless it is a vector or a reference.
    fn of(value: &Val) -> Option<Self> {
        match *value {
            Val::I32(value) => Some(GlobalValue::I32(value.cast_unsigned())),
            Val::I64(value) => Some(GlobalValue::I64(value.cast_unsigned())),
            Val::F32(bits) => Some(GlobalValue::F32(bits)),
            Val::F64(bits) => Some(GlobalValue::F64(bits)),
            _ => None,
        }
    }

    fn value(self) -> Val {
        match self {
            GlobalValue::I32(value) => Val::I32(value.cast_signed()),
            GlobalValue::I64(value) => Val::I64(value.cast_signed()),
            GlobalValue::F32(bits) => Val::F32(bits),
            GlobalValue::F64(bits) => Val::F64(bits),
        }
    }
}

/// How a call of the driver ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HowLeft<'a> {
    /// It returned this.
    Returned(u64),
    /// It did something wrong: the fault's text.
    Faulted(Cow<'a, str>),
    /// It was ended from outside, where the driver cannot be seen to depend on it: the fault's text.
    Cut(Cow<'a, str>),
}

impl HowLeft<'_> {
    fn of(outcome: &Result<u64, Fault>) -> HowLeft<'static> {
        match outcome {
            Ok(result) => HowLeft::Returned(*result),
            Err(fault) if is_from_outside(fault) => HowLeft::Cut(fault.to_string().into()),
            Err(fault) => HowLeft::Faulted(fault.to_string().into()),
        }
    }
}

fn is_from_outside(fault: &Fault) -> bool {
    matches!(fault, Fault::CpuBudget { .. } | Fault::WallBudget { .. }) || fault.is_device()
}

/// What takes a recording.
pub trait RecordSink: Send {
    /// Takes the next event.
    fn add(&mut self, event: &Recorded<'_>);

    /// Returns whether the next event should be a [state](Recorded::State), because nothing before it will be
    /// kept for much longer. `told_ns` is the time in the host page. It does not come where an instance cannot be
    /// [captured](crate::Driver::capture).
    fn wants_state(&self, told_ns: u64) -> bool {
        let _ = told_ns;
        false
    }

    /// Returns the file of what it keeps, if it keeps anything itself.
    fn kept(&self) -> Option<Vec<u8>> {
        None
    }
}

/// What is at a driver's border besides the host.
pub(crate) enum Tape {
    /// It notes what passes.
    Recording(Recorder),
    /// It answers in the host's place.
    Replaying(Player),
}

/// A hash of what a call stores in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stored(u64);

impl Stored {
    /// FNV's offset basis and prime, for words instead of bytes.
    const NOTHING: Stored = Stored(0xcbf2_9ce4_8422_2325);
    const PRIME: u64 = 0x0100_0000_01b3;

    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(Self::PRIME);
        self.0 ^= self.0 >> 29;
    }

    fn bytes(&mut self, addr: u64, bytes: &[u8]) {
        self.word(addr);
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        self.word(low_bytes(rest));
    }
}

/// Returns up to eight bytes as a number, the first the lowest.
fn low_bytes(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}
