//! How long a call into a driver may run.
//!
//! Time cells are set every [`TICK_NS`] in calls in process context; compiled code notices at its next back-edge or
//! function entry and asks [`Budget::tick`], which reads the CPU time of the thread. So a budget is kept to within one
//! tick, and a call that is short never reads a clock. Of calls in interrupt and atomic context the clock's thread
//! keeps the budget, see [`watch`](crate::watch). Time that the driver spends in sleeps and delays that it is allowed
//! is not charged as work, but it ends: a driver that waits for a bit that never comes is at fault, however patiently
//! it waits.
//!
//! Time in which the driver could not run is nobody's. The [clock](nook_bus::Clock) stands while the whole process was
//! stopped. What a thread waits for a processor counts as wall time for it, so when a call is about to be ended by wall
//! time, the kernel is asked how long the thread has waited, and that is taken off.

use nook_abi::{Context, Entry, Fault};

use crate::clock::thread_waited_ns;
use crate::virtual_time::{INSTRUCTION_NS, NET_CPU_NS};

/// Nanoseconds between ticks.
pub const TICK_NS: u64 = 2_000_000;

/// CPU time after which a call may be waiting for what its held-back writes are to bring about. Much more than a good
/// call takes, also on a busy virtual machine: what was released cannot be recalled.
const MAY_WAIT_NS: u64 = 20_000_000;

/// What part of its CPU time a call may use while calls are [short](crate::Nook::shorten_calls): more than twenty times
/// what a good driver needs.
pub const SHORT_CALLS: u64 = 4;

/// How often it is noted, at a call's first tick, how long the thread has waited for a processor: as much of what it
/// waited before the call may be taken off the call's time.
pub(crate) const NOTE_WAITED_NS: u64 = 100_000_000;

/// What each kind of call may use, in nanoseconds.
///
/// CPU time is the driver's own doing and is limited tightly. Wall time also counts what a busy machine takes away,
/// so that limit is much larger: a good driver on a noisy machine is not at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// `irq`.
    pub interrupt_cpu_ns: u64,
    /// `poll`, `timer`.
    pub atomic_cpu_ns: u64,
    /// Everything else.
    pub process_cpu_ns: u64,
    /// `irq`, `poll`, `timer`: from beginning to end.
    pub short_wall_ns: u64,
    /// Everything else: from beginning to end, sleeps not counted.
    pub process_wall_ns: u64,
    /// Everything else: from beginning to end, sleeps counted.
    pub process_total_ns: u64,
    /// Until work that was given is returned, while the driver can do it.
    pub transmit_ns: u64,
    /// For how long nothing at all may come of work, while nothing outside holds the device up.
    pub stall_ns: u64,
    /// Without an interrupt, until the host looks for itself whether something was received.
    pub quiet_ns: u64,
    /// Between two looks at the device's counters, while there is traffic.
    pub counters_ns: u64,
    /// Of a driver whose instructions are [counted](crate::DriverModule::metered): what one of them is taken to last. A
    /// call ends, at the same instruction each time, when they have used up its CPU time.
    pub instruction_ns: u64,
    /// On virtual time: CPU time that compiled code may really take between two moments of it. What a call that is
    /// ended by it had done may differ from run to run, so it is much more than any good call takes, and than the
    /// instructions that a call may execute where they are counted.
    pub net_cpu_ns: u64,
}

impl Default for Budgets {
    /// Returns a hundred times what a good driver needs: in a virtual machine, CPU time also holds what the machine
    /// below takes away.
    fn default() -> Self {
        Budgets {
            interrupt_cpu_ns: 100_000_000,
            atomic_cpu_ns: 200_000_000,
            process_cpu_ns: 2_000_000_000,
            short_wall_ns: 2_000_000_000,
            process_wall_ns: 20_000_000_000,
            process_total_ns: 60_000_000_000,
            transmit_ns: 10_000_000_000,
            stall_ns: 500_000_000,
            quiet_ns: 1_000_000_000,
            counters_ns: 10_000_000_000,
            instruction_ns: INSTRUCTION_NS,
            net_cpu_ns: NET_CPU_NS,
        }
    }
}

/// What of a budget was used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Cpu,
    Wall,
}

/// The budget of the call that is running.
pub(crate) struct Budget {
    limits: Budgets,
    /// Calls may use only the [`SHORT_CALLS`]th part of their CPU time.
    short: bool,
    entry: Entry,
    /// CPU and wall time at the first tick of this call.
    first_tick: Option<(u64, u64)>,
    /// On virtual time: CPU time at the first tick since it is as late as it is, and how late.
    stands_since: Option<(u64, u64)>,
    /// Time in this call that is not charged: allowed sleeps (wall only) and delays (both).
    slept_ns: u64,
    delayed_ns: u64,
    /// Time in this call in which the driver could not run: charged to nobody.
    lost_ns: u64,
    /// How long the thread had ever waited for a processor when the kernel was last asked, and when that was.
    waited_ns: u64,
    noted_ns: u64,
    /// Asks the kernel.
    thread_waited_ns: fn() -> u64,
    /// CPU time that this call and earlier ones used after their first tick, and that nobody asked for yet.
    long_ns: u64,
    /// The part of it that is this call's.
    long_in_call_ns: u64,
}

impl Budget {
    pub(crate) fn new(limits: Budgets) -> Self {
        Budget {
            limits,
            short: false,
            entry: Entry::Probe,
            first_tick: None,
            stands_since: None,
            slept_ns: 0,
            delayed_ns: 0,
            lost_ns: 0,
            waited_ns: 0,
            noted_ns: 0,
            thread_waited_ns,
            long_ns: 0,
            long_in_call_ns: 0,
        }
    }

    /// Returns what may be used.
    pub(crate) fn limits(&self) -> &Budgets {
        &self.limits
    }

    /// Says whether calls are short from now on.
    pub(crate) fn shorten(&mut self, short: bool) {
        self.short = short;
    }

    /// Returns the entry that runs, or ran last.
    pub(crate) fn entry(&self) -> Entry {
        self.entry
    }

    /// Takes the CPU time that long calls have used since this was last called, in nanoseconds: calls that a tick did
    /// not find under way cost nothing, so an ordinary driver is never charged.
    #[inline]
    pub(crate) fn take_long_ns(&mut self) -> u64 {
        std::mem::take(&mut self.long_ns)
    }

    /// Begins a call.
    #[inline]
    pub(crate) fn begin(&mut self, entry: Entry) {
        self.entry = entry;
        self.first_tick = None;
        self.slept_ns = 0;
        self.delayed_ns = 0;
        self.lost_ns = 0;
        self.long_in_call_ns = 0;
    }

    /// Excuses time that the driver was allowed to sleep.
    pub(crate) fn excuse_sleep(&mut self, ns: u64) {
        self.slept_ns += ns;
    }

    /// Excuses time that the driver was allowed to spin.
    pub(crate) fn excuse_delay(&mut self, ns: u64) {
        self.delayed_ns += ns;
    }

    /// Excuses time in which the driver could not run.
    pub(crate) fn excuse_lost(&mut self, ns: u64) {
        self.lost_ns += ns;
    }

    /// Returns whether the call has worked for so long that it may be waiting for something.
    pub(crate) fn may_wait(&self) -> bool {
        self.long_in_call_ns >= MAY_WAIT_NS
    }

    /// Checks the call at a tick. `cpu` is a clock of the CPU time that its thread or process has used, `wall` the
    /// nook's.
    pub(crate) fn tick(&mut self, cpu: u64, wall: u64) -> Result<(), Fault> {
        let Some((first_cpu, first_wall)) = self.first_tick else {
            // Up to one tick has passed unseen; what was excused until now belongs to it.
            self.slept_ns = 0;
            self.delayed_ns = 0;
            self.lost_ns = 0;
            self.first_tick = Some((cpu, wall));
            if wall.saturating_sub(self.noted_ns) >= NOTE_WAITED_NS {
                self.take_waited_ns(wall);
            }
            return Ok(());
        };
        let used = cpu.saturating_sub(first_cpu);
        self.used(used);
        let total = wall - first_wall;
        let worked = used.saturating_sub(self.delayed_ns) + TICK_NS;
        let outcome = self.within(worked, total);
        if !matches!(outcome, Err(Fault::WallBudget { .. })) {
            return outcome;
        }
        self.lost_ns += self.take_waited_ns(wall);
        self.within(worked, total)
    }

    /// Notes how much CPU time the call has used since a tick found it under way.
    pub(crate) fn used(&mut self, used_ns: u64) {
        self.long_ns += used_ns.saturating_sub(self.long_in_call_ns);
        self.long_in_call_ns = self.long_in_call_ns.max(used_ns);
    }

    /// Returns the fault of a call in interrupt or atomic context that has used this up.
    pub(crate) fn over(&self, limit: Limit) -> Fault {
        let [cpu_limit, wall_limit, _] = self.limits_here();
        match limit {
            Limit::Cpu => Fault::CpuBudget { entry: self.entry, limit_ns: cpu_limit },
            Limit::Wall => Fault::WallBudget { entry: self.entry, limit_ns: wall_limit },
        }
    }

    /// Returns for how long the thread has waited for a processor since this was last asked.
    #[cold]
    fn take_waited_ns(&mut self, wall: u64) -> u64 {
        let waited_ns = (self.thread_waited_ns)();
        self.noted_ns = wall;
        waited_ns.saturating_sub(std::mem::replace(&mut self.waited_ns, waited_ns))
    }

    /// Begins a call on virtual time.
    pub(crate) fn begin_virtual(&mut self, now: u64) {
        self.first_tick = Some((0, now));
    }

    /// Checks that a call on [virtual time](Self::begin_virtual) is within its limits until now. All of it was work but
    /// for what is excused.
    pub(crate) fn check_virtual(&self, now: u64) -> Result<(), Fault> {
        self.within(self.worked_virtual(now), self.lasted_virtual(now))
    }

    /// Returns how long such a call has worked.
    pub(crate) fn worked_virtual(&self, now: u64) -> u64 {
        self.lasted_virtual(now).saturating_sub(self.slept_ns + self.delayed_ns)
    }

    fn lasted_virtual(&self, now: u64) -> u64 {
        self.first_tick.map_or(0, |(_, begun)| now - begun)
    }

    /// Checks the call at a tick of real time. One that has used `net_ns` of CPU time at one moment of virtual time
    /// is beyond its limits too.
    pub(crate) fn tick_on_virtual_time(&mut self, cpu: u64, now: u64, net_ns: u64) -> Result<(), Fault> {
        let since = self.stands_since.filter(|&(_, at)| at == now).map_or(cpu, |(since, _)| since);
        self.stands_since = Some((since, now));
        if cpu.saturating_sub(since) <= net_ns {
            return Ok(());
        }
        Err(Fault::CpuBudget { entry: self.entry, limit_ns: self.limits_here()[0] })
    }

    /// Returns how many instructions a call may execute where they are counted.
    pub(crate) fn instructions(&self, context: Context) -> u64 {
        let [cpu_ns, ..] = self.limits_of(context);
        cpu_ns / self.limits.instruction_ns.max(1)
    }

    /// Returns the CPU time, time awake, and time in all that such a call may use, in nanoseconds.
    fn limits_here(&self) -> [u64; 3] {
        self.limits_of(self.entry.context())
    }

    fn limits_of(&self, context: Context) -> [u64; 3] {
        let limits = &self.limits;
        let [cpu_ns, awake_ns, total_ns] = match context {
            Context::Interrupt => [limits.interrupt_cpu_ns, limits.short_wall_ns, limits.short_wall_ns],
            Context::Atomic => [limits.atomic_cpu_ns, limits.short_wall_ns, limits.short_wall_ns],
            Context::Process => [limits.process_cpu_ns, limits.process_wall_ns, limits.process_total_ns],
        };
        [if self.short { cpu_ns / SHORT_CALLS } else { cpu_ns }, awake_ns, total_ns]
    }

    fn within(&self, used: u64, total: u64) -> Result<(), Fault> {
        let [cpu_limit, awake_limit, total_limit] = self.limits_here();
        if used > cpu_limit {
            return Err(Fault::CpuBudget { entry: self.entry, limit_ns: cpu_limit });
        }
        let total = total.saturating_sub(self.lost_ns);
        let awake = total.saturating_sub(self.slept_ns + self.delayed_ns);
        for (took, limit_ns) in [(awake, awake_limit), (total, total_limit)] {
            if took > limit_ns {
                return Err(Fault::WallBudget { entry: self.entry, limit_ns });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    thread_local! {
        static WAITED: Cell<u64> = const { Cell::new(0) };
        static ASKED: Cell<u32> = const { Cell::new(0) };
    }

    fn budget() -> Budget {
        let thread_waited_ns = || {
            ASKED.set(ASKED.get() + 1);
            WAITED.get()
        };
        let mut budget = Budget { thread_waited_ns, ..Budget::new(Budgets::default()) };
        budget.begin(Entry::Irq);
        budget
    }

    #[test]
    fn what_a_thread_waits_for_a_processor_is_taken_off_when_a_limit_is_reached() {
        let mut budget = budget();
        WAITED.set(7 * SECOND);
        budget.tick(0, SECOND).unwrap();
        assert_eq!(ASKED.get(), 1);
        WAITED.set(9 * SECOND);
        budget.tick(0, 3 * SECOND).unwrap();
        assert_eq!(ASKED.get(), 1, "only when a limit is reached");
        budget.tick(0, 5 * SECOND).unwrap();
        let fault = budget.tick(0, 5 * SECOND + 1);
        assert_eq!(fault, Err(Fault::WallBudget { entry: Entry::Irq, limit_ns: 2 * SECOND }));
        budget.begin(Entry::Irq);
        WAITED.set(12 * SECOND);
        budget.tick(0, 10 * SECOND).unwrap();
        assert!(budget.tick(0, 13 * SECOND).is_err(), "what was waited for before the call is no part of it");
    }

    #[test]
    fn short_calls_do_not_ask_the_kernel_each_time() {
        let mut budget = budget();
        for tick in 0..1000 {
            budget.begin(Entry::Poll);
            budget.tick(0, SECOND + tick * TICK_NS).unwrap();
        }
        assert_eq!(ASKED.get(), 20);
    }

    #[test]
    fn work_is_charged_however_long_the_thread_waited() {
        let mut budget = budget();
        budget.tick(0, SECOND).unwrap();
        WAITED.set(60 * SECOND);
        budget.excuse_lost(60 * SECOND);
        let limit_ns = Budgets::default().interrupt_cpu_ns;
        assert_eq!(budget.tick(limit_ns, 2 * SECOND), Err(Fault::CpuBudget { entry: Entry::Irq, limit_ns }));
    }

    #[test]
    fn short_calls_have_a_part_of_their_cpu_time_and_all_of_the_rest() {
        let limit_ns = Budgets::default().interrupt_cpu_ns / SHORT_CALLS;
        let used = |short| {
            let mut budget = budget();
            budget.shorten(short);
            budget.tick(0, SECOND).unwrap();
            budget.tick(limit_ns, 2 * SECOND)
        };
        assert_eq!(used(false), Ok(()));
        assert_eq!(used(true), Err(Fault::CpuBudget { entry: Entry::Irq, limit_ns }));
    }

    #[test]
    fn the_kernel_says_how_long_a_thread_has_waited() {
        let begin = thread_waited_ns();
        (0..100).for_each(|_| std::thread::yield_now());
        assert!(thread_waited_ns() >= begin);
    }
}
