//! A disk's driver crashes while clients work on what it serves: nothing that was acknowledged is lost. These are the
//! campaigns of `cargo xtask disk-crashes` with few crashes.

mod support;

use std::path::Path;

use nook_tests::disk_crashes::{Campaign, How, Programs, Workload, power_cuts, run};
use support::{built, is_root};

/// Crashes of each campaign, with requests under way.
const CRASHES: u64 = 50;
/// Crashes under a file system, which has less under way, and of drivers in processes.
const FEW_CRASHES: u64 = 10;

/// Moments at which power is cut.
const CUTS: u64 = 100;

fn programs(driver: &Path) -> Programs<'_> {
    Programs { nook_run: Path::new(env!("CARGO_BIN_EXE_nook-run")), driver }
}

/// Rolled back and restarted, on both devices.
fn in_wasm(workload: Workload) -> impl Iterator<Item = Campaign> {
    Campaign::all().filter(move |it| it.workload == workload && it.how != How::Kill)
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
    play(in_wasm(Workload::Checker), CRASHES);
    play(Campaign::all().filter(|it| it.workload == Workload::Checker && it.how == How::Kill), FEW_CRASHES);
}

#[test]
fn nothing_that_fio_wrote_is_lost_while_a_driver_crashes() {
    play(in_wasm(Workload::Fio), CRASHES);
}

#[test]
#[ignore = "needs root"]
fn a_file_system_keeps_what_was_synced_while_a_driver_crashes() {
    assert!(is_root());
    play(in_wasm(Workload::Ext4), FEW_CRASHES);
}

#[test]
fn what_is_durable_on_qemu_s_disk_is_there_after_a_power_cut() {
    let driver = built("nvme.wasm");
    for how in How::ALL {
        let outcome = power_cuts(programs(&driver), how, CUTS).unwrap_or_else(|error| panic!("{how:?}: {error}"));
        println!("{outcome:?}");
        assert!(outcome.is_good() && outcome.cuts >= CUTS, "{outcome:#?}");
    }
}
