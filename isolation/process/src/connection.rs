//! The host's end of the channel: it sends calls to the driver's process, and checks everything that comes back.
#![expect(unsafe_code, reason = "the processors that two processes run on are set and asked by raw system calls")]

use std::sync::Arc;
use std::time::Duration;

use nook_abi::{Entry, Fault, HOSTCALLS, Hostcall, TrapKind};
use nook_bus::Clock;
use nook_process_guest::channel::{SLOTS, is_posted, to_guest, to_host};
use nook_runtime::{Host, TICK_NS};

use crate::child::{Child, ExitStatus};
use crate::memory::Memory;

/// How the two processes wait for each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Asleep, on a futex in the channel: the side that gets a message is woken. The driver's process is kept on the
    /// host's processor, because the two never run at the same time and a wake-up across processors costs ten times
    /// as much.
    #[default]
    Futex,
    /// Awake, each on its own processor, polling for the next message; a side that has received nothing for
    /// [`SPIN_NS`] goes to sleep all the same.
    Poll,
}

/// For how long [`Wait::Poll`] looks before it sleeps, in nanoseconds.
pub const SPIN_NS: u64 = 200_000;

/// How often the channel is looked at between two looks at the clock.
const LOOKS: u32 = 64;

/// Another process works in real time, whatever a nook's clock says.
const REAL: Clock = Clock::Monotonic;

/// How long a process may take until it waits for calls.
const READY_NS: u64 = 20_000_000_000;

impl Wait {
    pub(crate) fn spin_ns(self) -> u64 {
        match self {
            Wait::Futex => 0,
            Wait::Poll => SPIN_NS,
        }
    }

    /// Returns the closest mode that this machine can do.
    pub(crate) fn possible(self) -> Wait {
        if self == Wait::Poll && processors().is_none_or(|set| count(&set) < 2) {
            tracing::warn!("only one processor: the driver's process sleeps instead of polling");
            return Wait::Futex;
        }
        self
    }
}

/// Returns the processors that this thread may run on.
fn processors() -> Option<libc::cpu_set_t> {
    // SAFETY: an all-zero set is the empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: writes the set.
    let answer = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    (answer == 0).then_some(set)
}

fn count(set: &libc::cpu_set_t) -> i32 {
    // SAFETY: reads the set.
    unsafe { libc::CPU_COUNT(set) }
}

/// The connection to one process.
pub(crate) struct Connection {
    memory: Arc<Memory>,
    child: Child,
    wait: Wait,
    /// The host's own counts.
    sent: u32,
    received: u32,
    /// The processor that the host ran on when it called last.
    processor: i32,
}

impl Connection {
    pub(crate) fn new(memory: Arc<Memory>, child: Child, wait: Wait) -> Self {
        Connection { memory, child, wait, sent: 0, received: 0, processor: -1 }
    }

    /// Ends the process.
    pub(crate) fn end(&mut self) {
        self.child.kill();
    }

    /// Waits until the process waits for calls.
    ///
    /// # Errors
    /// If it does not.
    pub(crate) fn until_ready(&mut self) -> Result<(), String> {
        let end_ns = REAL.now_ns() + READY_NS;
        loop {
            let ended = self.child.end();
            match self.new_messages() {
                Ok(1..) if self.next().0 == to_host::READY => return Ok(()),
                Ok(0) => {}
                Ok(_) | Err(_) => return Err("it began with what makes no sense".into()),
            }
            match ended {
                Some(ExitStatus::Exited(status)) => {
                    return Err(format!("it ended with status {status} before it was called"));
                }
                Some(ExitStatus::Killed(signal)) => {
                    return Err(format!("signal {signal} ended it before it was called"));
                }
                None if REAL.now_ns() >= end_ns => return Err("it does not wait for calls".into()),
                None => self.sleep(TICK_NS),
            }
        }
    }

    /// Runs an entry and serves what it asks for.
    ///
    /// # Errors
    /// What it did wrong.
    #[inline]
    pub(crate) fn call(&mut self, host: &mut Host, entry: Entry, args: [u64; 3]) -> Result<u64, Fault> {
        self.stay_near();
        self.send(to_guest::CALL | entry as u32, args);
        let mut tick_ns = REAL.now_ns() + TICK_NS;
        loop {
            self.wait_for_message(entry)?;
            for _ in 0..self.new_messages().map_err(|kind| Fault::Trap { entry, kind })? {
                let (what, args) = self.next();
                let nonsense = Fault::Trap { entry, kind: TrapKind::Channel };
                match what & to_host::KIND {
                    to_host::POSTED => {
                        let call = hostcall(what).filter(|&call| is_posted(call)).ok_or(nonsense)?;
                        host.serve(call, args)?;
                    }
                    to_host::ASKED => {
                        let answer = host.serve(hostcall(what).ok_or(nonsense)?, args)?;
                        self.send(to_guest::ANSWER, [answer, 0, 0]);
                    }
                    to_host::RETURNED => return Ok(args[0]),
                    _ => return Err(nonsense),
                }
            }
            // However often it speaks, its time is limited.
            if REAL.now_ns() >= tick_ns {
                host.remote_tick(self.child.cpu_ns())?;
                tick_ns = REAL.now_ns() + TICK_NS;
            }
        }
    }

    #[inline]
    fn send(&mut self, what: u32, args: [u64; 3]) {
        let channel = self.memory.channel();
        channel.to_guest.put(what, args);
        self.sent = self.sent.wrapping_add(1);
        channel.host.publish(self.sent);
        channel.guest.wake_from(&channel.host);
    }

    /// Returns how many messages there are, checked.
    #[inline]
    fn new_messages(&self) -> Result<u32, TrapKind> {
        let new = self.memory.channel().guest.count().wrapping_sub(self.received);
        if new <= SLOTS { Ok(new) } else { Err(TrapKind::Channel) }
    }

    /// Copies the next message; the caller has asked [`new_messages`](Self::new_messages).
    #[inline]
    fn next(&mut self) -> (u32, [u64; 3]) {
        let message = self.memory.channel().to_host[(self.received % SLOTS) as usize].get();
        self.received = self.received.wrapping_add(1);
        message
    }

    /// Waits for a message, or for one tick at most.
    ///
    /// # Errors
    /// If the process has ended and has left none.
    #[inline]
    fn wait_for_message(&mut self, entry: Entry) -> Result<(), Fault> {
        if self.has_message() || self.wait == Wait::Poll && self.spin() {
            return Ok(());
        }
        let ended = self.child.end();
        if self.has_message() {
            return Ok(());
        }
        if let Some(end) = ended {
            return Err(Fault::Trap { entry, kind: end.trap() });
        }
        self.sleep(TICK_NS);
        Ok(())
    }

    #[inline]
    fn has_message(&self) -> bool {
        self.memory.channel().guest.count() != self.received
    }

    fn spin(&self) -> bool {
        let end_ns = REAL.now_ns() + SPIN_NS;
        while REAL.now_ns() < end_ns && self.child.end().is_none() {
            for _ in 0..LOOKS {
                if self.has_message() {
                    return true;
                }
                std::hint::spin_loop();
            }
        }
        false
    }

    fn sleep(&self, most_ns: u64) {
        let channel = self.memory.channel();
        channel.host.sleep(&channel.guest, self.received, Some(Duration::from_nanos(most_ns)));
    }

    /// Keeps the process where it is woken fastest, or does not have to be.
    #[inline]
    fn stay_near(&mut self) {
        // SAFETY: takes nothing and writes nothing.
        let processor = unsafe { libc::sched_getcpu() };
        if processor != self.processor {
            self.processor = processor;
            self.move_child();
        }
    }

    #[cold]
    fn move_child(&self) {
        let Ok(processor) = usize::try_from(self.processor) else { return };
        let Some(mut set) = processors() else { return };
        // SAFETY: changes a set that we own, at a processor that it has room for: the kernel named it.
        unsafe {
            match self.wait {
                Wait::Futex => {
                    libc::CPU_ZERO(&mut set);
                    libc::CPU_SET(processor, &mut set);
                }
                Wait::Poll => libc::CPU_CLR(processor, &mut set),
            }
        }
        if count(&set) > 0 {
            self.child.run_on(&set);
        }
    }
}

/// Returns the hostcall that a message names, if there is one.
#[inline]
fn hostcall(what: u32) -> Option<Hostcall> {
    HOSTCALLS.get((what & !to_host::KIND) as usize).map(|row| row.call)
}
