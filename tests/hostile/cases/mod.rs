//! The table of cases: each file is one subject.

mod arguments;
mod chains;
mod counters;
mod device;
mod disks;
mod doorbells;
mod packets;
mod registers;
mod self_harm;
mod time;
mod traps;

use crate::case::Case;

/// Returns every case.
pub fn all() -> impl Iterator<Item = &'static Case> {
    let subjects: [&[Case]; 11] = [
        traps::CASES,
        arguments::CASES,
        counters::CASES,
        registers::CASES,
        doorbells::CASES,
        packets::CASES,
        chains::CASES,
        time::CASES,
        device::CASES,
        self_harm::CASES,
        disks::CASES,
    ];
    subjects.into_iter().flatten()
}
