//! QEMU's virtio devices through the command: content at every level, calls that are rolled back, drivers that are
//! restarted, and devices that are refused.

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nook_client::{CallError, Client, Reason};
use nook_seed::Rng;
use rustix::fs::{FileType, Mode, mknodat};
use serde_json::Value;
use support::{Place, Running, assert_is_said, built};

const DISK: &str = "virtio-blk-pci,file=disk.img";

/// Runs the exercise on a fresh disk, expects that each step found what had to be there, and returns the report.
fn exercised(device: &str, steps: &str, more: &[&str]) -> Value {
    let place = Place::new();
    place.file("disk.img", vec![0; 16 << 20]);
    place.file(
        "policy.toml",
        "[restart]\nbudget = 100000\nbackoff_first = \"0ms\"\nbackoff_most = \"0ms\"\n[block]\nverify = \"crc\"\n",
    );
    let driver = built("virtio-blk.wasm");
    let args = [driver.to_str().expect("a test's paths are text"), "--qemu", device, "--exercise", steps];
    let common = ["--destroy-data", "nook", "--policy", "policy.toml", "--json", "report.json"];
    place.nook_run(args.iter().chain(&common).chain(more)).end().with(0);
    let report: Value = serde_json::from_slice(&fs::read(place.at("report.json")).expect("a report")).expect("JSON");
    for step in report["exercise"].as_array().expect("a list") {
        assert!(step["requests"].as_u64().expect("a count") > 0, "{step}");
        assert_eq!((&step["errors"], &step["wrong"]), (&0.into(), &0.into()), "{step}");
    }
    assert_eq!((&report["counters"]["errors"], &report["counters"]["differing"]), (&0.into(), &0.into()));
    report
}

#[test]
fn what_is_written_is_read_at_every_level_but_mpk() {
    for isolation in ["sfi+txn", "sfi", "wrapped", "native", "process"] {
        let report = exercised(DISK, "write,read,verify", &["--isolation", isolation, "--io-bytes", "65536"]);
        assert_eq!((&report["isolation"], &report["disk"]["serial"]), (&isolation.into(), &"nook".into()));
        assert_eq!((&report["interrupts"], &report["fault_count"]), (&"msix".into(), &0.into()));
    }
}

#[test]
fn every_call_that_crashes_is_rolled_back_and_nothing_is_lost() {
    for (options, every) in
        [("", "50ms"), (",vectors=1", "50ms"), (",disable-legacy=on,iommu_platform=on,vectors=0", "2ms")]
    {
        let report = exercised(&format!("{DISK}{options}"), "write,read,verify", &["--crash-every", every]);
        assert!(report["fault_count"].as_u64().expect("a count") > 5, "{}", report["recovery"]);
        assert_eq!(report["recovery"]["rollbacks"], report["fault_count"], "{}", report["recovery"]);
    }
}

#[test]
fn a_driver_that_is_restarted_under_load_loses_nothing() {
    let report = exercised(DISK, "write,read,verify", &["--crash-every", "50ms", "--isolation", "sfi"]);
    assert!(report["recovery"]["restarts"].as_u64().expect("a count") > 5, "{}", report["recovery"]);
}

#[test]
fn blocks_of_a_page_and_flushes_are_had() {
    let device = format!("{DISK},logical_block_size=4096,physical_block_size=4096");
    let report = exercised(&device, "write,fsync,verify", &["--io-bytes", "131072"]);
    assert_eq!((&report["disk"]["block_bytes"], &report["disk"]["blocks"]), (&4096.into(), &4096.into()));
    assert!(report["counters"]["flushes"].as_u64().expect("a count") > 0, "{}", report["counters"]);
}

#[test]
fn a_device_with_another_layout_or_of_the_old_standard_is_refused_with_the_reason() {
    for (option, says) in [
        ("disable-modern=on", "the device has no structure 1 of the standard: QEMU's needs disable-modern=off"),
        ("page-per-vq=on", "page-per-vq is not supported"),
    ] {
        let place = Place::new();
        place.file("disk.img", vec![0; 1 << 20]);
        let device = format!("{DISK},{option}");
        let driver = built("virtio-blk.wasm");
        let args = [driver.to_str().expect("a test's paths are text"), "--qemu", &device, "--exercise", "read"];
        assert_is_said(option, &place.nook_run(args).end(), 1, &[says]);
    }
}

/// Has the card carry pings, TCP both ways and requests, expects that all came as it was sent, and returns the report.
fn carried(device: &str, more: &[&str]) -> Value {
    let place = Place::new();
    place.file("policy.toml", "[restart]\nbudget = 100000\nbackoff_first = \"0ms\"\nbackoff_most = \"0ms\"\n");
    let driver = built("virtio-net.wasm");
    let args = [driver.to_str().expect("a test's paths are text"), "--qemu", device, "--exercise", "ping,tcp,rr"];
    place.nook_run(args.iter().chain(&["--policy", "policy.toml", "--json", "report.json"]).chain(more)).end().with(0);
    let report: Value = serde_json::from_slice(&fs::read(place.at("report.json")).expect("a report")).expect("JSON");
    let exercise = &report["exercise"];
    assert_eq!((&exercise["tcp"]["hash_ok"], &exercise["rr"]["lost"]), (&true.into(), &0.into()), "{exercise:#}");
    report
}

#[test]
fn a_network_card_carries_at_every_level_but_mpk() {
    for isolation in ["sfi", "wrapped", "native", "process"] {
        let report = carried("virtio-net-pci", &["--isolation", isolation]);
        assert_eq!((&report["interrupts"], &report["fault_count"]), (&"msix".into(), &0.into()));
        assert_eq!(report["exercise"]["ping"]["received"], 100, "{isolation}");
    }
}

#[test]
fn every_call_of_a_network_cards_that_crashes_is_rolled_back_and_nothing_is_lost() {
    for options in ["", ",vectors=1", ",disable-legacy=on,iommu_platform=on,vectors=0"] {
        let report = carried(&format!("virtio-net-pci{options}"), &["--crash-every", "20ms"]);
        assert!(report["fault_count"].as_u64().expect("a count") > 5, "{}", report["recovery"]);
        assert_eq!(report["recovery"]["rollbacks"], report["fault_count"], "{}", report["recovery"]);
        assert_eq!(report["exercise"]["ping"]["received"], 100, "{options}");
    }
}

/// What a source of random bytes reads, and these tests know.
struct Source {
    place: Place,
    fifo: File,
    bytes: Vec<u8>,
}

const SOURCE: &str = "virtio-rng-pci,random=fifo";

impl Source {
    /// Makes a FIFO that never ends, with the first `there` of `bytes`.
    fn new(bytes: usize, there: usize) -> Self {
        let place = Place::new();
        mknodat(rustix::fs::CWD, place.at("fifo"), FileType::Fifo, Mode::RWXU, 0).expect("a FIFO");
        let mut rng = Rng::new(9);
        let bytes: Vec<u8> = (0..bytes).map(|_| rng.word() as u8).collect();
        let mut fifo = File::options().read(true).write(true).open(place.at("fifo")).expect("it opens");
        fifo.write_all(&bytes[..there]).expect("it has room");
        place.file("policy.toml", "[restart]\nbudget = 100000\nbackoff_first = \"0ms\"\nbackoff_most = \"0ms\"\n");
        Source { place, fifo, bytes }
    }

    fn args<'a>(&self, driver: &'a str, device: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let all = [driver, "--qemu", device, "--policy", "policy.toml", "--json", "report.json"];
        [&all, more].concat()
    }

    /// Asks for as many bytes as each says, and returns the report.
    fn asked(&self, device: &str, lengths: &[u32], more: &[&str]) -> Value {
        let driver = built("virtio-rng.wasm");
        let calls: Vec<_> =
            lengths.iter().flat_map(|len| ["--call".into(), format!("random:{:08x}", len.swap_bytes())]).collect();
        let calls: Vec<_> = calls.iter().map(String::as_str).chain(more.iter().copied()).collect();
        self.place.nook_run(self.args(driver.to_str().expect("a test's paths are text"), device, &calls)).end().with(0);
        self.report()
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&fs::read(self.place.at("report.json")).expect("a report")).expect("JSON")
    }

    /// Starts a run that serves.
    fn serve(&self, more: &[&str]) -> (Running, Client) {
        let driver = built("virtio-rng.wasm");
        let more = [&["--serve", "random.sock"], more].concat();
        let args = self.args(driver.to_str().expect("a test's paths are text"), SOURCE, &more);
        let run = self.place.nook_run(args).start();
        let (socket, since) = (self.place.at("random.sock"), Instant::now());
        while UnixStream::connect(&socket).is_err() {
            assert!(since.elapsed() < Duration::from_secs(120), "nobody serves");
            std::thread::sleep(Duration::from_millis(20));
        }
        (run, Client::connect(&socket).expect("it serves"))
    }

    /// Returns where `given` ends in what the source had, which is behind `after`. QEMU drops bytes now and then
    /// (findings/qemu-virtio-rng-dropped-bytes.sh), and gives none twice.
    fn behind(&self, after: usize, given: &[u8]) -> usize {
        let found = self.bytes[after..].windows(given.len()).position(|bytes| bytes == given);
        after + found.unwrap_or_else(|| panic!("behind {after} the source had no {given:02x?}")) + given.len()
    }

    /// Ends it, and returns its report.
    fn end(&self, run: Running) -> Value {
        run.signal(libc::SIGINT);
        run.end().with(0);
        self.report()
    }
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().expect("text");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal")).collect()
}

#[test]
fn random_bytes_are_those_that_the_device_has_at_every_level_but_mpk() {
    for isolation in ["sfi+txn", "sfi", "wrapped", "native", "process"] {
        for options in ["", ",vectors=1", ",disable-legacy=on,iommu_platform=on,vectors=0"] {
            let source = Source::new(3000, 3000);
            let report = source.asked(&format!("{SOURCE}{options}"), &[32, 1, 2048], &["--isolation", isolation]);
            let given = [0, 1, 2].map(|at| bytes(&report["operations"][at]["output"]));
            assert_eq!(given.each_ref().map(Vec::len), [32, 1, 2048], "{isolation}{options}");
            given.iter().fold(0, |after, given| source.behind(after, given));
            assert_eq!((&report["isolation"], &report["fault_count"]), (&isolation.into(), &0.into()));
        }
    }
}

#[test]
fn bytes_that_come_in_pieces_are_given_together() {
    let mut source = Source::new(2048, 100);
    let (run, mut client) = source.serve(&[]);
    let given = std::thread::scope(|scope| {
        let given = scope.spawn(|| client.call("random", &2048u32.to_le_bytes()));
        for piece in source.bytes[100..].chunks(700) {
            std::thread::sleep(Duration::from_millis(100));
            source.fifo.write_all(piece).expect("it has room");
        }
        given.join().expect("a call")
    });
    assert_eq!(source.behind(0, &given.expect("bytes")), source.bytes.len());
    assert_eq!(source.end(run)["fault_count"], 0);
}

#[test]
fn calls_for_random_bytes_that_crash_are_rolled_back_and_none_is_given_twice() {
    let source = Source::new(65_536, 65_536);
    let (run, mut client) = source.serve(&["--crash-every", "5ms"]);
    let mut ask = |after, _| source.behind(after, &client.call("random", &64u32.to_le_bytes()).expect("bytes"));
    (0..1000).fold(0, &mut ask);
    let report = source.end(run);
    assert!(report["fault_count"].as_u64().expect("a count") > 5, "{}", report["recovery"]);
    assert_eq!(report["recovery"]["rollbacks"], report["fault_count"], "{}", report["recovery"]);
}

#[test]
fn a_driver_that_ended_before_it_gave_random_bytes_has_a_successor_that_gives_some() {
    let source = Source::new(4096, 4096);
    // The first `poll` shows the device what it is asked for.
    let (run, mut client) = source.serve(&["--isolation", "sfi", "--crash-at", "poll:2"]);
    let first = client.call("random", &32u32.to_le_bytes());
    assert!(matches!(first, Err(CallError::Answered(Reason::Lost, _))), "{first:?}");
    let given = client.call("random", &32u32.to_le_bytes()).expect("bytes");
    source.behind(0, &given);
    assert_eq!(source.end(run)["recovery"]["restarts"], 1);
}

#[test]
fn what_is_no_number_of_random_bytes_and_no_source_of_them_is_refused() {
    let source = Source::new(64, 64);
    let (run, mut client) = source.serve(&[]);
    for input in [&[][..], &[0; 4], &2049u32.to_le_bytes(), &[1, 0, 0, 0, 0]] {
        let outcome = client.call("random", input);
        assert!(matches!(outcome, Err(CallError::Answered(Reason::Refused, _))), "{input:?}: {outcome:?}");
    }
    assert_eq!(source.end(run)["fault_count"], 0);
    let driver = built("virtio-rng.wasm");
    for (device, says) in [
        ("virtio-rng-pci,random=none", "Could not open 'none'"),
        ("edu,random=fifo", "is no source of random bytes: leave `random=` out"),
    ] {
        let args = [driver.to_str().expect("a test's paths are text"), "--qemu", device];
        assert_is_said(device, &source.place.nook_run(args).end(), 1, &[says]);
    }
}
