//! The watch over calls in interrupt and atomic context (short calls), whose deadline checks trap: nobody asks the host
//! in them, so the clock's thread keeps their budget.
//!
//! The host writes a call's number into its [time cell](crate::time_cell) when it begins. When its time is up, the
//! clock sets the cell's lowest bit if the number is still there; so no call is ended for the one before it. An
//! ordinary call costs that one store: only of a call that two ticks in a row found the clock reads how much CPU time
//! its thread has used, then again when it may have used its budget, as wall time is an upper bound of that.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use nook_abi::{Context, Fault};

use crate::Host;
use crate::budget::{Budgets, Limit, NOTE_WAITED_NS, SHORT_CALLS, TICK_NS};
use crate::clock::{ThreadId, thread_cpu_ns};

/// In the cell beside the number: the call is in atomic context.
const ATOMIC: u32 = 2;
/// In interrupt context.
const INTERRUPT: u32 = 4;
/// Bits behind the number.
const NUMBER_SHIFT: u32 = 3;

/// Returns what the cell holds in the call with this number until its time is up; 0 in process context, where deadline
/// checks ask.
#[inline]
pub(crate) const fn cell_value(context: Context, number: u64) -> u32 {
    let context = match context {
        Context::Process => return 0,
        Context::Atomic => ATOMIC,
        Context::Interrupt => INTERRUPT,
    };
    (number as u32) << NUMBER_SHIFT | context
}

/// What the clock and the thread that calls tell each other.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// The thread that calls, 0 before the first call.
    thread: AtomicU32,
    /// Time that calls were allowed to spin in delays, in all.
    delayed_ns: AtomicU64,
    /// The cell's value of a call that two ticks found, 0 if there is none. The call may have ended since.
    long: AtomicU32,
    /// CPU time of its thread at the second of them.
    long_cpu_ns: AtomicU64,
    /// The cell's value of a call whose time is up, and above it whether that is its wall time.
    over: AtomicU64,
    /// Calls end at their next deadline check, whatever they have used.
    ends: AtomicBool,
    /// Calls may use only a part of their CPU time.
    short: AtomicBool,
}

/// In [`Watch::over`]: it is wall time that is up.
const WALL: u64 = 1 << 32;

impl Watch {
    /// Says whether calls end at their next deadline check: those that are short, at a tick.
    pub(crate) fn end_calls(&self, ends: bool) {
        self.ends.store(ends, Ordering::Release);
    }

    /// Returns whether calls end at their next deadline check.
    pub(crate) fn ends_calls(&self) -> bool {
        self.ends.load(Ordering::Acquire)
    }

    /// Returns the CPU time that a call may use, out of what its kind may ordinarily.
    fn cpu_limit_ns(&self, ordinary_ns: u64) -> u64 {
        if self.short.load(Ordering::Acquire) { ordinary_ns / SHORT_CALLS } else { ordinary_ns }
    }

    /// Notes which thread makes the calls.
    pub(crate) fn called_by(&self, thread: ThreadId) {
        self.thread.store(thread.0, Ordering::Release);
    }

    /// Returns the thread that makes the calls.
    pub(crate) fn thread(&self) -> ThreadId {
        ThreadId(self.thread.load(Ordering::Acquire))
    }

    /// Excuses time that the call is allowed to spin.
    pub(crate) fn excuse_delay(&self, ns: u64) {
        // One thread writes it.
        self.delayed_ns.store(self.delayed_ns.load(Ordering::Relaxed) + ns, Ordering::Relaxed);
    }

    /// Returns whether a call was found that may be long.
    #[inline]
    pub(crate) fn is_long(&self) -> bool {
        self.long.load(Ordering::Relaxed) != 0
    }
}

/// What the clock can find out about a thread.
pub(crate) trait Thread {
    /// Returns the CPU time that it has used; none if it has ended.
    fn cpu_ns(&self) -> Option<u64>;
    /// Returns how long it has waited for a processor.
    fn waited_ns(&self) -> u64;
}

/// What time it is at a tick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// For the nook.
    pub(crate) now_ns: u64,
    /// Whether that is virtual: then only CPU time that passes at one moment counts.
    pub(crate) is_virtual: bool,
    /// Really.
    pub(crate) real_ns: u64,
}

/// What the clock has seen of the call that was last in a cell.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    value: u32,
    /// The nook's time at the first tick that found it.
    since_ns: u64,
    /// From the second one on.
    begun: Option<Begun>,
    /// How long the thread had waited for a processor when that was last asked, and when that was.
    waited_ns: u64,
    noted_ns: u64,
}

#[derive(Debug)]
struct Begun {
    cpu_ns: u64,
    delayed_ns: u64,
    /// Time since then in which the thread could not run.
    lost_ns: u64,
    /// Earlier than this, in real time, its CPU time cannot be up.
    next_ns: u64,
}

impl Sight {
    /// Looks at the call that is in the cell. Returns whether its time is up.
    pub(crate) fn look(
        &mut self,
        value: u32,
        at: Moment,
        budgets: &Budgets,
        watch: &Watch,
        thread: &impl Thread,
    ) -> bool {
        let moved = at.is_virtual && at.now_ns != self.since_ns;
        if value != self.value || moved {
            (self.value, self.since_ns, self.begun) = (value, at.now_ns, None);
            return false;
        }
        let cpu_limit = match at.is_virtual {
            true => budgets.net_cpu_ns,
            false if value & INTERRUPT != 0 => watch.cpu_limit_ns(budgets.interrupt_cpu_ns),
            false => watch.cpu_limit_ns(budgets.atomic_cpu_ns),
        };
        let delayed_ns = watch.delayed_ns.load(Ordering::Relaxed);
        let Some(begun) = &mut self.begun else {
            // A thread that has ended makes no call.
            let Some(cpu_ns) = thread.cpu_ns() else { return false };
            let next_ns = at.real_ns + cpu_limit.saturating_sub(2 * TICK_NS);
            self.begun = Some(Begun { cpu_ns, delayed_ns, lost_ns: 0, next_ns });
            if !at.is_virtual {
                if at.real_ns.saturating_sub(self.noted_ns) >= NOTE_WAITED_NS {
                    (self.waited_ns, self.noted_ns) = (thread.waited_ns(), at.real_ns);
                }
                watch.long_cpu_ns.store(cpu_ns, Ordering::Relaxed);
                watch.long.store(value, Ordering::Release);
            }
            return false;
        };
        let took_ns = at.now_ns - self.since_ns;
        if took_ns.saturating_sub(begun.lost_ns) > budgets.short_wall_ns {
            let waited_ns = thread.waited_ns();
            begun.lost_ns += waited_ns.saturating_sub(std::mem::replace(&mut self.waited_ns, waited_ns));
            self.noted_ns = at.real_ns;
            if took_ns.saturating_sub(begun.lost_ns) > budgets.short_wall_ns {
                watch.over.store(u64::from(value) | WALL, Ordering::Release);
                return true;
            }
        }
        if at.real_ns < begun.next_ns {
            return false;
        }
        let Some(cpu_ns) = thread.cpu_ns() else { return false };
        let used_ns = cpu_ns.saturating_sub(begun.cpu_ns).saturating_sub(delayed_ns - begun.delayed_ns);
        // What passed before the second tick was not seen.
        let left_ns = cpu_limit.checked_sub(used_ns + 2 * TICK_NS);
        match left_ns {
            Some(left_ns) => begun.next_ns = at.real_ns + left_ns,
            None => watch.over.store(value.into(), Ordering::Release),
        }
        left_ns.is_none()
    }
}

impl Host {
    /// Says whether calls are short from now on: end after a part of the CPU time that they may ordinarily use.
    pub(crate) fn shorten_calls(&mut self, short: bool) {
        self.call.budget.shorten(short);
        self.call.watch.short.store(short, Ordering::Release);
    }

    /// Returns what the cell holds of the call that runs, as long as its time is not up.
    pub(crate) fn cell_value(&self) -> u32 {
        cell_value(self.call.context, self.counters.entries)
    }

    /// Answers a deadline check of the call that runs.
    #[cold]
    pub(crate) fn check_deadline(&mut self) -> Result<(), Fault> {
        if let Some(fault) = self.player().and_then(|player| player.deadline()) {
            return Err(fault);
        }
        if self.call.context == Context::Process {
            return self.tick(thread_cpu_ns());
        }
        if let Some(fault) = self.device_is_taken() {
            return Err(fault);
        }
        match self.time_is_up() {
            Some(fault) => Err(fault),
            None => self.may_wait(),
        }
    }

    /// Returns the fault of the short call that runs, if the clock has found that its time is up.
    #[cold]
    pub(crate) fn time_is_up(&mut self) -> Option<Fault> {
        let over = self.call.watch.over.load(Ordering::Acquire);
        let value = self.cell_value();
        if value == 0 || over as u32 != value {
            return None;
        }
        let fault = self.call.budget.over(if over & WALL == 0 { Limit::Cpu } else { Limit::Wall });
        if let Fault::CpuBudget { limit_ns, .. } = fault {
            // On virtual time, as if it had worked that long.
            self.clock.charge(limit_ns);
        }
        Some(fault)
    }

    /// Handles a hostcall of a call that may be long: once it has worked for long enough, writes that are held back
    /// reach the device, for it may be waiting for what they bring about.
    #[cold]
    pub(crate) fn may_wait(&mut self) -> Result<(), Fault> {
        if !self.book_long_call() || !self.call.budget.may_wait() {
            return Ok(());
        }
        self.device.device.release().map_err(|error| self.device.failed(error))
    }

    /// Books what a long call has used, when it ends.
    #[cold]
    pub(crate) fn end_long_call(&mut self) {
        if self.book_long_call() {
            self.call.watch.long.store(0, Ordering::Relaxed);
        }
    }

    /// Books what the call has used, if it is the one that the clock found, and returns whether it is.
    fn book_long_call(&mut self) -> bool {
        let long = self.call.watch.long.load(Ordering::Acquire);
        let is_this = long != 0 && long == self.cell_value();
        if is_this {
            let begun_ns = self.call.watch.long_cpu_ns.load(Ordering::Relaxed);
            self.call.budget.used(thread_cpu_ns().saturating_sub(begun_ns));
        } else {
            // It had ended when it was found.
            let _ = self.call.watch.long.compare_exchange(long, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
        is_this
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const MS: u64 = 1_000_000;

    /// A thread that has used this CPU time, and waited as long.
    struct Used(u64, u64);

    impl Thread for Used {
        fn cpu_ns(&self) -> Option<u64> {
            Some(self.0)
        }

        fn waited_ns(&self) -> u64 {
            self.1
        }
    }

    struct Clock {
        sight: Sight,
        watch: Watch,
        budgets: Budgets,
    }

    impl Clock {
        fn new() -> Self {
            Clock { sight: Sight::default(), watch: Watch::default(), budgets: Budgets::default() }
        }

        /// A tick after this time, which has found the call with this number.
        fn tick(&mut self, number: u64, ns: u64, thread: Used) -> bool {
            self.at(cell_value(Context::Atomic, number), SECOND + ns, false, SECOND + ns, thread)
        }

        fn at(&mut self, value: u32, now_ns: u64, is_virtual: bool, real_ns: u64, thread: Used) -> bool {
            let at = Moment { now_ns, is_virtual, real_ns };
            self.sight.look(value, at, &self.budgets, &self.watch, &thread)
        }
    }

    #[test]
    fn the_number_of_a_call_and_its_context_are_in_the_cell_and_the_lowest_bit_is_free() {
        assert_eq!(cell_value(Context::Process, 7), 0);
        assert_eq!([Context::Atomic, Context::Interrupt].map(|context| cell_value(context, 1)), [0b1010, 0b1100]);
        assert_ne!(cell_value(Context::Atomic, 0), 0);
        assert_ne!(cell_value(Context::Atomic, 1 << 29), 0, "when numbers begin again");
    }

    #[test]
    fn a_call_is_ended_when_it_has_used_its_cpu_time_and_not_for_the_one_before_it() {
        let mut clock = Clock::new();
        let ticks = |clock: &mut Clock, number: u64, from: u64, to: u64| {
            (from..to).step_by(2).map(|ms| clock.tick(number, ms * MS, Used(ms * MS, 0))).collect::<Vec<_>>()
        };
        assert!(!ticks(&mut clock, 1, 0, 198).contains(&true));
        assert!(!ticks(&mut clock, 2, 198, 390).contains(&true), "another call");
        assert!(ticks(&mut clock, 2, 390, 402).contains(&true));
        assert_eq!(clock.watch.over.load(Ordering::Relaxed), u64::from(cell_value(Context::Atomic, 2)));
    }

    #[test]
    fn a_short_call_is_ended_after_a_part_of_that_time() {
        let mut clock = Clock::new();
        clock.watch.short.store(true, Ordering::Relaxed);
        let ended = (0..200).step_by(2).find(|ms| clock.tick(1, ms * MS, Used(ms * MS, 0)));
        assert!(ended.is_some_and(|ms| (45..60).contains(&ms)), "{ended:?}");
    }

    #[test]
    fn a_call_whose_thread_does_not_run_is_ended_by_wall_time_and_what_it_waited_for_a_processor_is_taken_off() {
        let mut clock = Clock::new();
        for ms in (0..2000).step_by(2) {
            assert!(!clock.tick(1, ms * MS, Used(0, 0)));
        }
        assert!(!clock.tick(1, 2002 * MS, Used(0, 500 * MS)), "it waited for half a second");
        assert!(!clock.tick(1, 2500 * MS, Used(0, 500 * MS)));
        assert!(clock.tick(1, 2502 * MS, Used(0, 500 * MS)));
        assert_eq!(clock.watch.over.load(Ordering::Relaxed), u64::from(cell_value(Context::Atomic, 1)) | WALL);
    }

    #[test]
    fn delays_are_no_work() {
        let mut clock = Clock::new();
        for ms in (0..1000).step_by(2) {
            assert!(!clock.tick(1, ms * MS, Used(ms * MS, 0)), "after {ms} ms");
            clock.watch.excuse_delay(2 * MS);
        }
    }

    #[test]
    fn on_virtual_time_only_a_second_of_work_at_one_moment_ends_a_call_and_nothing_is_booked() {
        let mut clock = Clock::new();
        let value = cell_value(Context::Interrupt, 1);
        for ms in (0..3000).step_by(2) {
            // Time passes, however slowly.
            assert!(!clock.at(value, ms / 500, true, ms * MS, Used(ms * MS, 0)));
        }
        let ended = (3000..5000).step_by(2).find(|ms| clock.at(value, 99, true, ms * MS, Used(ms * MS, 0)));
        assert!((3990..4010).contains(&ended.unwrap()), "{ended:?}");
        assert!(!clock.watch.is_long());
    }

    #[test]
    fn the_clock_reads_a_threads_time_only_if_it_may_be_up() {
        struct Counted<'a>(&'a std::cell::Cell<u32>);
        impl Thread for Counted<'_> {
            fn cpu_ns(&self) -> Option<u64> {
                self.0.set(self.0.get() + 1);
                Some(0)
            }
            fn waited_ns(&self) -> u64 {
                0
            }
        }
        let (mut clock, reads) = (Clock::new(), std::cell::Cell::new(0));
        for tick in 0..500 {
            let at = Moment { now_ns: SECOND + tick * TICK_NS, is_virtual: false, real_ns: SECOND + tick * TICK_NS };
            let value = cell_value(Context::Atomic, 1);
            clock.sight.look(value, at, &clock.budgets, &clock.watch, &Counted(&reads));
        }
        assert!((2..10).contains(&reads.get()), "{} reads in a second of rest", reads.get());
    }
}
