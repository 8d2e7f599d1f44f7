//! `--record` and `nook-run replay`: a run of a driver, again, without its device.

mod support;

use std::fs;

use support::module::{ATTACH, Module};
use support::{Ended, Place, built, e1000};

/// Runs the e1000 driver with these options besides, and records it. Returns what the run came to.
fn recorded(place: &Place, options: &[&str]) -> Ended {
    let driver = e1000();
    let args = [driver.to_str().unwrap(), "--exercise", "ping", "--record", "run.rec"];
    place.nook_run(args.iter().chain(options)).end()
}

/// Runs a driver against the recording.
fn replayed(place: &Place, driver: &str) -> Ended {
    place.nook_run(["replay", "run.rec", driver]).end()
}

/// Returns the number before a word, such as "12 rollbacks".
fn number(text: &str, word: &str) -> u64 {
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = words.iter().position(|it| it.trim_end_matches(',') == word).unwrap_or_else(|| panic!("{word}: {text}"));
    words[at - 1].parse().unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Runs the driver against the recording, and returns what is printed of a run that was the same.
fn same(place: &Place) -> String {
    let text = replayed(place, e1000().to_str().unwrap()).with(0).stdout;
    assert!(text.contains("the same to its end: "), "{text}");
    text
}

#[test]
fn a_run_is_the_same_again_and_so_are_its_rollbacks() {
    let place = Place::new();
    recorded(&place, &["--crash-every", "1ms"]).with(0);
    let text = same(&place);
    assert!(text.starts_with("recorded: e1000 ") && text.contains(", isolation sfi+txn\n"), "{text}");
    assert!(number(&text, "rollbacks") >= 5 && number(&text, "calls") > 200, "{text}");
    assert_eq!((number(&text, "instances"), number(&text, "restored")), (1, 0), "{text}");
}

/// In real time it is the machine's pace that decides which faults a run has, and whether a snapshot was taken before
/// them: on virtual time it is the same everywhere.
#[test]
fn restored_snapshots_and_restarts_are_the_same_again() {
    let place = Place::new();
    let policy = |name: &str, snapshots: &str| {
        let text = format!(
            "[rollback]\nenabled = false\n[snapshots]\n{snapshots}\n[restart]\nbudget = 100\nbackoff_first = \"1ms\"\n\
             backoff_most = \"1ms\"\n"
        );
        place.file(name, text).display().to_string()
    };
    let (some, none) = (policy("some.toml", "every = \"20ms\""), policy("none.toml", "keep = 0"));
    recorded(&place, &["--virtual-time", "--crash-every", "10ms", "--policy", &some]);
    let text = same(&place);
    assert!(number(&text, "restored") >= 1, "{text}");
    for options in [&["--policy", &none][..], &["--isolation", "sfi", "--policy", &some]] {
        recorded(&place, &[&["--crash-every", "5ms"], options].concat());
        let text = same(&place);
        assert!(number(&text, "instances") >= 2, "{text}");
        assert_eq!(text.contains("isolation sfi\n"), options.contains(&"sfi"), "{text}");
    }
}

#[test]
fn a_driver_that_is_rolled_back_from_its_first_fault_on_is_the_same_again() {
    let place = Place::new();
    let policy = place.file("policy.toml", "[isolation]\nbegin = \"sfi\"\n").display().to_string();
    recorded(&place, &["--crash-every", "1ms", "--policy", &policy]);
    let text = same(&place);
    assert!(number(&text, "instances") >= 2 && number(&text, "rollbacks") >= 1, "{text}");
    // There is no such change where no call can be rolled back.
    recorded(&place, &["--isolation", "sfi", "--policy", &policy]).with(0);
    same(&place);
}

#[test]
fn with_pages_in_place_of_a_log_and_on_virtual_time_it_is_the_same_again() {
    let place = Place::new();
    let policy = place.file("policy.toml", "[rollback]\nmethod = \"pages\"\n").display().to_string();
    recorded(&place, &["--crash-every", "1ms", "--policy", &policy]).with(0);
    assert!(number(&same(&place), "rollbacks") >= 5);
    recorded(&place, &["--virtual-time", "--crash-every", "5ms"]).with(0);
    let first = fs::read(place.at("run.rec")).unwrap();
    same(&place);
    recorded(&place, &["--virtual-time", "--crash-every", "5ms"]).with(0);
    assert!(fs::read(place.at("run.rec")).unwrap() == first, "on virtual time it is the same recording, to the byte");
}

#[test]
fn other_classes_are_recorded_too() {
    let place = Place::new();
    let nvme = built("nvme").display().to_string();
    place.nook_run([&*nvme, "--exercise", "write,verify", "--record", "run.rec"]).end().with(0);
    let text = replayed(&place, &nvme).with(0).stdout;
    assert!(text.contains("the same to its end: ") && number(&text, "calls") > 100, "{text}");
    let edu = built("edu").display().to_string();
    let calls = ["--call", "factorial:05000000", "--call", "store:100000006e6f6f6b", "--call", "load:1000000004000000"];
    place.nook_run([&*edu, "--qemu", "edu", "--record", "run.rec"].iter().chain(&calls)).end().with(0);
    let text = replayed(&place, &edu).with(0).stdout;
    assert!(text.contains("the same to its end: ") && number(&text, "calls") > 6, "{text}");
}

/// Returns the driver with `from` in place of `to` wherever it is in its code.
fn changed(place: &Place, from: &[u8], to: &[u8]) -> String {
    let mut wasm = fs::read(e1000()).unwrap();
    let places: Vec<usize> =
        wasm.windows(from.len()).enumerate().filter(|(_, it)| *it == from).map(|it| it.0).collect();
    assert!(!places.is_empty() && from.len() == to.len());
    places.iter().for_each(|&at| wasm[at..at + to.len()].copy_from_slice(to));
    let path = place.at("changed.wasm");
    fs::write(&path, wasm).unwrap();
    path.display().to_string()
}

#[test]
fn a_changed_driver_is_followed_to_where_it_does_something_else() {
    let place = Place::new();
    recorded(&place, &[]).with(0);
    // `i32.const 0x2808` is RDLEN's offset, `i32.const 0x3808` TDLEN's.
    let changed = changed(&place, &[0x41, 0x88, 0xd0, 0x00], &[0x41, 0x88, 0xf0, 0x00]);
    let ended = replayed(&place, &changed).with(1);
    let text = &ended.stdout;
    assert!(text.contains(", and this is another build of it\n"), "{text}");
    assert!(text.contains("the first difference, in open"), "{text}");
    assert!(text.contains("  recorded  calls mmio_write32(RDLEN, value 0x"), "{text}");
    assert!(text.contains("  now       calls mmio_write32(TDLEN, value 0x"), "{text}");
    assert!(text.contains(".rs:"), "a file and a line: {text}");
    assert!(
        text.contains("  where     e1000_wasm::driver::") && !text.contains("_ZN"),
        "names as people write them: {text}"
    );
    assert!(ended.stderr.contains("the driver did something else in call "), "{}", ended.stderr);
}

#[test]
fn what_cannot_be_run_again_is_refused_with_the_reason() {
    let place = Place::new();
    recorded(&place, &[]).with(0);
    let whole = fs::read(place.at("run.rec")).unwrap();
    let driver = e1000().display().to_string();
    for (bytes, says) in [
        (whole[..whole.len() / 2].to_vec(), "cut off after byte "),
        ([&whole[..100], &[whole[100] ^ 1], &whole[101..]].concat(), "the checksum of that block is wrong"),
        (b"no".to_vec(), "is no recording: `nook-run DRIVER … --record FILE` writes one"),
    ] {
        place.file("run.rec", &bytes);
        let said = replayed(&place, &driver).with(1).stderr;
        assert!(said.contains(says), "{says}: {said}");
    }
    place.file("run.rec", &whole);
    let nvme = built("nvme").display().to_string();
    assert!(replayed(&place, &nvme).with(1).stderr.contains("give the changed driver the same memory"));
    for (options, says) in [
        (&["--isolation", "native"][..], "--record: what a driver outside the sandbox loads is not seen"),
        (&["--isolation", "sfi", "--mmio", "direct"], "--record: registers that the driver has as memory"),
        (&["--wasi"], "--record: what WASI's functions return is not recorded"),
    ] {
        assert!(recorded(&place, options).with(1).stderr.contains(says), "{says}");
    }
    place.file("policy.toml", "[bundles]\nrecord = \"1s\"\n");
    for (isolation, says) in [("sfi", "it begins where a snapshot could be taken"), ("native", "what a driver outside")]
    {
        let args = [&*driver, "--exercise", "ping", "--policy", "policy.toml", "--isolation", isolation];
        let said = place.nook_run(args).end().with(1).stderr;
        assert!(said.contains(&format!("`record` in the policy's [bundles]: {says}")), "{said}");
    }
    let missing = place.nook_run([&*driver, "--exercise", "ping", "--record", "no/such/folder/run.rec"]).end().with(1);
    assert!(missing.stderr.contains("--record: cannot create"), "{}", missing.stderr);
}

#[test]
fn a_call_that_was_ended_for_its_time_ends_again() {
    let place = Place::new();
    let policy = place.file("policy.toml", "[restart]\nbudget = 1\nbackoff_first = \"1ms\"\n").display().to_string();
    let imports: &str = format!(r#"{ATTACH} (import "nook" "clock_ns" (func $clock (result i64)))"#).leak();
    let poll = |what: &str| -> &str {
        format!(r#"(func (export "nook_poll") (param i32 i32 i32) (result i32) (loop {what} (br 0)) (i32.const 0))"#)
            .leak()
    };
    // One calls the host, one loads from what it shares (at the end of its memory: its window), one does nothing.
    let polls = [
        poll("(drop (call $clock))"),
        poll("(drop (i32.load (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 4))))"),
        poll(""),
    ];
    for (isolation, poll) in ["sfi", "sfi+txn"].into_iter().flat_map(|isolation| polls.map(|poll| (isolation, poll))) {
        let driver = place.file("endless.wasm", Module { imports, poll, ..Module::default() }.wasm());
        let driver = driver.to_str().expect("text");
        let args = [driver, "--isolation", isolation, "--exercise", "ping", "--policy", &policy, "--record", "run.rec"];
        place.nook_run(args).end().with(4);
        let text = replayed(&place, driver).with(0).stdout;
        assert!(number(&text, "instances") == 2 && number(&text, "calls") > 4, "{isolation}: {poll}: {text}");
    }
}

#[test]
fn a_call_that_was_refused_something_is_refused_it_again() {
    let place = Place::new();
    let policy = place.file("policy.toml", "[restart]\nbudget = 1\nbackoff_first = \"1ms\"\n").display().to_string();
    let imports: &str = format!(r#"{ATTACH} (import "nook" "mmio_write32" (func $write (param i32 i32 i32)))"#).leak();
    // No BAR of the card has a register there.
    let poll = r#"(func (export "nook_poll") (param i32 i32 i32) (result i32)
        (call $write (i32.const 0) (i32.const 0x1fffc) (i32.const 1)) (i32.const 0))"#;
    let driver = place.file("refused.wasm", Module { imports, poll, ..Module::default() }.wasm());
    let driver = driver.to_str().expect("text");
    place.nook_run([driver, "--exercise", "ping", "--policy", &policy, "--record", "run.rec"]).end().with(4);
    let text = replayed(&place, driver).with(0).stdout;
    assert!(text.contains("the same to its end: ") && text.contains("the last call, poll, ends again: "), "{text}");
}

#[test]
fn a_changed_driver_that_never_ends_is_ended() {
    let place = Place::new();
    let module = |poll: &'static str| Module { poll, ..Module::default() }.wasm();
    let returns = place
        .file("driver.wasm", module(r#"(func (export "nook_poll") (param i32 i32 i32) (result i32) (i32.const 0))"#));
    let loops = r#"(func (export "nook_poll") (param i32 i32 i32) (result i32) (loop (br 0)) (i32.const 0))"#;
    let loops = place.file("loops.wasm", module(loops));
    let returns = returns.to_str().expect("text");
    place.nook_run([returns, "--wire", "none", "--duration", "200ms", "--record", "run.rec"]).end();
    replayed(&place, returns).with(0);
    let ended = replayed(&place, loops.to_str().expect("text")).with(1);
    assert!(
        ended.stdout.contains("  now       ends: poll: ") && ended.stdout.contains("  recorded  returns 0x0"),
        "{}",
        ended.stdout
    );
}

/// Returns the crash bundles that were left, oldest first.
fn bundles(place: &Place) -> Vec<String> {
    let mut bundles: Vec<_> = fs::read_dir(place.at("bundles")).unwrap().map(|entry| entry.unwrap().path()).collect();
    bundles.sort();
    bundles.iter().map(|path| path.display().to_string()).collect()
}

#[test]
fn a_crash_bundle_has_the_time_before_the_fault_and_ends_with_it() {
    let place = Place::new();
    // Whatever a fault comes to, and from whichever beginning: a start, a state, a snapshot that was restored.
    let rest =
        "[snapshots]\nevery = \"50ms\"\n[restart]\nbudget = 100\nbackoff_first = \"1ms\"\nbackoff_most = \"1ms\"\n";
    for (name, first) in [("log", ""), ("pages", "method = \"pages\"\n"), ("snapshots", "enabled = false\n")] {
        let _ = fs::remove_dir_all(place.at("bundles"));
        let policy = format!(
            "[rollback]\n{first}{rest}[bundles]\nfolder = \"bundles\"\nevery = \"0s\"\nkeep = 6\nrollbacks = 6\nrecord = \"5ms\"\n"
        );
        place.file("policy.toml", policy);
        let driver = e1000().display().to_string();
        let args = [&*driver, "--exercise", "ping,rr", "--crash-every", "40ms", "--policy", "policy.toml"];
        place.nook_run(args).end();
        let bundles = bundles(&place);
        let mut later = 0;
        for bundle in &bundles {
            let told = place.nook_run(["postmortem", bundle]).end().with(0).stdout;
            assert!(told.contains(&format!("run.rec: `nook-run replay {bundle}` runs it again")), "{name}: {told}");
            let text = place.nook_run(["replay", bundle]).end().with(0).stdout;
            assert!(text.contains("the same to its end: "), "{name}: {text}");
            assert!(text.contains(", ends again: ") && text.contains("  where     "), "{name}: {text}");
            if text.contains(", the end of its run\n") {
                later += 1;
                let changed = changed(&place, &[0x41, 0x88, 0xd0, 0x00], &[0x41, 0x88, 0xf0, 0x00]);
                let refused = place.nook_run(["replay", bundle, &changed]).end().with(1).stderr;
                assert!(refused.contains("a changed driver needs a recording from the start"), "{refused}");
            }
        }
        assert!(later > 0, "{name}: {bundles:?}");
    }
}
