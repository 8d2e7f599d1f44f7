//! What a driver's code can come to, by the hostcalls that each entry can reach, and its register map: all of it known
//! before any of it runs.

use std::fmt::Write;

use anyhow::Result;
use nook_abi::{Entry, HOSTCALLS, Hostcall};
use nook_regs::{ReadEffect, RegisterInfo, RegisterMap, Width, WriteEffect};
use nook_runtime::DriverModule;

/// Hostcalls after which the call that makes them cannot be rolled back: what the device was asked for is not undone.
const ASKS: &[Hostcall] = &[Hostcall::DmaEnable, Hostcall::DmaDisable, Hostcall::IrqEnable, Hostcall::IrqDisable];
/// Hostcalls before which the device sees what was written: if the call has written a register before, it cannot be
/// rolled back any more.
const WAITS: &[Hostcall] = &[
    Hostcall::ConfigRead8,
    Hostcall::ConfigRead16,
    Hostcall::ConfigRead32,
    Hostcall::MmioFlush,
    Hostcall::DelayNs,
    Hostcall::SleepNs,
];

/// The hostcalls that each entry can come to.
pub(super) struct Calls(Vec<(Entry, Vec<Hostcall>)>);

impl Calls {
    pub(super) fn of(module: &DriverModule) -> Result<Self> {
        Ok(Calls(module.calls_by_entry()?))
    }

    /// Returns whether some entry can come to it.
    fn has(&self, call: Hostcall) -> bool {
        self.0.iter().any(|(_, calls)| calls.contains(&call))
    }

    /// Writes each of the module's imports.
    pub(super) fn describe_imports(&self, out: &mut String, imports: &[String]) -> Result<()> {
        writeln!(out, "imports         {}", imports.len())?;
        for row in imports.iter().filter_map(|name| HOSTCALLS.iter().find(|row| row.name == name)) {
            let unused = if self.has(row.call) { "" } else { "Never called: no entry comes to it. " };
            writeln!(out, "  {:<16}{unused}{}", row.name, row.doc)?;
        }
        Ok(())
    }

    /// Writes what keeps the calls of each entry from being rolled back, as far as code and map say.
    pub(super) fn describe_rollback(&self, out: &mut String, map: Option<&RegisterMap>) -> Result<()> {
        writeln!(
            out,
            "rollback        of a call that faults, at sfi+txn, unless it read a register after it wrote one, and"
        )?;
        for (entry, calls) in self.0.iter().filter(|(entry, _)| entry.is_transaction()) {
            let is_in = |set: &[Hostcall]| names(calls.iter().filter(|it| set.contains(it)).map(|it| it.info().name));
            let mut line = |calls: &str, why: &str| match calls {
                "" => Ok(()),
                _ => writeln!(out, "  {:<16}not after {calls}{why}", entry.name()),
            };
            line(&is_in(ASKS), ": nothing undoes that")?;
            line(&is_in(WAITS), ", if it has written a register before")?;
        }
        for (registers, what, why) in
            map.into_iter().flat_map(registers).filter(|(registers, ..)| !registers.is_empty())
        {
            writeln!(out, "  {:<16}not after {what} {registers}: {why}", "each")?;
        }
        let others = self.0.iter().map(|(entry, _)| *entry).filter(|entry| !entry.is_transaction());
        writeln!(out, "  {:<16}{}: they are no transactions", "never", names(others.map(Entry::name)))?;
        Ok(())
    }

    /// Writes what of its device the driver can touch.
    pub(super) fn describe_touched(&self, out: &mut String, map: &RegisterMap) -> Result<()> {
        writeln!(out, "may touch       of its device, by the map `{}`; all else is refused", map.name())?;
        write!(out, "{}", nook_regs_file::touches(map))?;
        let beyond: u32 = map.registers().iter().filter(|info| !self.can_access(info)).map(|info| info.count).sum();
        if beyond > 0 {
            writeln!(out, "  {:<14}{beyond} of these registers: no entry comes to a hostcall of their width", "never")?;
        }
        if !self.has(Hostcall::DmaEnable) {
            writeln!(out, "  {:<14}no DMA: no entry comes to dma_enable", "never")?;
        }
        if !self.has(Hostcall::IrqEnable) {
            writeln!(out, "  {:<14}no interrupt: no entry comes to irq_enable", "never")?;
        }
        Ok(())
    }

    /// Returns whether some entry can come to an access of this register's width. A doorbell of 32 bits can be left
    /// without a hostcall.
    fn can_access(&self, info: &RegisterInfo) -> bool {
        let (read, write, left) = match info.width {
            Width::B1 => (Hostcall::MmioRead8, Hostcall::MmioWrite8, false),
            Width::B2 => (Hostcall::MmioRead16, Hostcall::MmioWrite16, false),
            Width::B4 => (Hostcall::MmioRead32, Hostcall::MmioWrite32, info.write == WriteEffect::Doorbell),
            Width::B8 => (Hostcall::MmioRead64, Hostcall::MmioWrite64, false),
        };
        left || info.access.reads() && self.has(read) || info.access.writes() && self.has(write)
    }
}

/// Returns the registers after whose use no call is rolled back, with what that use is, and why.
fn registers(map: &RegisterMap) -> [(String, &'static str, &'static str); 2] {
    let are = |is_so: &dyn Fn(&RegisterInfo) -> bool| {
        names(map.registers().iter().filter(|info| is_so(info)).map(|info| info.name))
    };
    let is_taken = |info: &RegisterInfo| match info.read {
        ReadEffect::Pops => info.ready.is_none(),
        other => other == ReadEffect::Other,
    };
    [
        (are(&is_taken), "reading", "what it held is lost"),
        (are(&|info| info.write == WriteEffect::Command), "writing", "the device obeys at once"),
    ]
}

fn names(names: impl Iterator<Item = &'static str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use nook_abi::Topic;

    use super::*;

    /// Hostcalls that a rollback undoes, or that change nothing. What one of a register does is the map's to say.
    const UNDONE: &[Hostcall] = &[
        Hostcall::MmioRead8,
        Hostcall::MmioRead16,
        Hostcall::MmioRead32,
        Hostcall::MmioRead64,
        Hostcall::MmioWrite8,
        Hostcall::MmioWrite16,
        Hostcall::MmioWrite32,
        Hostcall::MmioWrite64,
        Hostcall::DmaAlloc,
        Hostcall::DmaFree,
        Hostcall::ClockNs,
        Hostcall::TimerSet,
        Hostcall::WorkSchedule,
        Hostcall::PollSchedule,
    ];

    /// A row that the table gets has to be put into one of the lists; that they are right is asked by tests of crashes
    /// (`nook-run/tests/postmortem.rs`). Messages and a class's calls reach no device.
    #[test]
    fn each_hostcall_that_reaches_the_device_or_waits_is_in_one_of_the_lists() {
        for row in HOSTCALLS {
            let lists = [ASKS, WAITS, UNDONE].into_iter().filter(|list| list.contains(&row.call)).count();
            let reaches = !matches!(row.topic, Topic::Log | Topic::Class);
            assert_eq!(lists, usize::from(reaches), "{}", row.name);
        }
    }
}
