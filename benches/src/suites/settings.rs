//! What each choice of the sandbox's code generation costs, one at a time.

use nook_runtime::Pages;
use touch_driver::job;

use super::Extent;
use crate::Report;
use crate::levels::{Level, PAGES, Program, SETTINGS};
use crate::rig::{jobs, rounds, touching};
use crate::sample::interleave;

/// Packets each way in a call.
const BATCH: u32 = 32;
/// A frame's payload.
const BYTES: u32 = 1500;
/// Thousands of stores.
const MANY_BYTES: u32 = 65536;

/// What is done with each setting, and what people call it.
pub(crate) const WORK: [(&str, &str); 5] = [
    ("null_call", "null call"),
    ("poll_32", "poll of 32 packets each way: the driver's call alone"),
    ("checksum_1500", "checksum over 1,500 B"),
    ("touch_1500", "copy of 1,500 B word by word"),
    ("touch_65536", "copy of 64 KiB word by word"),
];
const JOBS: [(u32, u32); 4] =
    [(job::NOTHING, 0), (job::CHECKSUM, BYTES), (job::TOUCH, BYTES), (job::TOUCH, MANY_BYTES)];

/// Notes `settings_<work>_<setting>`: the ratio to the level that the setting is a change of.
pub(super) fn measure(report: &mut Report, extent: Extent) {
    let mut settings = SETTINGS.to_vec();
    if let Err(error) = Pages::supported() {
        report.left_out.push(format!("{}: the kernel does not say which pages were written: {error}", PAGES.name));
        settings.retain(|level| *level != PAGES);
    }
    let drivers: Vec<_> = settings.iter().map(touching).collect();
    let each = |(level, drivers): (&Level, _)| {
        let [null, checksum, touch, touch_many] = JOBS.map(|(what, amount)| jobs(drivers, what, amount));
        [null, rounds(&level.launcher(Program::E1000), level.instances(1), BATCH, false), checksum, touch, touch_many]
    };
    let mut subjects: Vec<_> = settings.iter().zip(&drivers).flat_map(each).collect();
    let samples = interleave(&mut subjects, extent.effort());
    for (work, (name, _)) in WORK.iter().enumerate() {
        // Of `poll` the driver's call alone.
        let all = if *name == "poll_32" { &samples.inside } else { &samples.whole };
        let of = |setting: usize| &all[setting * WORK.len() + work];
        for (at, level) in settings.iter().enumerate().skip(1) {
            report.ratio(&format!("settings_{name}_{}", level.key()), of(at), of(0));
        }
    }
}
