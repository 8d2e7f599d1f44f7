//! The life of a driver's process: map, then run what is asked for, for ever.
#![expect(unsafe_code, reason = "the first mapping of memory, entries that take addresses, and the end of the process")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::atomic::Ordering;

use nook_abi::{Addr, Entry, from_word, log_level};
use nook_sdk::{Entries, Instance, Kernel};

use crate::ChannelKernel;
use crate::channel::{CHANNEL_BYTES, MEMORY_AT, MEMORY_FD, NO_MEMORY, PANICKED, WINDOW_FD, to_guest, to_host};
use crate::kernel::{channel, listen, say, set_spin_ns};

/// Runs a driver, of which its class makes `E`, for the host at the channel's other end. The manifest is what the host
/// read in this program's file.
pub fn run<E: Entries<ChannelKernel>>(manifest: &'static [u8]) -> ! {
    // It is read from the file: without this, the linker might leave it out.
    black_box(manifest);
    map_all();
    set_spin_ns(channel().setup.spin_ns.load(Ordering::Relaxed));
    std::panic::set_hook(Box::new(|panic| last_words(panic)));
    let mut instance = Instance::<ChannelKernel, E>::new(ChannelKernel);
    say(to_host::READY, [0; 3]);
    loop {
        let (what, args) = listen();
        let result = enter(&mut instance, what, args);
        say(to_host::RETURNED, [result, 0, 0]);
    }
}

macro_rules! define_enter {
    ($({ $doc:literal } $class:ident $context:ident $required:ident $kind:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        #[inline(always)]
        fn enter<E: Entries<ChannelKernel>>(
            instance: &mut Instance<ChannelKernel, E>,
            what: u32,
            args: [u64; 3],
        ) -> u64 {
            match what {
                $(_ if what == to_guest::CALL | Entry::$variant as u32 => {
                    let [$($arg,)* ..] = args;
                    // SAFETY: what the host tells is true: its page is in the memory that was mapped, which nobody
                    // unmaps, and it calls one entry at a time.
                    #[allow(unused_unsafe, reason = "some entries take no address and are safe")]
                    let result = unsafe { instance.$name($(from_word!($arg, $ty)),*) };
                    to_number!(result, $result)
                })*
                // The host never does that.
                _ => std::process::abort(),
            }
        }
    };
}

macro_rules! to_number {
    ($value:ident, ()) => {{
        let () = $value;
        0
    }};
    ($value:ident, $ty:tt) => {
        $value as i64 as u64
    };
}

nook_abi::entries!(define_enter);

fn map_all() {
    map(MEMORY_AT, CHANNEL_BYTES, MEMORY_FD, 0);
    let setup = &channel().setup;
    let memory_bytes = setup.memory_bytes.load(Ordering::Relaxed);
    map(MEMORY_AT + CHANNEL_BYTES, memory_bytes - CHANNEL_BYTES, MEMORY_FD, CHANNEL_BYTES);
    map(MEMORY_AT + memory_bytes, setup.window_bytes.load(Ordering::Relaxed), WINDOW_FD, 0);
}

fn map(at: u64, len_bytes: u64, fd: i32, offset: u64) {
    // SAFETY: MAP_FIXED_NOREPLACE maps nothing over what is there already.
    let mapped = unsafe {
        libc::mmap(
            at as *mut libc::c_void,
            len_bytes as usize,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE,
            fd,
            offset as libc::off_t,
        )
    };
    if mapped as u64 != at {
        exit(NO_MEMORY);
    }
}

/// A message that is cut off where its room ends.
struct Text {
    bytes: [u8; log_level::MAX_BYTES as usize],
    len: usize,
}

impl std::fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = &mut self.bytes[self.len..];
        let fits = text.floor_char_boundary(room.len());
        room[..fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.len += fits;
        Ok(())
    }
}

/// Says where and why, and ends the process.
fn last_words(panic: &std::panic::PanicHookInfo<'_>) -> ! {
    let mut text = Text { bytes: [0; log_level::MAX_BYTES as usize], len: 0 };
    let _ = write!(text, "{panic}");
    // SAFETY: a hostcall that is allowed everywhere, about bytes that are there.
    unsafe { ChannelKernel.log(log_level::ERROR, text.bytes.as_ptr().expose_provenance() as Addr, text.len as u32) };
    exit(PANICKED)
}

/// Ends the process without what a C program does at its end, which the sandbox does not allow.
fn exit(status: i32) -> ! {
    // SAFETY: ends the process; nothing in it is needed any more.
    unsafe { libc::_exit(status) }
}
