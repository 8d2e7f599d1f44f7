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
use crate::progress::Progress;

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

/// Another process works in real time, whatever a nook's clock says. What passes while nobody runs this one does not
/// count.
const REAL: Clock = Clock::Monotonic;

/// How often it is looked how much CPU time the process has used outside calls.
const IDLE_LOOK_NS: u64 = 100_000_000;

/// CPU time that a process may use after each call besides what it spins, until it sleeps: some hundred times what it
/// needs. However many calls there are, they explain [half](LEAST_REST) of the time between them at most.
const AFTER_CALL_NS: u64 = 100_000;

/// Of the time between calls, the part that a process that does not spin must be at rest, as a divisor.
const LEAST_REST: u64 = 2;

/// How long a process may wait for its host's processor, in nanoseconds, until it may take any other.
const STARVED_NS: u64 = 50_000_000;
/// How long a process may sleep by itself in a call on virtual time, in nanoseconds of real time: nothing that it could
/// wait for passes there.
const ASLEEP_NS: u64 = 5_000_000_000;

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

/// What a process has used outside calls. It is asked in calls only: who is not called is not looked at.
#[derive(Default)]
struct IdleTime {
    /// When that was last looked at, what its CPU clock was then, and what calls have taken since.
    looked_ns: u64,
    cpu_ns: u64,
    calls: u64,
    in_calls_ns: u64,
    /// CPU time that it used and that its calls do not explain.
    unexplained_ns: u64,
}

impl IdleTime {
    /// A call has ended that took this long.
    #[inline]
    fn called(&mut self, took_ns: u64) {
        self.calls += 1;
        self.in_calls_ns += took_ns;
    }

    /// Returns the CPU time that the process used for no call. `cpu_ns` is its CPU clock; it may poll for `spin_ns`
    /// after each call.
    fn look(&mut self, now_ns: u64, cpu_ns: u64, spin_ns: u64) -> u64 {
        let between_ns = now_ns.saturating_sub(self.looked_ns).saturating_sub(self.in_calls_ns);
        // One that spins may do so all the time: the processor is its own.
        let most_ns = if spin_ns > 0 { between_ns } else { between_ns / LEAST_REST };
        let explained_ns = self.in_calls_ns + most_ns.min(self.calls * (spin_ns + AFTER_CALL_NS));
        if self.looked_ns != 0 {
            let used_ns = self.unexplained_ns + cpu_ns.saturating_sub(self.cpu_ns);
            self.unexplained_ns = used_ns.saturating_sub(explained_ns);
        }
        *self = IdleTime { looked_ns: now_ns, cpu_ns, unexplained_ns: self.unexplained_ns, ..IdleTime::default() };
        self.unexplained_ns
    }
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
    idle: IdleTime,
}

impl Connection {
    pub(crate) fn new(memory: Arc<Memory>, child: Child, wait: Wait) -> Self {
        Connection { memory, child, wait, sent: 0, received: 0, processor: -1, idle: IdleTime::default() }
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
        let begun_ns = REAL.now_ns();
        if begun_ns >= self.idle.looked_ns + IDLE_LOOK_NS {
            self.look_at_idle_time(host, entry, begun_ns)?;
        }
        let outcome = self.run(host, entry, args, begun_ns + TICK_NS);
        self.idle.called(REAL.now_ns().saturating_sub(begun_ns));
        outcome
    }

    /// Checks the CPU time that the process used for no call: it would take its host's processor from others.
    #[cold]
    fn look_at_idle_time(&mut self, host: &Host, entry: Entry, now_ns: u64) -> Result<(), Fault> {
        let unexplained_ns = self.idle.look(now_ns, self.child.cpu_ns(), self.wait.spin_ns());
        let limit_ns = host.process_cpu_ns();
        if unexplained_ns > limit_ns { Err(Fault::CpuBudget { entry, limit_ns }) } else { Ok(()) }
    }

    #[inline]
    fn run(&mut self, host: &mut Host, entry: Entry, args: [u64; 3], mut tick_ns: u64) -> Result<u64, Fault> {
        self.stay_near();
        self.send(to_guest::CALL | entry as u32, args);
        let mut progress = None;
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
                self.tick(host, entry, &mut progress)?;
                tick_ns = REAL.now_ns() + TICK_NS;
            }
        }
    }

    /// Checks the time of a call that has lasted longer than a tick.
    #[cold]
    fn tick(&mut self, host: &mut Host, entry: Entry, progress: &mut Option<Progress>) -> Result<(), Fault> {
        let (now_ns, cpu_ns, state) = (REAL.now_ns(), self.child.cpu_ns(), self.child.state());
        let progress = progress.get_or_insert_with(|| Progress::new(now_ns, cpu_ns, state));
        let nobodys_ns = progress.look(now_ns, cpu_ns, state);
        if progress.take_starved(STARVED_NS) && self.wait == Wait::Futex {
            self.let_child_go();
        }
        if host.clock().is_virtual() && progress.has_slept(ASLEEP_NS) {
            return Err(Fault::WallBudget { entry, limit_ns: ASLEEP_NS });
        }
        host.remote_tick(cpu_ns, nobodys_ns)
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

    /// Lets the process run on any processor but the one on which it waits, until the next call.
    #[cold]
    fn let_child_go(&mut self) {
        let Ok(processor) = usize::try_from(self.processor) else { return };
        let Some(mut set) = processors().filter(|set| count(set) > 1) else { return };
        tracing::debug!("the driver's process waits for processor {processor} in vain and gets another");
        // SAFETY: changes a set that we own, at a processor that it has room for: the kernel named it.
        unsafe { libc::CPU_CLR(processor, &mut set) };
        self.child.run_on(&set);
        self.processor = -1;
    }
}

/// Returns the hostcall that a message names, if there is one.
#[inline]
fn hostcall(what: u32) -> Option<Hostcall> {
    HOSTCALLS.get((what & !to_host::KIND) as usize).map(|row| row.call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_calls_explain_is_not_held_against_a_process_and_what_they_do_not_is_summed_up() {
        const MS: u64 = 1_000_000;
        let mut idle = IdleTime::default();
        assert_eq!(idle.look(100 * MS, 7 * MS, 0), 0, "its start is nobody's");
        idle.called(5 * MS);
        assert_eq!(idle.look(200 * MS, 12 * MS + AFTER_CALL_NS, 0), 0);
        assert_eq!(idle.look(300 * MS, 15 * MS, 0), 3 * MS - AFTER_CALL_NS);
        let before = idle.unexplained_ns;
        assert_eq!(idle.look(400 * MS, 16 * MS, 0), before + MS);
        idle.called(50 * MS);
        assert_eq!(idle.look(500 * MS, 16 * MS, 0), 0, "an honest one is forgiven what a busy machine added");
        idle.called(0);
        assert_eq!(idle.look(600 * MS, 16 * MS + SPIN_NS + AFTER_CALL_NS, SPIN_NS), 0, "it looks for the next call");
    }

    #[test]
    fn a_process_that_never_rests_is_found_however_often_it_is_called() {
        const MS: u64 = 1_000_000;
        let used_in_100_ms = |cpu_ns| {
            let mut idle = IdleTime::default();
            idle.look(100 * MS, 0, 0);
            (0..10_000).for_each(|_| idle.called(1_000));
            idle.look(200 * MS, cpu_ns, 0)
        };
        assert_eq!(used_in_100_ms(100 * MS), 45 * MS);
        assert_eq!(used_in_100_ms(30 * MS), 0, "2 µs beside each call");
    }
}
