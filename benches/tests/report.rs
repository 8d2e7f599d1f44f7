//! The report is whole: a run of a few rounds has every name that others rely on. What the numbers are is not the
//! tests' business.

use std::sync::{Mutex, MutexGuard, PoisonError};

use nook_benches::goals::GOALS;
use nook_benches::levels::{MANY, MPK, Program, SETTINGS, levels};
use nook_benches::rig::driver;
use nook_benches::{Extent, Report, docs, measure, page};
use nook_bus::Width;
use nook_runtime::UncheckedBars;
use touch_driver::job;

/// Waits until no other test here has drivers: of protection keys a process has 15, and a run takes most of them.
fn alone() -> MutexGuard<'static, ()> {
    static DRIVERS: Mutex<()> = Mutex::new(());
    // A test that failed has dropped its drivers.
    DRIVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names in goals that need root, a processor with keys, another build, or as many nooks as only a long run has.
fn needs_more(name: &str) -> bool {
    let is_left_out = levels().iter().all(|level| *level != MPK);
    if is_left_out && (name.contains("_mpk")) {
        return true;
    }
    ["nbd_", "paper_", "crash_", "downtime_", "idle_nook_private_1000", "against_"]
        .iter()
        .any(|begin| name.starts_with(begin))
}

#[test]
fn a_run_has_every_name_that_goals_and_documents_rely_on() {
    let _alone = alone();
    let report = measure(Extent::Tiny, |_| ());
    for name in GOALS.iter().flat_map(|goal| goal.names()).filter(|name| !needs_more(name)) {
        let found = report.ratios.contains_key(name) || report.figures.contains_key(name);
        assert!(found, "{name} is neither a ratio nor a figure: {:?}", report.ratios.keys());
    }
    assert!(report.figures.contains_key("idle_nook_private_3_sfi_txn"), "the figure says among how many");
    for size in [1, 32, 255] {
        let [stores, records] =
            ["stores", "records"].map(|name| report.figures[&format!("{name}_per_packet_{size}")].estimate.value);
        assert!(records > 0.0 && records < stores, "{records} of {stores} stores a packet are logged");
    }
    for name in ["snapshot_take", "snapshot_back", "snapshot_bytes"] {
        assert!(report.figures[name].estimate.value > 0.0, "{name}");
    }
    for (name, ratio) in &report.ratios {
        assert!(ratio.is_finite(), "{name} is {ratio}");
        assert!(report.spreads.contains_key(name), "{name} has no spread");
    }
    for sweep in &report.sweeps {
        let levels = if sweep.name == "nooks" { MANY } else { levels() };
        assert!(
            sweep.curves.iter().map(|curve| &curve.level).eq(levels.iter().map(|level| level.name)),
            "{}",
            sweep.name
        );
        assert!(sweep.curves.iter().all(|curve| curve.ns.len() == sweep.xs.len()), "{}", sweep.name);
    }
    let pairs = |curves: usize| curves * (curves - 1) / 2;
    let wanted: usize = report.sweeps.iter().map(|sweep| pairs(sweep.curves.len())).sum();
    assert_eq!(report.crossovers.len(), wanted, "every two levels are compared");

    let text = serde_json::to_string(&report).unwrap();
    let again: Report = serde_json::from_str(&text).unwrap();
    assert_eq!(again.ratios.len(), report.ratios.len());
    let page = page::of(&report).unwrap();
    assert!(page.matches("<svg").count() > report.sweeps.len() && !page.contains("src="), "it stands alone");
}

#[test]
fn the_document_has_marks_for_the_tables() {
    let document = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/performance.md");
    let document = std::fs::read_to_string(document).unwrap();
    assert!(docs::updated(&document, &Report::default()).is_some());
}

#[test]
fn the_touching_driver_does_the_same_work_at_every_level_and_setting() {
    let _alone = alone();
    for (what, amount) in [(job::CHECKSUM, 1500), (job::COPY, 65536), (job::TOUCH, 65536), (job::TOUCH, 60)] {
        let told: Vec<_> = levels()
            .iter()
            .chain(SETTINGS)
            .map(|level| {
                let mut driver = driver(level, Program::Touch);
                for job in [what, job::TELL] {
                    driver.poll(job, amount, 0).unwrap();
                    driver.commit().unwrap();
                }
                UncheckedBars::of(driver.host_mut()).read(0, e1000_regs::TIPG.offset(), Width::B4).unwrap()
            })
            .collect();
        assert!(told[0] != 0 && told.iter().all(|sum| *sum == told[0]), "job {what}: {told:?}");
    }
}

#[test]
fn each_crossing_that_is_asked_for_is_made() {
    const AMOUNT: u64 = 64;
    let _alone = alone();
    for level in levels() {
        let mut driver = driver(level, Program::Touch);
        for (what, name) in [
            (job::HOSTCALL, "hostcalls"),
            (job::READ_REGISTER, "register reads"),
            (job::WRITE_REGISTER, "register writes"),
        ] {
            let counted = |driver: &dyn nook_runtime::Driver| match what {
                job::HOSTCALL => driver.host().counters().hostcalls,
                job::READ_REGISTER => driver.host().counters().reg_reads,
                _ => driver.host().counters().reg_writes,
            };
            let before = counted(&*driver);
            driver.poll(what, AMOUNT as u32, 0).unwrap();
            driver.commit().unwrap();
            assert_eq!(counted(&*driver) - before, AMOUNT, "{name} at level {}", level.name);
        }
    }
}
