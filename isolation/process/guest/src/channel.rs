//! The channel: one page of memory that a driver's process and its host share.
//!
//! The driver's process says things in a ring of [`SLOTS`] messages: hostcalls, and what an entry returned. The host
//! tells it one thing at a time: which entry to run, or what a hostcall answered. As the two take turns, the side that
//! got a message has a whole ring to answer in.
//!
//! Hostcalls that answer nothing and need not have happened when the driver goes on (register writes, above all) are
//! posted: they wait in the ring for the next one that is asked, or for the end of the call. Everything is served in
//! the order in which it was said.
//!
//! Each side counts what it has said, in its own word that the other side waits on. A side that goes to sleep says so
//! first, so that no system call is made to wake a side that is awake. Every field is an atomic: the other process may
//! write at any time, and the host, which does not trust it, loads each field once and uses what it got.

use std::ptr;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

use nook_abi::{Hostcall, log_level};

/// Where a driver's process has its memory: the channel first, then heap, host page and rings, then the window.
pub const MEMORY_AT: u64 = 0x10_0000_0000;

/// Bytes of the channel, at the start of the memory.
pub const CHANNEL_BYTES: u64 = 4096;

/// Messages that fit in the ring.
pub const SLOTS: u32 = 64;

/// The descriptor behind which the driver's process finds its memory.
pub const MEMORY_FD: i32 = 3;

/// The descriptor behind which it finds its window.
pub const WINDOW_FD: i32 = 4;

/// The exit status of a driver that panicked.
pub const PANICKED: i32 = 101;

/// The exit status of a driver's process that could not map its memory.
pub const NO_MEMORY: i32 = 102;

/// What the driver's process says. The low half is the number of a hostcall, where there is one.
pub mod to_host {
    /// A hostcall that waits for no answer.
    pub const POSTED: u32 = 1 << 16;
    /// A hostcall whose answer is waited for.
    pub const ASKED: u32 = 2 << 16;
    /// The entry is over: its result is the first argument.
    pub const RETURNED: u32 = 3 << 16;
    /// The memory is mapped, and calls are waited for.
    pub const READY: u32 = 4 << 16;
    /// The part that is one of these.
    pub const KIND: u32 = 0xffff << 16;
}

/// What the host tells. The low half is the number of an entry, where there is one.
pub mod to_guest {
    /// Run this entry.
    pub const CALL: u32 = 1 << 16;
    /// The hostcall answered this: the first argument.
    pub const ANSWER: u32 = 2 << 16;
    /// The part that is one of these.
    pub const KIND: u32 = 0xffff << 16;
}

/// One message.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Message {
    what: AtomicU32,
    reserved: AtomicU32,
    args: [AtomicU64; 3],
}

impl Message {
    /// Fills it in; published by the counter beside it.
    #[inline(always)]
    pub fn put(&self, what: u32, args: [u64; 3]) {
        self.what.store(what, Ordering::Relaxed);
        for (place, arg) in self.args.iter().zip(args) {
            place.store(arg, Ordering::Relaxed);
        }
    }

    /// Copies it out; the counter beside it has been read.
    #[inline(always)]
    pub fn get(&self) -> (u32, [u64; 3]) {
        (self.what.load(Ordering::Relaxed), [0, 1, 2].map(|at| self.args[at].load(Ordering::Relaxed)))
    }
}

/// One side's counter of what it has said, and whether that side sleeps: a cache line that only it writes.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Side {
    count: AtomicU32,
    asleep: AtomicU32,
}

/// How the driver's process is to go about, written before it begins.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Setup {
    /// Bytes of the memory, up to the window.
    pub memory_bytes: AtomicU64,
    /// Bytes of the window, which follows.
    pub window_bytes: AtomicU64,
    /// For how long to look for a call before going to sleep, in nanoseconds.
    pub spin_ns: AtomicU64,
}

/// The page.
#[derive(Debug)]
#[repr(C)]
pub struct Channel {
    /// Written by the host, before.
    pub setup: Setup,
    /// Written by the host.
    pub host: Side,
    /// Written by the driver's process.
    pub guest: Side,
    /// Written by the host: what it tells.
    pub to_guest: Message,
    /// Written by the driver's process: what it says.
    pub to_host: [Message; SLOTS as usize],
    /// Written by the driver's process: the message of a `log`.
    pub text: [AtomicU8; log_level::MAX_BYTES as usize],
}

const _: () = assert!(size_of::<Channel>() <= CHANNEL_BYTES as usize);

/// Returns whether a call is posted. One that asks for a wait, or for something to have happened, waits.
pub const fn is_posted(call: Hostcall) -> bool {
    matches!(
        call,
        Hostcall::MmioWrite8
            | Hostcall::MmioWrite16
            | Hostcall::MmioWrite32
            | Hostcall::MmioWrite64
            | Hostcall::TimerSet
            | Hostcall::WorkSchedule
            | Hostcall::PollSchedule
            | Hostcall::NetLink
    )
}

impl Side {
    /// Returns how many messages this side has sent; what was put before is visible then.
    #[inline(always)]
    pub fn count(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }

    /// Publishes that this side has sent `count` messages, what was put before among them.
    #[inline(always)]
    pub fn publish(&self, count: u32) {
        self.count.store(count, Ordering::Release);
    }

    /// Wakes this side if it says that it sleeps, after [`publish`](Self::publish) on the other one.
    #[inline(always)]
    pub fn wake_from(&self, other: &Side) {
        // Either we see that it sleeps, or it sees what was published when it looks once more.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) != 0 {
            other.wake();
        }
    }

    /// Wakes the other side if it waits for this one.
    #[cold]
    pub fn wake(&self) {
        futex(&self.count, libc::FUTEX_WAKE, i32::MAX as u32, None);
    }

    /// Sleeps, as this side, until the other has said more than `seen`, until the time is up, or for no reason.
    pub fn sleep(&self, other: &Side, seen: u32, most: Option<Duration>) {
        self.asleep.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if other.count.load(Ordering::Relaxed) == seen {
            futex(&other.count, libc::FUTEX_WAIT, seen, most);
        }
        self.asleep.store(0, Ordering::Relaxed);
    }
}

#[expect(unsafe_code, reason = "the C library has no function for futexes")]
fn futex(word: &AtomicU32, operation: i32, value: u32, most: Option<Duration>) {
    let most =
        most.map(|most| libc::timespec { tv_sec: most.as_secs() as libc::time_t, tv_nsec: most.subsec_nanos().into() });
    let most = most.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the word is an aligned u32, and the time, if there is one, lives as long as the call. Whatever the kernel
    // answers, the caller looks at the word again.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, most) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_awake_is_not_woken_and_who_sleeps_is() {
        let (host, guest) = (Side::default(), Side::default());
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| {
                while guest.count() == 0 {
                    host.sleep(&guest, 0, None);
                }
            });
            guest.publish(1);
            host.wake_from(&guest);
            sleeper.join().unwrap();
        });
        assert_eq!(host.asleep.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_sleep_ends_by_its_time_at_the_latest() {
        let (host, guest) = (Side::default(), Side::default());
        host.sleep(&guest, 0, Some(Duration::from_millis(1)));
        // What was said already is no reason to sleep.
        guest.publish(1);
        host.sleep(&guest, 0, None);
    }

    #[test]
    fn only_what_answers_nothing_is_posted() {
        for row in nook_abi::HOSTCALLS.iter().filter(|row| is_posted(row.call)) {
            assert_eq!(row.result, nook_abi::Value::Unit, "{}", row.name);
        }
    }
}
