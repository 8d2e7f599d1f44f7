//! The report's tables, for the page and for docs/performance.md.

use crate::crossover::Crossover;
use crate::goals::{self, GOALS, short};
use crate::levels::{HERE, LEVELS, Level, SETTINGS, key};
use crate::paper::overload::Load;
use crate::paper::{PAPER, existing};
use crate::sample::Estimate;
use crate::{Report, against, nbd, suites};

/// What a report's extent is that is about existing drivers alone.
pub const EXISTING: &str = "existing";

/// A table.
pub struct Table {
    /// Its heading.
    pub title: &'static str,
    /// What one has to know to read it.
    pub note: &'static str,
    /// The columns' heads.
    pub head: Vec<String>,
    /// The cells.
    pub rows: Vec<Vec<String>>,
}

/// Returns all tables that the report has something for.
pub fn of(report: &Report) -> Vec<Table> {
    let tables = [
        goals(report),
        against::table(report),
        levels(report),
        crossovers(report),
        settings(report),
        undo(report),
        snapshots(report),
        nooks(report),
        paper(report),
        crashes(report),
        overload(report),
        disks(report),
    ];
    let existing = existing::tables(report);
    tables.into_iter().chain(existing).filter(|table| !table.rows.is_empty()).collect()
}

pub(crate) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn goals(report: &Report) -> Table {
    let row = |goal: &goals::Goal| {
        vec![
            goal.what.to_owned(),
            goal.limits(),
            goal.found(report),
            goal.verdict(report).text().to_owned(),
            goal.reference.to_owned(),
        ]
    };
    Table {
        title: "Goals",
        note: "Medians, with the 95 % confidence interval in brackets.",
        head: words(&["what", "goal", "found", "", "reference"]),
        // A run that is about other things has none of them.
        rows: GOALS.iter().filter(|_| report.extent != EXISTING).map(row).collect(),
    }
}

/// What each level's work is compared by: the ratios' names, and what people call it.
const COMPARED: &[(&str, &str)] = &[
    ("null_call", "null call"),
    ("hostcall", "call back into the host"),
    ("register_read", "register read, emulated"),
    ("register_write", "register write, emulated"),
    ("interrupt", "interrupt: irq and poll of 8 packets each way"),
    ("poll_1", "poll of 1 packet each way: the driver's call alone"),
    ("poll_32", "poll of 32"),
    ("poll_255", "poll of 255"),
    ("turn_1", "poll of 1 with the host's work"),
    ("turn_32", "poll of 32 with the host's work"),
    ("turn_255", "poll of 255 with the host's work"),
    ("request_4k_1", "disk, a read of 4 KiB at depth 1: the driver's calls alone"),
    ("request_4k_8", "at depth 8"),
    ("request_4k_32", "at depth 32"),
    ("request_4k_127", "at depth 127"),
    ("request_4k_32_write", "a write at depth 32"),
    ("request_128k_8", "a read of 128 KiB at depth 8"),
    ("request_turns_4k_1", "a read of 4 KiB at depth 1 with the host's and the model's work"),
    ("request_turns_4k_32", "at depth 32"),
    ("request_turns_128k_8", "128 KiB at depth 8"),
    ("checksum_1500", "checksum over 1,500 B"),
    ("copy_1500", "copy of 1,500 B as a whole"),
    ("touch_1500", "copy of 1,500 B word by word"),
    ("pio_1500", "1,500 B out of a register"),
    ("touch_65536", "copy of 64 KiB word by word"),
];

fn levels(report: &Report) -> Table {
    let base = &LEVELS[0];
    let row = |&(name, what): &(&str, &str)| {
        let figure = report.figures.get(&format!("{name}_{}", base.key()))?;
        let ratios = LEVELS[1..].iter().map(|level| {
            let spread = report.spreads.get(&format!("{name}_{}_{}", level.key(), base.key()));
            spread.map_or("-".into(), |spread| goals::text(&spread.estimate, ""))
        });
        Some([vec![what.to_owned(), format!("{} ns", short(figure.estimate.value))], ratios.collect()].concat())
    };
    let ratios = LEVELS[1..].iter().map(|level| format!("{} / {}", level.name, base.name));
    Table {
        title: "Levels",
        note: "Native's time in this run, and the others' ratio to it.",
        head: [words(&["what", base.name]), ratios.collect()].concat(),
        rows: COMPARED.iter().filter_map(row).collect(),
    }
}

fn crossovers(report: &Report) -> Table {
    let mut rows = Vec::new();
    for sweep in &report.sweeps {
        let of_sweep = || report.crossovers.iter().filter(|found| found.sweep == sweep.name);
        let ratios = |found: &Crossover| found.ratios.map(short).join(" … ");
        for found in of_sweep() {
            let Some([point, low, high]) = found.point else { continue };
            rows.push(vec![
                sweep.name.clone(),
                format!("{} overtakes {}", found.large, found.small),
                format!("at {} [{}, {}] {}", short(point), short(low), short(high), sweep.x_label),
                ratios(found),
            ]);
        }
        let never = of_sweep().filter(|found| found.point.is_none());
        let never = never.map(|found| format!("{} / {}: {}", found.large, found.small, ratios(found)));
        let never = never.collect::<Vec<_>>().join("; ");
        rows.push(vec![sweep.name.clone(), "of the others none".into(), "nowhere".into(), never]);
    }
    Table {
        title: "Where one level overtakes another",
        note: "Of every two levels, the one that is slower for the smallest calls overtakes the other where it is \
               surely faster, by more than 3 %, for good. The last column is its cost over the other's, from the \
               smallest call to the largest.",
        head: words(&["sweep", "", "where", "ratio"]),
        rows,
    }
}

fn settings(report: &Report) -> Table {
    let row = |(name, what): &(&str, &str)| {
        let spread = |level: &Level| report.spreads.get(&format!("settings_{name}_{}", level.key()));
        let cells = SETTINGS[1..].iter().map(|level| {
            // Not every kernel has what one of them needs.
            spread(level).map_or("-".into(), |spread| goals::text(&spread.estimate, ""))
        });
        let cells: Vec<_> = cells.collect();
        SETTINGS[1..].iter().any(|level| spread(level).is_some()).then(|| [vec![(*what).to_owned()], cells].concat())
    };
    let head = SETTINGS[1..].iter().map(|level| level.name.to_owned());
    Table {
        title: "What the settings of code generation cost",
        note: "Each column changes one thing of the sandbox and is its cost over plain sfi's. What has transactions has \
               deadline checks too.",
        head: [words(&["what"]), head.collect()].concat(),
        rows: suites::SETTINGS_WORK.iter().filter_map(row).collect(),
    }
}

fn undo(report: &Report) -> Table {
    let row = |of: &str, what: &str, size: u32| {
        let count = |name| report.figures.get(&format!("{name}_per_{of}_{size}")).map(|it| it.estimate.value);
        let (stores, records) = (count("stores")?, count("records")?);
        Some(vec![format!("{size} {what}"), short(stores), short(records), short(records / stores)])
    };
    let packets = [1, 32, 255].into_iter().filter_map(|size| row("packet", "packets each way", size));
    let requests = [1, 32, 127].into_iter().filter_map(|size| row("request", "requests of a disk", size));
    Table {
        title: "What the undo log holds",
        note: "Counted, for a packet each way or a request: instructions of the e1000's driver and of the NVMe driver that \
               store, and records that their calls leave in the log. A record may stand for several stores; the rest is \
               to the call's own frames, means nothing after a rollback, or was logged before.",
        head: words(&["at a time", "stores for each", "records for each", "records / stores"]),
        rows: packets.chain(requests).collect(),
    }
}

fn snapshots(report: &Report) -> Table {
    const ROWS: [(&str, &str); 4] = [
        ("take", "taking one, when nothing has moved for 50 ms: the driver's stats and poll, and the copy"),
        ("bytes", "what it holds of the driver's memory"),
        ("look", "a look for such a moment while frames are under way"),
        ("back", "restoring one, until the device is programmed again"),
    ];
    let row = |(name, what): &(&str, &str)| {
        let figure = report.figures.get(&format!("snapshot_{name}"))?;
        let found = match &*figure.unit {
            "ns" => goals::text(&figure.estimate.scaled(1e-3), "µs"),
            unit => format!("{} {unit}", figure.estimate.value),
        };
        Some(vec![(*what).to_owned(), found])
    };
    Table {
        title: "Snapshots",
        note: "Of the e1000 driver at sfi+txn on the embedded model. A supervisor looks for a moment to take one at each \
               turn once `snapshots.every` has passed since the last, and takes none before packets rest.",
        head: words(&["what", "found"]),
        rows: ROWS.iter().filter_map(row).collect(),
    }
}

fn nooks(report: &Report) -> Table {
    let count = report.sweeps.iter().find(|sweep| sweep.name == "nooks").and_then(|sweep| sweep.xs.last());
    let count = count.copied().unwrap_or_default();
    let rows = [
        ("start_from_cache".to_owned(), "start, code out of the cache, with probe and open".to_owned()),
        ("restart".into(), "restart, with probe and open".into()),
        ("restart_wait".into(), "what the driver sleeps for its device in a restart, not counted there".into()),
        (format!("idle_nook_{count}"), format!("memory of an idle nook among {count}, its window included")),
        (format!("idle_nook_private_{count}"), "of that: private".into()),
    ];
    let row = |(name, what): &(String, String)| {
        let cells = HERE.iter().map(|level| {
            let figure = report.figures.get(&format!("{name}_{}", level.key()));
            figure.map_or("-".into(), |figure| format!("{} {}", short(figure.estimate.value), figure.unit))
        });
        let cells: Vec<String> = cells.collect();
        cells.iter().any(|cell| cell != "-").then(|| [vec![what.clone()], cells].concat())
    };
    Table {
        title: "Nooks",
        note: "Times are CPU time, without what the driver sleeps for its device. Memory is what each of the many nooks \
               of the sweep adds to the process, its measuring device included. What a driver's process takes is not \
               to be seen from here.",
        head: [words(&["what"]), HERE.iter().map(|level| level.name.to_owned()).collect()].concat(),
        rows: rows.iter().filter_map(row).collect(),
    }
}

fn paper(report: &Report) -> Table {
    let row = |&(name, what): &(&str, &str)| {
        let base = report.figures.get(&format!("paper_{name}_{}", LEVELS[0].key()))?;
        let ratios = LEVELS[1..].iter().map(|level| {
            let spread = report.spreads.get(&format!("paper_{name}_{}_{}", level.key(), LEVELS[0].key()));
            // What has no spread was counted once for each level.
            let figure = report.figures.get(&format!("paper_{name}_{}", level.key()));
            let once = figure.map(|of| Estimate::exactly(of.estimate.value / base.estimate.value));
            spread.map(|spread| spread.estimate).or(once).map_or("-".into(), |ratio| goals::text(&ratio, ""))
        });
        let theirs = PAPER.iter().find(|paper| paper.0 == name);
        let theirs = theirs.map_or([const { String::new() }; 3], |&(_, native, wrapped, nooks)| {
            [short(native), wrapped.map(short).unwrap_or_default(), short(nooks)]
        });
        let own = vec![what.to_owned(), format!("{} {}", short(base.estimate.value), base.unit)];
        Some([own, ratios.collect(), theirs.to_vec()].concat())
    };
    let ratios = LEVELS[1..].iter().map(|level| format!("{} / {}", level.name, LEVELS[0].name));
    Table {
        title: "The paper's experiment",
        note: "Two network namespaces, TAP, driver, model, TAP: native's value in this run, the others' ratio to it, and \
               beside them the paper's native value and its ratios. Cycles are all of nook-run's CPU time in ticks of the \
               time stamp counter, device and TAP included, over its interrupts. Both counts for each interrupt are of all \
               rounds together, so they have no interval.",
        head: [words(&["what", LEVELS[0].name]), ratios.collect(), words(&["paper: native", "wrapping", "Nooks"])]
            .concat(),
        rows: MEASURED.iter().filter_map(row).collect(),
    }
}

/// What the experiment measures, and how people call it.
const MEASURED: &[(&str, &str)] = &[
    ("stream", "TCP stream of 32 KiB messages"),
    ("latency", "UDP, 100 B there and 200 B back: median"),
    ("latency_p99", "the same: 99th percentile"),
    ("cpu", "CPU of nook-run for a stream at half of the slowest level's rate"),
    ("packets_per_irq", "packets per interrupt of the stream"),
    ("cycles_per_irq", "cycles per interrupt of the stream"),
];

fn crashes(report: &Report) -> Table {
    const PERIODS: [&str; 2] = ["1s", "50ms"];
    const WAYS: [(&str, &str); 3] = [
        ("rollback", "sfi+txn: the call is rolled back and tried again"),
        ("snapshot", "sfi+txn: the driver is restored from a snapshot (a policy without rollback)"),
        ("restart", "sfi: the driver is restarted (a policy without a limit)"),
    ];
    let throughput = WAYS.iter().filter_map(|(way, what)| {
        let cell = |period: &str| report.spreads.get(&format!("crash_{way}_{period}"));
        let cells: Option<Vec<_>> =
            PERIODS.iter().map(|period| Some(goals::text(&cell(period)?.estimate, ""))).collect();
        Some([vec![format!("throughput, {what}")], cells?].concat())
    });
    let downtime = WAYS.iter().filter_map(|(way, _)| {
        let figure = |period: &str, share: &str| report.figures.get(&format!("downtime_{way}_{period}_{share}"));
        let cells = PERIODS.iter().map(|period| {
            let times =
                ["p50", "p90", "p99", "max"].iter().map(|share| Some(short(figure(period, share)?.estimate.value)));
            let times: Option<Vec<_>> = times.collect();
            Some(format!("{} {}", times?.join(", "), figure(period, "p50")?.unit))
        });
        let cells: Option<Vec<_>> = cells.collect();
        Some([vec![format!("downtime of a {way}: median, 90 %, 99 %, longest")], cells?].concat())
    });
    let share = |name: &str| report.figures.get(name).map(|figure| format!("{:.1} %", figure.estimate.value * 100.0));
    let shares = WAYS.iter().flat_map(|(way, _)| {
        [
            ("crash", format!("crashes that a {way} mended")),
            ("rollback_possible", format!("calls that could have been rolled back ({way})")),
        ]
        .map(|(what, text)| {
            let cells: Option<Vec<_>> =
                PERIODS.iter().map(|period| share(&format!("{what}_{way}_{period}_share"))).collect();
            Some([vec![text], cells?].concat())
        })
    });
    Table {
        title: "A stream while the driver crashes",
        note: "Its throughput over that of the same stream undisturbed, in pairs; and the times from the end of the call \
               that crashed until the driver was ready again, as nook-run tells them: a restart's with what the driver \
               sleeps for its device's reset. A call can be rolled back if nothing of it had reached the device when it ended. No crash bundles are written (bundles.keep = 0).",
        head: words(&["", "a crash each second", "a crash each 50 ms"]),
        rows: throughput.chain(downtime).chain(shares.flatten()).collect(),
    }
}

fn overload(report: &Report) -> Table {
    let thousands = |estimate: &Estimate| goals::text(&estimate.scaled(1e-3), "");
    let row = |load: &Load| {
        let Load { level, share, offered, delivered } = load;
        vec![level.clone(), share.to_string(), thousands(offered), thousands(delivered)]
    };
    let count = |name: &str, level: &str| {
        let figure = report.figures.get(&format!("overload_{name}_{}", key(level)));
        figure.map_or("-".into(), |figure| format!("{:.0}", figure.estimate.value))
    };
    let mut levels: Vec<&str> = report.overload.iter().map(|load| &*load.level).collect();
    levels.dedup();
    let sums = levels.iter().map(|level| {
        let [sent, refused, uncounted] = ["sent", "refused", "uncounted"].map(|name| count(name, level));
        vec![
            (*level).into(),
            "all".into(),
            format!("{sent} datagrams"),
            format!("{refused} dropped at the interface, {uncounted} uncounted"),
        ]
    });
    Table {
        title: "More than can be carried",
        note: "Datagrams of 100 bytes through TAP, driver, model and TAP, offered at shares of the greatest rate that \
               arrives; thousands a second. What is too much is dropped by the kernel, at the interface, before it has \
               cost anything, and is counted there (`tx_dropped`).",
        head: words(&["level", "share", "offered", "arrived"]),
        rows: report.overload.iter().map(row).chain(sums).collect(),
    }
}

fn disks(report: &Report) -> Table {
    let base = LEVELS[0].key();
    let row = |load: &nbd::Load| {
        let name = load.name;
        let figure = |what: &str, of: &str| report.figures.get(&format!("{what}_{name}_{of}"));
        let own = |of: &str| {
            let (time, cpu) = (figure("nbd", of)?, figure("nbd_cpu", of)?);
            Some(format!("{} µs, CPU {} µs", short(time.estimate.value / 1e3), short(cpu.estimate.value / 1e3)))
        };
        let ratio = |of: &str, to: &str| {
            let spread = report.spreads.get(&format!("nbd_{name}_{of}_{to}"));
            spread.map_or("-".into(), |spread| goals::text(&spread.estimate, ""))
        };
        let ratios = LEVELS[1..].iter().map(|level| ratio(&level.key(), &base));
        let beside = ["sfi_txn", &base].map(|of| ratio(of, nbd::PEER));
        Some([vec![load.what.to_owned(), own(&base)?], ratios.collect(), vec![own(nbd::PEER)?], beside.into()].concat())
    };
    let ratios = LEVELS[1..].iter().map(|level| format!("{} / native", level.name));
    let beside = words(&["nbdkit memory", "requests a second, sfi+txn / nbdkit", "native / nbdkit"]);
    Table {
        title: "A disk through NBD",
        note: "fio in front of nook-run with the NVMe driver on the calm model: what a request takes of the whole, and its \
               CPU time in the server. nbdkit's plugin has its data in memory and neither driver nor device.",
        head: [words(&["what", "native"]), ratios.collect(), beside].concat(),
        rows: nbd::LOADS.iter().filter_map(row).collect(),
    }
}

impl Table {
    /// As Markdown.
    pub fn markdown(&self) -> String {
        let Table { title, note, head, rows } = self;
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | ").replace('\n', " "));
        let rule = format!("|{}\n", "---|".repeat(head.len()));
        let rows: String = rows.iter().map(|row| line(row)).collect();
        format!("### {title}\n\n{note}\n\n{}{rule}{rows}\n", line(head))
    }

    /// As HTML.
    pub fn html(&self) -> String {
        let Table { title, note, head, rows } = self;
        let cells = |cells: &[String], tag: &str| -> String {
            cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect()
        };
        let rows: String = rows.iter().map(|row| format!("<tr>{}</tr>\n", cells(row, "td"))).collect();
        format!(
            "<h2 id=\"{}\">{title}</h2>\n<p>{}</p>\n<div class=\"wide\"><table>\n<tr>{}</tr>\n{rows}</table></div>\n",
            key(title),
            escaped(note),
            cells(head, "th")
        )
    }
}

/// For HTML.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_the_same_in_both_languages() {
        let table = Table { title: "T", note: "a < b", head: words(&["x", ""]), rows: vec![words(&["1", "≤ 2"])] };
        assert_eq!(table.markdown(), "### T\n\na < b\n\n| x |  |\n|---|---|\n| 1 | ≤ 2 |\n\n");
        assert!(table.html().contains("<p>a &lt; b</p>") && table.html().contains("<td>1</td><td>≤ 2</td>"));
    }

    #[test]
    fn an_empty_report_has_only_its_goals() {
        let tables = of(&Report::default());
        assert_eq!(tables.iter().map(|table| table.title).collect::<Vec<_>>(), ["Goals"]);
        assert!(tables[0].rows.iter().all(|row| row[3] == "not measured"));
    }
}
