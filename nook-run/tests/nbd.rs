//! A disk that `--nbd` serves: programs of others copy and verify through it, and while its driver crashes, too.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{Place, Running, built, eventually};

/// Bytes of the embedded disk.
const DISK_BYTES: usize = 64 << 20;

/// A run that serves a disk at a socket in its place.
struct Serving {
    place: Place,
    run: Running,
}

impl Serving {
    fn new(place: Place, options: &[&str]) -> Self {
        let nvme = built("nvme.wasm");
        let nvme = nvme.to_str().expect("a test's paths are text");
        let all = [nvme, "--nbd", "unix:disk.sock", "--json", "report.json"];
        let mut run = place.nook_run(all.iter().chain(options)).start();
        assert!(run.says("INFO the disk has"), "{}", run.stderr());
        Serving { place, run }
    }

    fn uri(&self) -> String {
        format!("nbd+unix:///?socket={}", self.place.at("disk.sock").display())
    }

    /// Runs a program of others in the place; fails the test if it fails.
    fn client(&self, program: &str, args: &[&str]) -> String {
        client(self.place.path(), program, args)
    }

    /// Verifies writes all over the disk, then copies a file of random bytes to it and from it.
    fn work(&self) {
        let uri = self.uri();
        self.client("sh", &["-c", &format!("head -c {DISK_BYTES} /dev/urandom > from")]);
        let fio = ["--name=v", "--ioengine=nbd", "--size=64M", "--rw=randwrite", "--bs=4k", "--iodepth=32"];
        let verify = [&format!("--uri={uri}"), "--verify=crc32c", "--verify_fatal=1", "--end_fsync=1"];
        let said = self.client("fio", &[&fio[..], &verify].concat());
        assert!(said.contains("err= 0"), "{said}");
        self.client("nbdcopy", &["--flush", "from", &uri]);
        self.client("nbdcopy", &[&uri, "to"]);
        self.client("cmp", &["from", "to"]);
    }

    /// Stops the run; its report.
    fn end(self) -> (Place, Value) {
        self.run.signal(libc::SIGINT);
        let end = self.run.end().with(0);
        assert!(!self.place.at("disk.sock").exists(), "the socket goes with the run: {}", end.stderr);
        let report = std::fs::read(self.place.at("report.json")).expect("a report");
        let report = serde_json::from_slice(&report).expect("JSON");
        (self.place, report)
    }
}

fn client(place: &Path, program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    let output = command.current_dir(place).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; `cargo xtask setup` installs it"));
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {text}");
    text.into_owned()
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}

#[test]
fn what_was_copied_to_the_disk_is_copied_from_it_at_every_level() {
    for isolation in ["sfi+txn", "sfi", "native", "process"] {
        let serving = Serving::new(Place::new(), &["--isolation", isolation, "--nbd-name", "disk"]);
        serving.work();
        let info = serving.client("nbdinfo", &[&serving.uri()]);
        assert!(info.contains("export=\"disk\"") && info.contains("export-size: 67108864"), "{info}");
        let (_, report) = serving.end();
        assert_eq!((count(&report["fault_count"]), count(&report["counters"]["errors"])), (0, 0), "{report:#}");
    }
}

#[test]
fn a_driver_that_is_rolled_back_again_and_again_is_not_noticed_by_clients() {
    let serving = Serving::new(Place::new(), &["--crash-every", "20ms"]);
    while_it_crashes(serving, "rollbacks");
}

#[test]
fn a_driver_that_is_restarted_is_not_noticed_by_clients() {
    let place = Place::new();
    place.file("policy.toml", "[restart]\nbudget = 1000\nbackoff_first = \"1ms\"\nbackoff_most = \"1ms\"\n");
    let serving = Serving::new(place, &["--isolation", "sfi", "--crash-every", "300ms", "--policy", "policy.toml"]);
    while_it_crashes(serving, "restarts");
}

/// Has it work until there were a few crashes.
fn while_it_crashes(serving: Serving, remedy: &str) {
    for _ in 0..3 {
        serving.work();
    }
    let (_, report) = serving.end();
    let recovery = &report["recovery"];
    assert!(count(&recovery[remedy]) >= 3, "{report:#}");
    let counters = &report["counters"];
    assert_eq!((count(&counters["errors"]), count(&counters["poison"])), (0, 0), "{report:#}");
}

#[test]
fn a_file_is_the_disk_and_keeps_what_a_client_wrote() {
    let place = Place::new();
    place.file("image", vec![0x11; 1 << 20]);
    let serving = Serving::new(place, &["--disk", "image"]);
    let uri = serving.uri();
    serving.client("qemu-io", &["-f", "raw", "-c", "read -P 17 0 1M", "-c", "write -P 34 4k 8k", "-c", "flush", &uri]);
    let (place, _) = serving.end();
    let image = std::fs::read(place.at("image")).expect("the image");
    assert!(image[4096..12288].iter().all(|&byte| byte == 0x22) && image[..4096].iter().all(|&byte| byte == 0x11));
}

#[test]
fn a_disk_that_clients_may_not_write_stays_as_it_is() {
    let serving = Serving::new(Place::new(), &["--read-only"]);
    let info = serving.client("nbdinfo", &[&serving.uri()]);
    assert!(info.contains("is_read_only: true"), "{info}");
    serving.end();
}

#[test]
fn an_address_that_cannot_be_listened_at_is_an_error_before_anything_runs() {
    let place = Place::new();
    place.file("taken", "content");
    let nvme = built("nvme.wasm");
    let nvme = nvme.to_str().expect("a test's paths are text");
    for (address, says) in [
        ("unix:taken", "it is no socket"),
        ("unix:absent/disk.sock", "No such file"),
        ("tcp:host.example", "write unix:PATH"),
        ("systemd", "LISTEN_FDS"),
    ] {
        let end = place.nook_run([nvme, "--nbd", address]).end();
        assert!(!end.status.success() && end.stderr.contains(says), "{address}: {}", end.stderr);
    }
    assert_eq!(place.names(), ["taken"]);
}

#[test]
fn a_client_that_hangs_does_not_keep_the_run_from_its_end() {
    let serving = Serving::new(Place::new(), &[]);
    let hanging = std::os::unix::net::UnixStream::connect(serving.place.at("disk.sock")).expect("a connection");
    serving.client("nbdinfo", &[&serving.uri()]);
    serving.end();
    eventually("its connection is closed", || {
        use std::io::Read;
        let ended = (&hanging).read_to_end(&mut Vec::new());
        ended.map(drop).map_err(|error| error.to_string())
    });
}
