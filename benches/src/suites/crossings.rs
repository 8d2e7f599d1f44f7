//! Crossings: the call itself, calls back into the host, registers, interrupts.

use touch_driver::job;

use super::{Extent, beyond, note_levels, ns};
use crate::Report;
use crate::levels::{DIRECT, Level, MPK, Program, SFI, SFI_TXN, levels};
use crate::rig::{jobs, rounds, touching};
use crate::sample::{Estimate, interleave};

/// Number of crossings in a call: what the call itself costs is subtracted.
const IN_A_CALL: u32 = 64;
/// Packets each way that an interrupt announces: as many as an interrupt of the paper's experiment stood for.
const PER_INTERRUPT: u32 = 8;

const JOBS: [(&str, u32, u32); 4] = [
    ("null_call", job::NOTHING, 0),
    ("hostcall", job::HOSTCALL, IN_A_CALL),
    ("register_read", job::READ_REGISTER, IN_A_CALL),
    ("register_write", job::WRITE_REGISTER, IN_A_CALL),
];

pub(super) fn measure(report: &mut Report, extent: Extent) {
    calls(report, extent);
    interrupts(report, extent);
}

fn calls(report: &mut Report, extent: Extent) {
    let levels: Vec<Level> = levels().iter().copied().chain([DIRECT]).collect();
    let drivers: Vec<_> = levels.iter().map(touching).collect();
    let each = |drivers| JOBS.map(|(_, what, amount)| jobs(drivers, what, amount));
    let mut subjects: Vec<_> = drivers.iter().flat_map(each).collect();
    let samples = interleave(&mut subjects, extent.effort());
    let at = |level: usize, job: usize| level * JOBS.len() + job;
    for (job, (name, _, _)) in JOBS.iter().enumerate() {
        let costs: Vec<Vec<f64>> = (0..levels.len())
            .map(|level| match job {
                0 => samples.whole[at(level, 0)].clone(),
                _ => beyond(&samples, at(level, job), at(level, 0), IN_A_CALL),
            })
            .collect();
        let direct = levels.len() - 1;
        note_levels(report, name, &levels[..direct], &costs);
        if name.starts_with("register") {
            report.figure(&format!("{name}_direct"), ns(&costs[direct]), "ns");
        }
    }
    let place = |wanted: Level| levels.iter().position(|level| *level == wanted).expect("it is a level");
    for level in [MPK, SFI].iter().filter(|level| levels.contains(level)) {
        let cycles = Estimate::of(&samples.whole[at(place(*level), 0)]);
        report.figure(&format!("null_call_{}_cycles", level.key()), cycles, "cycles");
    }
    let extra = beyond(&samples, at(place(SFI_TXN), 0), at(place(SFI), 0), 1);
    report.figure("null_call_transaction", ns(&extra), "ns");
}

fn interrupts(report: &mut Report, extent: Extent) {
    let subject = |level: &Level| rounds(&level.launcher(Program::E1000), level.instances(1), PER_INTERRUPT, true);
    let mut subjects: Vec<_> = levels().iter().map(subject).collect();
    let samples = interleave(&mut subjects, extent.effort());
    note_levels(report, "interrupt", levels(), &samples.inside);
    note_levels(report, "interrupt_turn", levels(), &samples.whole);
}
