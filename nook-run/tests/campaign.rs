//! `nook-run campaign`: small ones, which repeat to the byte however they are divided; and what it does with workers
//! that die and drivers that do not work.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::module::Module;
use support::{NOOK_RUN, Place, assert_is_said, built, e1000};

fn campaign(place: &Place, out: &str, args: &[&str]) -> (String, PathBuf) {
    campaign_of(&e1000(), place, out, args)
}

fn campaign_of(driver: &Path, place: &Place, out: &str, args: &[&str]) -> (String, PathBuf) {
    let always = ["campaign", driver.to_str().expect("text"), "--out", out];
    let ended = place.nook_run(always.iter().chain(args)).end();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    (ended.stdout, place.at(out))
}

/// Returns the trials' records by number: they are written as they come.
fn records(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("results.jsonl")).expect("results");
    let number = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["trial"].as_u64();
    let mut lines: Vec<_> = text.lines().map(|line| (number(line), line.to_owned())).collect();
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

fn report(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("report.json")).expect("a report")).expect("JSON")
}

#[test]
fn a_campaign_repeats_to_the_byte_however_it_is_divided_and_harms_nothing() {
    let place = Place::new();
    let (_, whole) = campaign(&place, "whole", &["--trials", "160"]);
    let records_of_whole = records(&whole);
    assert_eq!(records_of_whole.len(), 160);

    campaign(&place, "first", &["--trials", "160", "--shard", "1/2"]);
    // It is stopped and continued on the way.
    campaign(&place, "second", &["--trials", "140", "--shard", "2/2", "--jobs", "1"]);
    campaign(&place, "second", &["--trials", "160", "--shard", "2/2", "--jobs", "1"]);
    let merge = ["campaign", "--merge", "first", "second", "--out", "merged"];
    let merged = place.nook_run(merge).end().with(0).stdout;
    assert!(!merged.contains("not here"), "{merged}");
    assert_eq!(records(&place.at("merged")), records_of_whole);
    let merged = place.nook_run(["campaign", "--merge", "first", "--out", "one"]).end().with(0).stdout;
    assert!(merged.contains("seed 1; 32 of 160 trials are not here"), "{merged}");

    let report = report(&whole);
    let count = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("{name}: {report:#}"));
    assert_eq!((count("trials"), count("host_harmed")), (160, 0), "{report:#}");
    assert!(count("activated") > 40 && count("detected") > 5 && count("recovered") > 0, "{report:#}");
    let outcomes: u64 = report["outcomes"].as_object().expect("outcomes").values().filter_map(Value::as_u64).sum();
    assert_eq!(outcomes, 160);
    let page = fs::read_to_string(whole.join("index.html")).expect("a page");
    let again = "e1000.wasm --seed 1 --faults code,memory,device,kernel --isolation sfi+txn --trial NUMBER</code>";
    assert!(page.contains("</svg>") && page.contains(again), "{page}");

    // One of them, again.
    let recovered = records_of_whole.iter().find(|line| line.contains(r#""transient":{"outcome":"recovered""#));
    let record: Value = serde_json::from_str(recovered.expect("one that recovered")).expect("JSON");
    let (story, _) = campaign(&place, "unused", &["--trial", &record["trial"].to_string()]);
    let said = record["transient"]["report"].as_str().expect("a report");
    assert!(story.contains("transient: recovered") && story.contains(said), "{story}");
    assert!(!place.at("unused").exists());
}

#[test]
fn a_disk_driver_s_campaign_repeats_to_the_byte_and_harms_nothing() {
    let (place, nvme) = (Place::new(), built("nvme"));
    let (_, one) = campaign_of(&nvme, &place, "one", &["--trials", "130", "--jobs", "1"]);
    let (_, other) = campaign_of(&nvme, &place, "other", &["--trials", "130"]);
    assert_eq!(records(&one), records(&other));
    let report = report(&one);
    let count = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("{name}: {report:#}"));
    assert_eq!((count("trials"), count("host_harmed")), (130, 0), "{report:#}");
    assert!(count("activated") > 30 && count("detected") > 5 && count("recovered") > 0, "{report:#}");
}

/// Returns how many trials there were of a kind, whose faults were reached, and in how many the host was harmed.
fn counts(report: &Value) -> (u64, u64, u64) {
    let count = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("{name}: {report:#}"));
    (count("trials"), count("activated"), count("host_harmed"))
}

/// Makes small campaigns of mistakes at this level until one has what is `wanted`: which seeds do depends on the
/// driver's program. Returns the seed, what was said, and the folder.
fn mistakes_until(place: &Place, level: &str, wanted: impl Fn(&Value) -> bool) -> (String, String, PathBuf) {
    let found = (1..=12).find_map(|seed: u32| {
        let (seed, name) = (seed.to_string(), format!("{level}-{seed}"));
        let args = ["--isolation", level, "--faults", "code", "--trials", "40", "--seed", &seed];
        let (said, folder) = campaign(place, &name, &args);
        wanted(&report(&folder)).then_some((seed, said, folder))
    });
    found.unwrap_or_else(|| panic!("480 mistakes at {level} came to nothing"))
}

/// At this level mistakes in machine code harm the driver alone.
fn are_kept_in(level: &str) {
    let place = Place::new();
    let (.., folder) = mistakes_until(&place, level, |report| {
        let (trials, _, harmed) = counts(report);
        assert_eq!((trials, harmed), (40, 0), "{report:#}");
        report["detected"].as_u64() > Some(0)
    });
    assert!(records(&folder).iter().any(|line| line.contains("e1000_wasm::") && line.contains(" is ")));
}

#[test]
fn mistakes_in_a_process_s_machine_code_harm_that_process_and_nothing_else() {
    are_kept_in("process");
}

#[test]
fn mistakes_behind_a_protection_key_harm_what_is_behind_it_and_nothing_else() {
    let Err(why) = nook_mpk::supported() else { return are_kept_in("mpk") };
    let place = Place::new();
    let driver = e1000();
    let args = ["campaign", driver.to_str().expect("text"), "--isolation", "mpk", "--trials", "1", "--out", "out"];
    assert_is_said("no keys", &place.nook_run(args).end(), 1, &["--isolation mpk", &why.to_string()]);
}

#[test]
fn mistakes_in_native_code_take_with_them_the_process_that_each_has_to_itself() {
    const CRASHED: &str = "the process that tried it died: signal";
    let place = Place::new();
    let (seed, said, folder) = mistakes_until(&place, "native", |report| report["crashed"].as_u64() > Some(0));
    let report = report(&folder);
    let (trials, activated, harmed) = counts(&report);
    assert!(trials == 40 && activated >= harmed, "{report:#}");
    assert_eq!(report["crashed"].as_u64().zip(report["hung"].as_u64()).map(|(a, b)| a + b), Some(harmed), "{said}");
    let records = records(&folder);
    let crashed = records.iter().find(|line| line.contains(CRASHED));
    let record: Value = serde_json::from_str(crashed.expect("one that crashed")).expect("JSON");
    let number = record["trial"].to_string();
    let again = ["--isolation", "native", "--faults", "code", "--seed", &seed, "--trial", &number];
    let (story, _) = campaign(&place, "unused", &again);
    assert!(story.contains("harm: the process that tried it"), "{story}");
    fs::rename(&folder, folder.with_file_name("native")).expect("a folder");

    campaign(&place, "process", &["--isolation", "process", "--faults", "device", "--trials", "10"]);
    let table = place.nook_run(["campaign", "--compare", "native", "process"]).end().with(0).stdout;
    let row = |begins: &str| table.lines().any(|line| line.starts_with(begins));
    assert!(row("| faults in e1000 | isolation | reached |") && row("| all | native |"), "{table}");
    assert!(row("| all | process |"), "{table}");
}

/// A trial that loops is rolled back and loops again. When that took 50 ms of CPU time each, one had 101 reports, or
/// 102.
#[test]
fn a_call_without_end_costs_the_same_on_a_machine_that_has_other_things_to_do() {
    let place = Place::new();
    let looped = |line: &String| line.contains("of CPU time");
    // Which seeds have a loop that is reached depends on the driver.
    let found = (1..=12).find_map(|seed: u32| {
        let args = ["--faults", "code", "--trials", "128", "--seed", &seed.to_string()].map(str::to_owned);
        let (_, alone) = campaign(&place, &format!("alone-{seed}"), &args.each_ref().map(String::as_str));
        let records = records(&alone);
        records.iter().any(looped).then_some((args, records))
    });
    let (args, records) = found.expect("no call loops");
    let over = AtomicBool::new(false);
    let beside = std::thread::scope(|scope| {
        let busy = || {
            while !over.load(Ordering::Relaxed) {
                std::hint::spin_loop()
            }
        };
        (0..6).for_each(|_| drop(scope.spawn(busy)));
        let (_, beside) = campaign(&place, "beside", &args.each_ref().map(String::as_str));
        over.store(true, Ordering::Relaxed);
        beside
    });
    assert_eq!(self::records(&beside), records);
}

/// Returns the processes that a process has started and that were started with this argument.
fn children(parent: u32, argument: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").expect("/proc").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(|pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let of = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        of == Some(parent) && line.split('\0').any(|word| word == argument)
    })
    .collect()
}

#[test]
fn a_worker_that_dies_is_accounted_to_its_trial_and_replaced() {
    let place = Place::new();
    let mut command = Command::new(NOOK_RUN);
    command.args(["campaign", "--trials", "60", "--jobs", "1", "--out"]).arg(place.at("out")).arg(e1000());
    let mut campaign = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nook-run starts");
    let patience = Instant::now() + Duration::from_secs(300);
    let results = place.at("out").join("results.jsonl");
    // It is killed once it tries faults.
    let worker = loop {
        let begun = fs::read_to_string(&results).is_ok_and(|text| !text.is_empty());
        if let (true, [worker]) = (begun, &children(campaign.id(), "--worker")[..]) {
            break *worker;
        }
        assert!(Instant::now() < patience && campaign.try_wait().expect("a process").is_none(), "no worker was seen");
        sleep(Duration::from_millis(1));
    };
    let worker = rustix::process::Pid::from_raw(worker as i32).expect("a process");
    rustix::process::kill_process(worker, rustix::process::Signal::KILL).expect("the worker is killed");
    assert!(campaign.wait().expect("a process").success());
    let harmed: Vec<_> = records(&place.at("out")).into_iter().filter(|line| line.contains("host_harmed")).collect();
    let [harmed] = &harmed[..] else { panic!("one trial was harmed by that: {harmed:?}") };
    assert!(harmed.contains("the process that tried it died: signal 9"), "{harmed}");
    assert_eq!(report(&place.at("out"))["trials"], 60);
}

#[test]
fn what_cannot_be_tried_is_refused_by_name_and_nothing_is_left() {
    let place = Place::new();
    let lazy = place.file("lazy.wasm", Module::default().wasm());
    let (lazy, serial, e1000) = (lazy, built("serial"), e1000());
    let [lazy, serial, e1000] = [&lazy, &serial, &e1000].map(|path| path.to_str().expect("text"));
    let rows: [(&[&str], i32, &str); 6] = [
        (&[serial, "--out", "out"], 1, "there are for network drivers of the Intel 82540EM"),
        (&[lazy, "--out", "out"], 1, "does not carry the campaign's traffic"),
        (&[e1000, "--shard", "3/2"], 2, "like 2/8"),
        (&[lazy, "--isolation", "process", "--out", "out"], 1, "lazy.elf"),
        (&[e1000, "--isolation", "native", "--faults", "memory", "--out", "out"], 1, "--faults memory: bits of memory"),
        (&[e1000, "--out", "/dev/null/campaign"], 1, "--out: cannot make the folder"),
    ];
    for (args, code, says) in rows {
        let args = ["campaign", "--trials", "1"].iter().chain(args);
        assert_is_said(says, &place.nook_run(args).end(), code, &[says]);
    }
    assert_eq!(place.names(), ["lazy.wasm"]);
}

#[test]
fn another_campaign_is_not_put_into_a_folder_that_has_one() {
    let place = Place::new();
    campaign(&place, "out", &["--trials", "3", "--jobs", "1"]);
    let driver = e1000();
    let args = ["campaign", driver.to_str().expect("text"), "--trials", "3", "--seed", "2", "--out", "out"];
    let says = "holds a campaign with another seed: name another folder";
    assert_is_said(says, &place.nook_run(args).end(), 1, &[says]);
    let records = records(&place.at("out"));
    assert_eq!(records.len(), 3);
}
