//! A disk's driver crashes while clients work on what it serves: nothing that was acknowledged is lost. These are the
//! campaigns of `cargo xtask disk-crashes` with few crashes.

mod support;

use std::path::Path;

use nook_tests::disk_crashes::{Campaign, Programs, Workload, power_cuts, run};
use support::{built, is_root};

/// Crashes of each campaign, with requests under way.
const CRASHES: u64 = 50;
/// Crashes under a file system, which has less under way.
const CRASHES_OF_EXT4: u64 = 10;

/// Moments at which power is cut.
const CUTS: u64 = 100;

fn programs(driver: &Path) -> Programs<'_> {
    Programs { nook_run: Path::new(env!("CARGO_BIN_EXE_nook-run")), driver }
}

fn play(campaigns: impl Iterator<Item = Campaign>, crashes: u64) {
    let driver = built("nvme.wasm");
    for campaign in campaigns {
        let outcome = run(programs(&driver), campaign, crashes);
        let outcome = outcome.unwrap_or_else(|error| panic!("{campaign:?}: {error}"));
        println!("{outcome:?}");
        assert!(outcome.is_good(), "{outcome:#?}");
    }
}

#[test]
fn nothing_that_was_acknowledged_to_the_checker_is_lost_while_a_driver_crashes() {
    play(Campaign::all().filter(|it| it.workload == Workload::Checker), CRASHES);
}

#[test]
fn nothing_that_fio_wrote_is_lost_while_a_driver_crashes() {
    play(Campaign::all().filter(|it| it.workload == Workload::Fio), CRASHES);
}

#[test]
#[ignore = "needs root"]
fn a_file_system_keeps_what_was_synced_while_a_driver_crashes() {
    assert!(is_root());
    play(Campaign::all().filter(|it| it.workload == Workload::Ext4), CRASHES_OF_EXT4);
}

#[test]
fn what_is_durable_on_qemu_s_disk_is_there_after_a_power_cut() {
    let driver = built("nvme.wasm");
    let outcome = power_cuts(programs(&driver), CUTS).unwrap_or_else(|error| panic!("{error}"));
    println!("{outcome:?}");
    assert!(outcome.is_good() && outcome.cuts >= CUTS, "{outcome:#?}");
}
