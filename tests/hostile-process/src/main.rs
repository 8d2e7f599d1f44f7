//! A driver's program that does what no driver should: which thing, says the MTU that is set. For the tests
//! of `--isolation process` only; `tests/tests/process.rs` has the list with what is to come of each.
#![deny(unsafe_code)]
#![no_main]

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

use nook_process_guest::channel::{CHANNEL_BYTES, Channel, MEMORY_AT, SLOTS, to_host};
use nook_sdk::abi::Hostcall;
use nook_sdk::{Irq, Kernel, LinkState, NetDriver, Nook, Poll, ProbeReason, RxMode, Status};

/// Its manifest.
pub const MANIFEST: &str = "abi = 1.0\nclass = net\nversion = 0.1.0\nlicense = Apache-2.0\nname = hostile\n\
                            pci = 8086:100e\nregisters = e1000\ndma_bytes = 8192\ndma_mask_bits = 64\n";

/// Does nothing but harm.
pub struct Hostile<K> {
    nook: Nook<K>,
    /// The next `poll` is over for the host, and not for this.
    wild: bool,
}

nook_process_guest::driver_process!(class: net, Hostile, MANIFEST);

impl<K: Kernel> NetDriver<K> for Hostile<K> {
    fn probe(nook: Nook<K>, _: ProbeReason) -> Result<Self, Status> {
        nook.net_attach([2, 0, 0, 0, 0, 1], 9000)?;
        Ok(Hostile { nook, wild: false })
    }

    fn remove(self) {}

    fn open(&mut self) -> Result<(), Status> {
        // Without a link nobody would call `poll` again.
        self.nook.net_link(LinkState { up: true, speed_mbps: 1000, full_duplex: true });
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Status> {
        Ok(())
    }

    // Nothing is received.
    fn discard_rx(&mut self, _queue: u32) {}

    fn poll(&mut self, _: u32, _: u32) -> Poll {
        if self.wild {
            say(to_host::RETURNED, [0; 3]);
            loop {
                scribble(MEMORY_AT + CHANNEL_BYTES);
            }
        }
        Poll::Idle
    }

    fn irq(&mut self, _: u32) -> Irq {
        Irq::NotMine
    }

    fn set_rx_mode(&mut self, _: RxMode<'_>) -> Result<(), Status> {
        Ok(())
    }

    fn set_mtu(&mut self, mtu_bytes: u32) -> Result<(), Status> {
        self.misbehave(mtu_bytes);
        Ok(())
    }
}

#[expect(unsafe_code, reason = "the channel is at an address that the guest has mapped")]
fn channel() -> &'static Channel {
    // SAFETY: the guest has mapped it, and it is made of atomics.
    unsafe { &*(MEMORY_AT as *const Channel) }
}

/// Says something past the guest, whose count stays where it was.
fn say(what: u32, args: [u64; 3]) {
    let channel = channel();
    let count = channel.guest.count();
    channel.to_host[(count % SLOTS) as usize].put(what, args);
    channel.guest.publish(count.wrapping_add(1));
    channel.guest.wake();
}

/// Answers this call and every later one at once, and never sleeps.
fn answer_without_rest() -> ! {
    let host = &channel().host;
    loop {
        let heard = host.count();
        say(to_host::RETURNED, [0; 3]);
        while host.count() == heard {
            std::hint::spin_loop();
        }
    }
}

/// Waits for an answer that is of no interest.
fn sleep_for_ever() -> ! {
    let never = AtomicU32::new(0);
    loop {
        system_call(libc::SYS_futex, [never.as_ptr().expose_provenance() as i64, libc::FUTEX_WAIT.into(), 0, 0]);
    }
}

#[expect(unsafe_code, reason = "system calls that a driver is not to make")]
fn system_call(number: i64, [a, b, c, d]: [i64; 4]) {
    // SAFETY: the sandbox ends the process at each of these calls; what it lets through names no memory of this
    // program.
    unsafe { libc::syscall(number, a, b, c, d) };
}

fn address(text: &'static std::ffi::CStr) -> i64 {
    text.as_ptr().expose_provenance() as i64
}

/// Garbage over the channel, the heap, the host page, the rings and the window.
#[expect(unsafe_code, reason = "stores to memory that is shared with the host")]
fn scribble(from: u64) {
    let setup = &channel().setup;
    let end = MEMORY_AT + setup.memory_bytes.load(Ordering::Relaxed) + setup.window_bytes.load(Ordering::Relaxed);
    let mut word = 0x9e37_79b9_7f4a_7c15u64;
    for addr in (from..end).step_by(8) {
        word = word.rotate_left(7).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        // SAFETY: mapped, and nothing of this program's own is there.
        unsafe { (addr as *mut u64).write_volatile(word) };
    }
}

#[expect(unsafe_code, reason = "a store that ends the process")]
fn store_to_nowhere() {
    // SAFETY: nothing is mapped at the lowest addresses: the store ends the process, and writes nothing.
    unsafe { (16 as *mut u64).write_volatile(7) };
}

#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 512]);
    if depth == u64::MAX { 0 } else { recurse(depth + 1) + frame[7] }
}

impl<K: Kernel> Hostile<K> {
    fn misbehave(&mut self, what: u32) {
        let posted = |call: Hostcall| to_host::POSTED | call as u32;
        let asked = |call: Hostcall| to_host::ASKED | call as u32;
        match what {
            100 => system_call(libc::SYS_openat, [libc::AT_FDCWD.into(), address(c"/etc/passwd"), 0, 0]),
            101 => system_call(libc::SYS_socket, [libc::AF_INET.into(), libc::SOCK_STREAM.into(), 0, 0]),
            102 => system_call(libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0, 0]),
            103 => system_call(libc::SYS_kill, [-1, libc::SIGKILL.into(), 0, 0]),
            104 => system_call(libc::SYS_execve, [address(c"/bin/sh"), 0, 0, 0]),
            105 => system_call(libc::SYS_execveat, [5, address(c""), 0, 0]),
            106 => system_call(libc::SYS_mprotect, [MEMORY_AT as i64, 4096, libc::PROT_EXEC.into(), 0]),
            107 => system_call(libc::SYS_mmap, [0, 4096, (libc::PROT_READ | libc::PROT_WRITE).into(), 0x22]),
            108 => system_call(libc::SYS_write, [3, address(c"x"), 1, 0]),
            109 => system_call(libc::SYS_futex, [MEMORY_AT as i64, libc::FUTEX_LOCK_PI.into(), 0, 0]),
            110 => system_call(libc::SYS_ftruncate, [3, 0, 0, 0]),
            111 => system_call(libc::SYS_memfd_create, [address(c"x"), 0, 0, 0]),
            112 => system_call(libc::SYS_exit_group, [0, 0, 0, 0]),
            113 => store_to_nowhere(),
            114 => panic!("on purpose"),
            115 => {
                black_box(recurse(0));
            }
            116 => loop {
                std::hint::spin_loop();
            },
            117 => sleep_for_ever(),
            118 => loop {
                self.nook.clock_ns();
            },
            119 => loop {
                self.nook.poll_schedule(0);
            },
            120 => channel().guest.publish(channel().guest.count().wrapping_add(1000)),
            121 => say(asked(Hostcall::Log) | 0xff, [0; 3]),
            122 => say(posted(Hostcall::DmaAlloc), [64, 64, 0]),
            123 => say(u32::MAX, [0; 3]),
            124 => say(asked(Hostcall::Log), [1, 0, 64]),
            125 => say(asked(Hostcall::Log), [1, MEMORY_AT - 1, 64]),
            126 => say(asked(Hostcall::Log), [1, u64::MAX, 64]),
            127 => say(asked(Hostcall::MmioRead32), [0, 0xfff0, 0]),
            128 => say(posted(Hostcall::MmioWrite32), [7, 0, 0]),
            129 => scribble(MEMORY_AT),
            130 => {
                self.wild = true;
                return;
            }
            131 => loop {
                say(posted(Hostcall::TimerSet), [1, 0, 0]);
            },
            132 => answer_without_rest(),
            _ => return,
        }
        // What was said is there to be found: the guest does not say its own over it.
        channel().guest.wake();
        sleep_for_ever()
    }
}
