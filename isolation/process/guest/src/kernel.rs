//! The kernel interface over the channel.
#![expect(unsafe_code, reason = "the channel and what a driver passes are at addresses that others have mapped")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nook_abi::{Addr, Hostcall, from_word, padded};
use nook_sdk::Kernel;

use crate::channel::{Channel, MEMORY_AT, SLOTS, is_posted, to_guest, to_host};

/// How often a waiting side looks at the channel between two looks at the clock.
const LOOKS: u32 = 64;

/// What answers the hostcalls of a driver in a separate process: its host, through the channel.
#[derive(Clone, Copy, Debug)]
pub struct ChannelKernel;

/// What this process has said and heard. It has one thread.
struct Counts {
    said: AtomicU32,
    heard: AtomicU32,
    /// What was posted since the host last told something.
    posted: AtomicU32,
    spin_ns: AtomicU32,
}

static COUNTS: Counts =
    Counts { said: AtomicU32::new(0), heard: AtomicU32::new(0), posted: AtomicU32::new(0), spin_ns: AtomicU32::new(0) };

/// Returns the channel. [`run`](crate::run()) has mapped it before anything else.
#[inline(always)]
pub(crate) fn channel() -> &'static Channel {
    // SAFETY: mapped there for as long as this process lives, and made of atomics.
    unsafe { &*(MEMORY_AT as *const Channel) }
}

/// Sets for how long to poll for an answer before going to sleep.
pub(crate) fn set_spin_ns(spin_ns: u64) {
    COUNTS.spin_ns.store(spin_ns.min(u32::MAX.into()) as u32, Ordering::Relaxed);
}

#[inline(always)]
fn put(what: u32, args: [u64; 3]) {
    let channel = channel();
    let said = COUNTS.said.load(Ordering::Relaxed);
    channel.to_host[(said % SLOTS) as usize].put(what, args);
    COUNTS.said.store(said.wrapping_add(1), Ordering::Relaxed);
    channel.guest.publish(said.wrapping_add(1));
}

/// Says something that the host is to look at now.
#[inline(always)]
pub(crate) fn say(what: u32, args: [u64; 3]) {
    put(what, args);
    let channel = channel();
    channel.host.wake_from(&channel.guest);
}

/// Waits until the host tells something.
#[inline(always)]
pub(crate) fn listen() -> (u32, [u64; 3]) {
    let channel = channel();
    let heard = COUNTS.heard.load(Ordering::Relaxed);
    let spin_ns = COUNTS.spin_ns.load(Ordering::Relaxed);
    if channel.host.count() == heard && spin_ns > 0 {
        let end = Instant::now() + Duration::from_nanos(spin_ns.into());
        'spin: while Instant::now() < end {
            for _ in 0..LOOKS {
                if channel.host.count() != heard {
                    break 'spin;
                }
                std::hint::spin_loop();
            }
        }
    }
    while channel.host.count() == heard {
        channel.guest.sleep(&channel.host, heard, None);
    }
    COUNTS.heard.store(heard.wrapping_add(1), Ordering::Relaxed);
    COUNTS.posted.store(0, Ordering::Relaxed);
    channel.to_guest.get()
}

#[inline(always)]
fn ask(call: Hostcall, args: [u64; 3]) -> u64 {
    if is_posted(call) {
        let posted = COUNTS.posted.load(Ordering::Relaxed) + 1;
        COUNTS.posted.store(posted, Ordering::Relaxed);
        // The last place is for what is asked.
        if posted < SLOTS {
            put(to_host::POSTED | call as u32, args);
            return 0;
        }
    }
    say(to_host::ASKED | call as u32, args);
    match listen() {
        (what, [answer, ..]) if what & to_guest::KIND == to_guest::ANSWER => answer,
        // The host never does that.
        _ => std::process::abort(),
    }
}

/// What is passed in memory is passed in the channel's: all else that this process has, the host does not see.
macro_rules! passed {
    (Log, $level:ident, $text:ident, $len:ident) => {{
        let len = ($len as usize).min(channel().text.len());
        for (at, place) in channel().text[..len].iter().enumerate() {
            // SAFETY: the caller promises this many readable bytes.
            place.store(unsafe { *($text as *const u8).add(at) }, Ordering::Relaxed);
        }
        let text = MEMORY_AT + std::mem::offset_of!(Channel, text) as u64;
        padded([$level.into(), text, $len.into()])
    }};
    ($variant:ident $(, $arg:ident)*) => {
        padded([$($arg as u64),*])
    };
}

macro_rules! define_kernel {
    ($({ $doc:literal } $class:ident $topic:ident $contexts:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        impl Kernel for ChannelKernel {
            $(
                #[inline(always)]
                unsafe fn $name(self, $($arg: $ty),*) -> $result {
                    let args = passed!($variant $(, $arg)*);
                    from_word!(ask(Hostcall::$variant, args), $result)
                }
            )*
        }
    };
}

nook_abi::hostcalls!(define_kernel);
