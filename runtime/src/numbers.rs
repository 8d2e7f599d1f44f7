//! Tables of limits in documents, made of the constants that are in force: here of every driver's, docs/expects.md, and
//! in the folder of each class of its drivers'. Tests only.
//!
//! `NOOK_BLESS=1 cargo test --release --workspace --exclude xtask --lib -- numbers` writes the tables again.

use std::fs;
use std::path::Path;

use nook_instrument::undo::layout::LOG_BYTES;

use crate::{Budgets, budget, dma, driver_log, limits, load, loop_monitor, serve, survey};

/// A limit: what it is of, how much that is, and what comes of more.
pub(crate) type Limit<'a> = (&'a str, String, &'a str);

const BEGIN: &str = "<!-- limits: written by a test, see runtime/src/numbers.rs -->\n\n";
const END: &str = "\n<!-- end of limits -->\n";

/// Asserts that the document in docs/ has these limits in its table.
#[track_caller]
pub(crate) fn stand_in(document: &str, limits: &[Limit<'_>]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(document);
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the document has a place for its limits");
    let (found, after) = rest.split_once(END).expect("and its end");
    let mut table = "| what | limit | beyond it |\n|---|---|---|\n".to_owned();
    for (what, limit, beyond) in limits {
        table += &format!("| {what} | {limit} | {beyond} |\n");
    }
    if std::env::var_os("NOOK_BLESS").is_some() {
        fs::write(&path, [before, BEGIN, &table, END, after].concat()).unwrap();
        return;
    }
    let how = "if that is right: NOOK_BLESS=1 cargo test --release --workspace --exclude xtask --lib -- numbers";
    assert_eq!(found, table, "{document}: {how}");
}

/// Returns a time in its largest unit that says all of it.
pub(crate) fn time(ns: u64) -> String {
    match ns {
        _ if ns.is_multiple_of(1_000_000_000) => format!("{} s", ns / 1_000_000_000),
        _ if ns.is_multiple_of(1_000_000) => format!("{} ms", ns / 1_000_000),
        _ => format!("{:.2} ms", ns as f64 / 1e6),
    }
}

/// Returns a number of bytes in its largest unit that says all of it.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) && bytes >= 16 << 10 => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} bytes"),
    }
}

#[test]
fn numbers_of_every_driver_stand_in_the_document() {
    let budgets = Budgets::default();
    let refused = "the driver is refused";
    let shape = limits::MOST.iter().map(|&(what, most)| (what, most.to_string(), refused));
    let mut limits = vec![
        ("`irq`: processor time of a call", time(budgets.interrupt_cpu_ns), "`CpuBudget`"),
        ("`poll`, `timer`, `invoke`: processor time", time(budgets.atomic_cpu_ns), "`CpuBudget`"),
        ("these four: from beginning to end", time(budgets.short_wall_ns), "`WallBudget`"),
        ("every other entry: processor time", time(budgets.process_cpu_ns), "`CpuBudget`"),
        ("every other entry: from beginning to end, without its sleeps", time(budgets.process_wall_ns), "`WallBudget`"),
        ("every other entry: from beginning to end, with them", time(budgets.process_total_ns), "`WallBudget`"),
        ("the host looks at a call that runs, every", time(budget::TICK_NS), "-"),
        ("one `delay_ns`", time(serve::MAX_DELAY_NS.into()), "`BadArgument`"),
        ("one `sleep_ns`", time(serve::MAX_SLEEP_NS), "`BadArgument`"),
        ("messages to the log, in a second", driver_log::LIMIT_PER_S.to_string(), "`LogFlood`"),
        ("a message", bytes(nook_abi::log_level::MAX_BYTES.into()), "`BadArgument`; the SDK cuts it off"),
        ("interrupts in a row of which nothing comes", loop_monitor::STORM.to_string(), "`InterruptStorm`"),
        (
            "times in a row that the host finds what no interrupt announced",
            loop_monitor::UNANNOUNCED.to_string(),
            "`InterruptsMasked`",
        ),
        (
            "answers `Again` in a row of which nothing comes",
            loop_monitor::VAIN_TURNS.to_string(),
            "pauses between calls, longer each time",
        ),
        ("such a pause", time(loop_monitor::MAX_VAIN_REST_NS), "it gets no longer"),
        ("doorbells that are left in the host page", nook_abi::DOORBELLS.to_string(), "the next one is a hostcall"),
        ("what the undo log of a call holds", bytes(LOG_BYTES), "trap `UndoLogFull`"),
        ("DMA regions at a time", dma::MAX_REGIONS.to_string(), "`NoMemory`"),
        ("their alignment", bytes(serve::MAX_ALIGN_BYTES.into()), "`BadArgument`"),
        ("the DMA window: `dma_bytes` and the buffers of the class", bytes(load::MAX_WINDOW_BYTES), refused),
        ("the module's data and stack", bytes(survey::MAX_OWN_BYTES), refused),
        ("the file", bytes(load::MAX_FILE_BYTES), refused),
    ];
    limits.extend(shape);
    stand_in("expects.md", &limits);
}
