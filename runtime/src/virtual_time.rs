//! Virtual time: what passes of it, and how it limits a call.
//!
//! On a [virtual clock](nook_bus::Clock) time stands still while code runs, whatever machine that is on. It passes by
//! fixed amounts, which are about what a small machine takes: so it never stands still for good, and code that waits
//! for time to pass gets there. Where the nook would wait, it jumps to what is due next.
//!
//! A call's budget is what it may use of virtual time, and is looked at in each hostcall, so that a call that goes on
//! too long is ended at the same hostcall each time. A loop without hostcalls takes no virtual time at all. For those
//! a driver's instructions are counted ([`DriverModule::metered`](crate::DriverModule::metered)), and a call ends
//! after [as many](crate::Budgets::instruction_ns) as fit into its budget. Behind that, and for code that nothing
//! counts, is a net: ticks of real time, which change nothing in a call that ends within
//! [`Budgets::net_cpu_ns`](crate::Budgets::net_cpu_ns).

use nook_abi::Fault;

use crate::Host;
use crate::budget::Limit;

/// What passes in each turn of a nook.
pub(crate) const TURN_NS: u64 = 500;
/// What passes for each thing that came out of the driver: what 1500 bytes take at 1 Gbit/s.
pub(crate) const THING_NS: u64 = 12_000;
/// What passes in each call of the driver, besides its hostcalls.
const ENTRY_NS: u64 = 500;
/// What passes in each hostcall.
const HOSTCALL_NS: u64 = 100;
/// What passes each time that the device works while the driver waits.
pub(crate) const SERVICE_NS: u64 = 500;
/// What an instruction is taken to last, if nothing else is said: some ten times what it does on a small machine.
pub(crate) const INSTRUCTION_NS: u64 = 10;
/// Real CPU time that compiled code may take between two moments of virtual time, if nothing else is said: a hundred
/// times what any good driver takes.
pub(crate) const NET_CPU_NS: u64 = 1_000_000_000;

impl Host {
    /// Charges for a call that begins.
    #[inline]
    pub(crate) fn charge_call(&mut self) {
        if self.clock.is_virtual() {
            self.clock.charge(ENTRY_NS);
            self.call.budget.begin_virtual(self.clock.now_ns());
        }
    }

    /// Charges for a hostcall. Without `limit`, nothing ends the call.
    #[inline]
    pub(crate) fn charge_hostcall(&mut self, limit: bool) -> Result<(), Fault> {
        if !self.clock.is_virtual() {
            return Ok(());
        }
        self.clock.charge(HOSTCALL_NS);
        if limit { self.call.budget.check_virtual(self.clock.now_ns()) } else { Ok(()) }
    }

    /// Returns the fault of a call that has executed all the instructions that it may.
    #[cold]
    pub(crate) fn out_of_instructions(&mut self) -> Fault {
        let fault = self.call.budget.over(Limit::Cpu);
        self.charge_to_limit(fault);
        fault
    }

    /// On virtual time, a call that is ended for this has lasted as long as it may.
    fn charge_to_limit(&mut self, fault: Fault) {
        if let Fault::CpuBudget { limit_ns, .. } = fault {
            let unused_ns = limit_ns.saturating_sub(self.call.budget.worked_virtual(self.clock.now_ns()));
            self.clock.charge(unused_ns);
        }
    }

    /// Handles a tick of real time during a call on virtual time. A correct call would have come further by now.
    #[cold]
    pub(crate) fn tick_on_virtual_time(&mut self, cpu_ns: u64) -> Result<(), Fault> {
        let net_ns = self.call.budget.limits().net_cpu_ns;
        let outcome = self.call.budget.tick_on_virtual_time(cpu_ns, self.clock.now_ns(), net_ns);
        if let Err(fault) = outcome {
            self.charge_to_limit(fault);
        }
        outcome
    }
}
