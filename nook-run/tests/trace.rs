//! `--trace` and `nook-run trace`: what a driver did, call by call.

mod support;

use std::fs;

use serde_json::Value;
use support::{NOOK_RUN, Place, assert_is_said, e1000};

/// Runs the e1000 driver with these options besides, and a trace; returns what the run came to.
fn traced(place: &Place, options: &[&str]) -> support::Ended {
    let driver = e1000();
    let args = [driver.to_str().unwrap(), "--exercise", "ping", "--trace", "run.trace"];
    place.nook_run(args.iter().chain(options)).end()
}

/// Prints the trace.
fn shown(place: &Place, options: &[&str]) -> String {
    place.nook_run(["trace", "run.trace"].iter().chain(options)).end().with(0).stdout
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn a_trace_has_calls_registers_and_interrupts_by_their_names() {
    let place = Place::new();
    traced(&place, &[]).with(0);
    let text = shown(&place, &[]);
    for part in [
        "# e1000 ",
        ", isolation sfi+txn\n",
        " driver    an instance begins\n",
        " entry     probe(reason 0, host_page ",
        " hostcall    mmio_read32(STATUS) = 0x",
        " register    STATUS -> 0x",
        " register    RCTL <- 0x",
        "  [EN",
        " hostcall    dma_alloc(len_bytes 0x",
        " device      bus mastering on",
        " interrupt interrupt 0\n",
        " entry     irq = ",
        " entry     poll(queue 0, budget 0x",
        " driver    the instance ended\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{}", text.chars().take(20_000).collect::<String>());
    }
    let of = |kind: &str| shown(&place, &["--only", kind]);
    assert!(of("interrupt").lines().skip(1).all(|line| line.contains(" interrupt ")));
    let both = of("entry,register");
    assert!(both.lines().skip(1).all(|line| line.contains(" entry ") || line.contains(" register ")));
    assert!(both.lines().count() == of("entry").lines().count() + of("register").lines().count() - 1);
}

#[test]
fn json_lines_have_each_call_with_its_duration() {
    let place = Place::new();
    traced(&place, &["--crash-at", "poll:25"]).with(0);
    let lines = lines(&shown(&place, &["--format", "jsonl"]));
    assert_eq!(lines[0]["kind"], "trace");
    let (mut last_ns, mut open, mut calls) = (0, None, 0);
    for line in &lines[1..] {
        let at_ns = line["at_ns"].as_u64().unwrap();
        assert!(at_ns >= last_ns, "in order: {line}");
        last_ns = at_ns;
        if line["kind"] != "entry" {
            continue;
        }
        match line["duration_ns"].as_u64() {
            None => assert!(open.replace((line["entry"].clone(), at_ns)).is_none(), "one call at a time: {line}"),
            Some(duration) => {
                assert_eq!(open.take(), Some((line["entry"].clone(), at_ns - duration)), "{line}");
                calls += 1;
            }
        }
    }
    assert!(open.is_none() && calls > 100, "{calls} calls");
    let fault = "poll: trap: trap made on request";
    assert_eq!(lines.iter().filter(|line| line["entry"] == "poll" && line["fault"] == fault).count(), 2);
    assert_eq!(lines.iter().filter(|line| line["what"] == "rolled back").count(), 1);
    let write = lines.iter().find(|line| line["register"] == "RCTL" && line["access"] == "write").unwrap();
    assert_eq!((&write["bar"], &write["offset"], &write["bytes"]), (&0.into(), &0x100.into(), &4.into()));
}

/// Checks what a viewer needs of the Trace Event format, as its document has it ("Trace Event Format", Google): an
/// object with a list of events, each with its phase, process and thread; times in microseconds; what lasts has a
/// duration, what does not a scope; and what lasts on one thread is nested.
fn check_trace_events(text: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(text).expect("it is JSON");
    let events = file["traceEvents"].as_array().expect("a list of events").clone();
    let mut ends = std::collections::BTreeMap::<u64, Vec<f64>>::new();
    let mut lasting: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
    lasting.sort_by(|a, b| a["ts"].as_f64().partial_cmp(&b["ts"].as_f64()).unwrap());
    for event in &events {
        assert!(event["name"].is_string() && event["pid"].is_u64() && event["tid"].is_u64(), "{event}");
        let timed = event["ts"].as_f64().is_some_and(|ts| ts >= 0.0) && event["cat"].is_string();
        match event["ph"].as_str().unwrap() {
            "M" => assert!(event["args"]["name"].is_string(), "{event}"),
            "X" => assert!(timed && event["dur"].as_f64().is_some_and(|dur| dur >= 0.0), "{event}"),
            "B" => assert!(timed, "{event}"),
            "i" => assert!(timed && ["g", "p", "t"].contains(&event["s"].as_str().unwrap()), "{event}"),
            other => panic!("no such phase here: {other}"),
        }
    }
    for event in lasting {
        let (begin, open) = (event["ts"].as_f64().unwrap(), ends.entry(event["tid"].as_u64().unwrap()).or_default());
        let end = begin + event["dur"].as_f64().unwrap();
        open.retain(|&end| end > begin);
        assert!(open.iter().all(|&around| around >= end), "it is not nested: {event}");
        open.push(end);
    }
    events
}

#[test]
fn perfetto_and_chrome_can_open_it() {
    let place = Place::new();
    traced(&place, &[]).with(0);
    let events = check_trace_events(&shown(&place, &["--format", "chrome"]));
    let named = |name: &str| events.iter().filter(|event| event["name"] == name).count();
    assert!(named("probe") == 1 && named("poll") > 50 && named("interrupt 0") > 10);
    assert_eq!(named("thread_name"), 3);
    let write =
        events.iter().find(|event| event["args"]["register"] == "RCTL" && event["args"]["access"] == "write").unwrap();
    assert_eq!(write["name"], "RCTL write", "one name for what is the same: viewers sum up by it");
    check_trace_events(&shown(&place, &["--format", "chrome", "--only", "entry"]));
}

#[test]
fn a_trace_changes_nothing_of_a_run_on_virtual_time_and_is_the_same_each_time() {
    let place = Place::new();
    let report = |name: &str, options: &[&str]| {
        let driver = e1000();
        let args = [driver.to_str().unwrap(), "--exercise", "ping", "--virtual-time", "--json", name];
        place.nook_run(args.iter().chain(options)).end().with(0);
        fs::read(place.at(name)).unwrap()
    };
    let without = report("without.json", &[]);
    assert_eq!(report("a.json", &["--trace", "a.trace"]), without);
    assert_eq!(report("b.json", &["--trace", "b.trace"]), without);
    assert!(fs::read(place.at("a.trace")).unwrap() == fs::read(place.at("b.trace")).unwrap());
}

#[test]
fn calls_are_traced_where_they_are_seen_and_refused_elsewhere() {
    let place = Place::new();
    for level in ["sfi", "process"] {
        traced(&place, &["--isolation", level]).with(0);
        let text = shown(&place, &["--only", "entry,hostcall"]);
        assert!(text.contains(" poll = ") && text.contains("mmio_read32(STATUS) = 0x"), "{level}");
    }
    fs::remove_file(place.at("run.trace")).unwrap();
    let says = ["--trace: what a driver calls is not seen at wrapped", "use --isolation sfi, sfi+txn or process"];
    assert_is_said("no calls", &traced(&place, &["--isolation", "wrapped"]), 1, &says);
    assert!(!place.at("run.trace").exists());
}

#[test]
fn a_damaged_trace_is_an_error_with_its_place_after_what_could_be_read() {
    let place = Place::new();
    traced(&place, &[]).with(0);
    let whole = fs::read(place.at("run.trace")).unwrap();
    place.file("run.trace", &whole[..whole.len() - 3]);
    let ended = place.nook_run(["trace", "run.trace"]).end();
    let place_of_it = format!("cut off after byte {}", whole.len() - 8);
    assert_is_said("a trace without its end", &ended, 1, &[&place_of_it, "its disk was full"]);
    assert!(ended.stdout.contains("the instance ended"), "all that is there was printed");
    let mut damaged = whole.clone();
    let at = damaged.len() - 20;
    damaged[at] ^= 1;
    place.file("run.trace", &damaged);
    let ended = place.nook_run(["trace", "run.trace"]).end();
    assert_is_said("a damaged trace", &ended, 1, &["damaged at byte ", "checksum of that block is wrong"]);
    place.file("run.trace", "hello");
    let ended = place.nook_run(["trace", "run.trace"]).end();
    assert_is_said("no trace", &ended, 1, &["run.trace is no trace", "--trace FILE"]);
}

#[test]
fn a_trace_that_cannot_be_written_is_refused_before_the_run() {
    let place = Place::new();
    let driver = e1000();
    for (path, says) in [("/dev/full", "No space left on device"), ("none/run.trace", "cannot create none/run.trace")] {
        let ended = place.nook_run([driver.to_str().unwrap(), "--exercise", "ping", "--trace", path]).end();
        assert_is_said(path, &ended, 1, &["trace", says]);
    }
}

#[test]
fn two_traces_are_compared_whatever_the_times() {
    let place = Place::new();
    let driver = e1000();
    let run = |options: &[&str]| {
        let args = [driver.to_str().unwrap(), "--exercise", "ping", "--virtual-time"];
        place.nook_run(args.iter().chain(options)).end().with(0);
    };
    run(&["--trace", "a.trace"]);
    run(&["--trace", "b.trace"]);
    run(&["--trace", "c.trace", "--crash-at", "poll:25"]);
    let same = place.nook_run(["trace", "diff", "a.trace", "b.trace"]).end().with(0).stdout;
    assert!(same.starts_with("the same: "), "{same}");
    let ended = place.nook_run(["trace", "diff", "a.trace", "c.trace", "--only", "driver"]).end();
    assert_is_said("another run", &ended, 1, &["the traces differ after 1 events"]);
    let of_two: Vec<&str> = ended.stdout.lines().filter(|line| line.starts_with(['-', '+'])).collect();
    assert!(of_two[0].starts_with("- ") && of_two[0].ends_with(" the instance ended"), "{}", ended.stdout);
    assert!(of_two.iter().any(|line| line.starts_with("+ ") && line.contains("poll was rolled back: ")), "{of_two:?}");
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_ends_the_trace_and_not_the_run() {
    let place = Place::new();
    let script = r#"mkdir full && mount -t tmpfs -o size=256k tmpfs full
        "$0" "$1" --exercise ping,tcp --duration 20s --trace full/run.trace; code=$?
        "$0" trace full/run.trace >shown; exit $code"#;
    let driver = e1000();
    let args = ["--mount", "sh", "-c", script, NOOK_RUN, driver.to_str().unwrap()];
    let ended = place.command("unshare", args).end();
    let says = ["No space left on device", "the trace ends here, the run goes on", "cut off after byte "];
    assert_is_said("a full disk", &ended, 0, &says);
    assert!(fs::read_to_string(place.at("shown")).unwrap().contains(" poll = "), "what was written can be read");
}
