//! A disk's driver through the command: its exercise, levels, crashes, what is refused, and what clients of the NBD
//! server see of it.

mod support;

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;

use nook_tests::{DiskBug, with_disk_bug};
use serde_json::Value;
use support::{Place, built, eventually};

/// Runs the NVMe driver, expects this exit code, and reads the report and what was logged.
fn run(args: &[&str], code: i32) -> (Value, String) {
    run_in(&Place::new(), args, code)
}

fn run_in(place: &Place, args: &[&str], code: i32) -> (Value, String) {
    let nvme = built("nvme.wasm");
    let nvme = nvme.to_str().expect("a test's paths are text");
    let all = [nvme, "--json", "report.json"].into_iter().chain(args.iter().copied());
    let end = place.nook_run(all).end().with(code);
    let report = fs::read(place.at("report.json")).unwrap_or_default();
    (serde_json::from_slice(&report).unwrap_or_default(), end.stderr)
}

fn count(value: &Value) -> u64 {
    value.as_u64().expect("a count")
}

/// Asserts that the exercise had these steps, and that each found what had to be there.
fn went_well(report: &Value, steps: &[&str]) {
    let done = report["exercise"].as_array().expect("a list");
    assert_eq!(done.iter().map(|it| it["step"].as_str().expect("a name")).collect::<Vec<_>>(), steps);
    for it in done {
        assert!(count(&it["requests"]) > 0, "{it}");
        assert_eq!((count(&it["errors"]), count(&it["wrong"])), (0, 0), "{it}");
    }
}

#[test]
fn what_is_written_to_the_embedded_disk_is_read_at_every_level() {
    for isolation in ["sfi+txn", "sfi", "wrapped", "native", "process"] {
        let (report, log) = run(&["--isolation", isolation, "--exercise", "write,read,verify"], 0);
        assert_eq!(report["isolation"], isolation);
        went_well(&report, &["write", "read", "verify"]);
        assert!(log.contains("using the embedded one"), "{log}");
        assert_eq!(report["disk"]["serial"], "nook-model-1");
    }
}

#[test]
fn nothing_that_was_acknowledged_is_lost_when_calls_are_rolled_back_or_drivers_restarted() {
    let steps = ["write", "fsync", "verify"];
    let exercise = ["--exercise", "write,fsync,verify", "--seed", "7"];
    let (report, _) = run(&[&exercise[..], &["--crash-every", "2ms"]].concat(), 0);
    went_well(&report, &steps);
    assert!(count(&report["recovery"]["rollbacks"]) > 50, "{}", report["recovery"]);
    let place = Place::new();
    let policy = "[restart]\nbudget = 100000\nbackoff_first = \"0ms\"\nbackoff_most = \"0ms\"\n";
    fs::write(place.at("policy.toml"), policy).expect("a file");
    let args = ["--crash-every", "50ms", "--isolation", "sfi", "--policy", "policy.toml"];
    let (report, _) = run_in(&place, &[&exercise[..], &args].concat(), 0);
    went_well(&report, &steps);
    assert!(count(&report["recovery"]["restarts"]) > 10, "{}", report["recovery"]);
}

#[test]
fn a_file_is_a_disk_and_is_written_to_only_if_its_serial_number_is_given() {
    let place = Place::new();
    fs::write(place.at("disk.img"), vec![0xa5; 4 << 20]).expect("a file");
    let intact = || fs::read(place.at("disk.img")).expect("the file").iter().all(|&byte| byte == 0xa5);
    let disk = ["--disk", "disk.img", "--exercise"];
    let (_, log) = run_in(&place, &[&disk[..], &["write"]].concat(), 1);
    assert!(log.contains("--destroy-data nook-model-1") && intact(), "{log}");
    let (_, log) = run_in(&place, &[&disk[..], &["write", "--destroy-data", "nook"]].concat(), 1);
    assert!(log.contains("the disk's serial number is `nook-model-1`") && intact(), "{log}");
    let (report, _) = run_in(&place, &[&disk[..], &["read"]].concat(), 0);
    went_well(&report, &["read"]);
    assert!(intact());
    let (report, _) = run_in(&place, &[&disk[..], &["write,verify", "--destroy-data", "nook-model-1"]].concat(), 0);
    went_well(&report, &["write", "verify"]);
    assert!(!intact());
}

#[test]
fn a_driver_that_lies_is_found_by_the_exercise_and_with_sums_it_hands_out_nothing_wrong() {
    let good = fs::read(built("nvme.wasm")).expect("`cargo xtask drivers` made it");
    // Each unit of the exercise has 256 blocks.
    for bug in [DiskBug::LosesBits(1 << 16), DiskBug::Skips(5 * 256)] {
        let place = Place::new();
        place.file("lying.wasm", with_disk_bug(&good, bug));
        place.file("crc.toml", "[block]\nverify = \"crc\"\n[restart]\nbudget = 100000\nbackoff_most = \"10ms\"\n");
        let args = ["lying.wasm", "--no-cache", "--json", "report.json", "--exercise", "write,verify"];
        let run = |more: &[&str]| -> Value {
            let all = args.iter().chain(&["--io-bytes", "131072"]).chain(more).copied();
            place.nook_run(all).end().with(3);
            serde_json::from_slice(&fs::read(place.at("report.json")).expect("a report")).expect("JSON")
        };
        let found = |report: &Value| {
            let verified = &report["exercise"][1];
            (count(&verified["wrong"]) > 0, count(&verified["errors"]) > 0, count(&report["counters"]["differing"]) > 0)
        };
        let report = run(&[]);
        assert_eq!(
            (found(&report), count(&report["counters"]["compared_blocks"])),
            ((true, false, false), 0),
            "{bug:?}"
        );
        let report = run(&["--policy", "crc.toml"]);
        assert_eq!(found(&report), (false, true, true), "{bug:?}: {report:#}");
        assert!(count(&report["counters"]["compared_blocks"]) >= 131_072 - 256, "{report:#}");
    }
}

#[test]
fn crash_bundles_hold_no_data_of_the_disk_unless_the_policy_says_so() {
    // Each unit that the exercise writes begins with a word that says so; its first byte depends on the seed.
    let is_there = |memory: &[u8]| memory.windows(7).any(|bytes| bytes == b"ookdisk");
    for (memory, expected) in [("private", false), ("all", true)] {
        let place = Place::new();
        place.file("policy.toml", format!("[bundles]\nfolder = \"bundles\"\nevery = \"0s\"\nmemory = \"{memory}\"\n"));
        let crashes = ["--crash-every", "5ms", "--policy", "policy.toml"];
        let (report, _) = run_in(&place, &[&["--exercise", "write"][..], &crashes].concat(), 0);
        assert!(count(&report["recovery"]["rollbacks"]) > 0, "{}", report["recovery"]);
        let bundles = fs::read_dir(place.at("bundles")).expect("bundles").map(|it| it.expect("a bundle").path());
        let dumps: Vec<Vec<u8>> = bundles.filter_map(|it| fs::read(it.join("memory.bin")).ok()).collect();
        assert!(!dumps.is_empty());
        assert!(dumps.iter().all(|dump| is_there(dump) == expected), "{memory}");
    }
}

#[test]
fn a_run_that_is_interrupted_answers_what_was_taken() {
    let place = Place::new();
    let nvme = built("nvme.wasm");
    let nvme = nvme.to_str().expect("a test's paths are text");
    for _ in 0..5 {
        let mut run =
            place.nook_run([nvme, "--json", "report.json", "--exercise", "write", "--duration", "60s"]).start();
        assert!(run.says("the disk has"), "{}", run.stderr());
        run.signal(libc::SIGINT);
        let end = run.end();
        assert!(end.stderr.contains("ended: SIGINT"), "{}", end.stderr);
        let report: Value =
            serde_json::from_slice(&fs::read(place.at("report.json")).expect("a report")).expect("JSON");
        assert_eq!(count(&report["counters"]["errors"]), 0, "{report:#}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let place = Place::new();
    fs::write(place.at("odd.img"), [0; 700]).expect("a file");
    for (args, says) in [
        (&["--disk", "none.img"][..], "cannot use none.img as a disk"),
        (&["--disk", "odd.img"], "its 700 bytes are no multiple of the block of 512"),
        (&["--exercise", "verify"], "nothing was written that could be verified"),
        (&["--exercise", "ping"], "--exercise ping is for drivers of class net"),
        (&["--tap", "nook0"], "--tap is for drivers of class net"),
        (&["--attach", "/dev/nbd0", "--isolation", "process"], "--attach does not go with --isolation process"),
    ] {
        let (_, log) = run_in(&place, args, 1);
        assert!(log.contains(says), "{args:?}: {log}");
    }
    // Whether or not this machine has network block devices.
    let (_, log) = run_in(&place, &["--attach", "/dev/null"], 1);
    assert!(log.contains("`modprobe nbd`") || log.contains("/dev/null is no block device"), "{log}");
    let (_, log) = run_in(&place, &["--attach", "/dev/nbd0", "--nbd", "tcp:0"], 2);
    assert!(log.contains("cannot be used with"), "{log}");
    let (_, log) = run_in(&place, &["--read-only"], 2);
    assert!(log.contains("--attach <DEVICE>"), "{log}");
    // Requests that do not fit are known when the disk is.
    let (report, _) = run(&["--exercise", "read", "--io-bytes", "1048576"], 3);
    assert!(report["exercise_error"].as_str().is_some_and(|why| why.contains("do not fit")), "{report:#}");
}

#[test]
fn a_disk_is_served_until_the_run_ends_and_then_the_socket_is_gone() {
    let place = Place::new();
    let nvme = built("nvme.wasm");
    let nvme = nvme.to_str().expect("a test's paths are text");
    let run = place.nook_run([nvme, "--nbd", "unix:disk.sock"]).start();
    let mut greeting = [0; 16];
    eventually("the server greets its client", || {
        let mut stream = UnixStream::connect(place.at("disk.sock")).map_err(|error| error.to_string())?;
        stream.read_exact(&mut greeting).map_err(|error| error.to_string())
    });
    assert_eq!(&greeting, b"NBDMAGICIHAVEOPT");
    run.signal(libc::SIGINT);
    run.end().with(0);
    assert!(!place.at("disk.sock").exists());
}

#[test]
fn a_namespace_is_chosen_by_its_number_and_one_that_cannot_be_used_is_refused_by_name() {
    let place = Place::new();
    for (name, bytes) in [("metadata", 4 << 20), ("wide", 1 << 20), ("good", 4 << 20)] {
        fs::write(place.at(name), vec![0; bytes]).expect("a file");
    }
    let qemu = [
        ["--qemu", "nvme"],
        ["--qemu-part", "nvme-ns,file=metadata,nsid=1,ms=8"],
        ["--qemu-part", "nvme-ns,file=wide,nsid=2,logical_block_size=8192,physical_block_size=8192"],
        ["--qemu-part", "nvme-ns,file=good,nsid=4,logical_block_size=4096,physical_block_size=4096"],
    ];
    let qemu = qemu.as_flattened();
    let exercise = ["--exercise", "write,verify", "--destroy-data", "nook", "--queues", "4"];
    let (report, _) = run_in(&place, &[qemu, &exercise, &["--namespace", "4"]].concat(), 0);
    went_well(&report, &["write", "verify"]);
    assert_eq!((count(&report["disk"]["block_bytes"]), count(&report["disk"]["blocks"])), (4096, 1024));
    for name in ["metadata", "wide"] {
        assert!(fs::read(place.at(name)).expect("the file").iter().all(|byte| *byte == 0), "{name} was written to");
    }
    for (number, says) in [
        ("1", "namespace 1 cannot be used: its blocks have metadata"),
        ("2", "namespace 2 cannot be used: its blocks have less than 512 or more than 4096 bytes"),
        ("3", "namespace 3 is not active; the next one that is has number 4"),
        ("5", "namespace 5 is not active, and none above it is"),
        ("300", "there is no namespace 300: this controller has at most 256"),
    ] {
        let (_, log) = run_in(&place, &[qemu, &["--exercise", "read", "--namespace", number]].concat(), 1);
        assert!(log.contains(says), "{number}: {log}");
    }
}

#[test]
fn a_controller_of_another_maker_is_driven_by_its_class_unless_the_operators_map_leaves_the_class_out() {
    let place = Place::new();
    fs::write(place.at("disk.img"), vec![0; 4 << 20]).expect("a file");
    // QEMU's controller with Intel's ids, which the driver does not name.
    let qemu = ["--qemu", "nvme,use-intel-id=on,file=disk.img", "--exercise", "write,verify", "--destroy-data", "nook"];
    let (report, log) = run_in(&place, &qemu, 0);
    went_well(&report, &["write", "verify"]);
    assert!(log.contains("8086:5845 is not one of the devices that the driver `nvme` names"), "{log}");
    let map = place.nook_run(["map", "export", "nvme"]).end().with(0).stdout;
    assert!(map.contains("\"class:010802\""), "{map}");
    fs::write(place.at("own.regs.toml"), map.replace(", \"class:010802\"", "")).expect("a file");
    let (_, log) = run_in(&place, &[&qemu[..], &["--registers", "own.regs.toml"]].concat(), 1);
    assert!(log.contains("8086:5845") && log.contains("1b36:0010, 1234:0108"), "{log}");
    // One that is named goes on.
    let own = ["--registers", "own.regs.toml", "--exercise", "read"];
    went_well(&run_in(&place, &own, 0).0, &["read"]);
}
