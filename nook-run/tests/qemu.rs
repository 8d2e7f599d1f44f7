//! QEMU's devices on the command line: what cannot be had is refused with what to do, and nothing is left of it.

mod support;

use std::fs;

use support::{Asked, Place, assert_is_said, built, e1000};

/// What it is, the arguments after the driver, the exit status, and parts of the message.
type Refused = (&'static str, &'static [&'static str], i32, &'static [&'static str]);

const REFUSED: &[Refused] = &[
    (
        "a device of QEMU's that the driver does not drive",
        &["--qemu", "rtl8139"],
        1,
        &["`e1000` drives 8086:100e, ", "QEMU's rtl8139 (10ec:8139, ", "use another driver or another device"],
    ),
    (
        "a device that QEMU does not have",
        &["--qemu", "e1000-82544gz"],
        1,
        &["has no device `e1000-82544gz`; there is `e1000-82544gc`"],
    ),
    ("a device of another bus", &["--qemu", "usb-mouse"], 1, &["`usb-mouse` is not a PCI device"]),
    (
        "an option that the device does not have",
        &["--qemu", "e1000,frob=1"],
        1,
        &["QEMU refuses `e1000,frob=1`: Property 'e1000.frob' not found", "-device e1000,help"],
    ),
    ("an option that would be another device", &["--qemu", "e1000,driver=rtl8139"], 2, &["`driver` is not given here"]),
    (
        "a drive that is not there",
        &["--qemu", "nvme,file=no/such/disk.img"],
        1,
        &["the file \"no/such/disk.img\" cannot be a drive: No such file"],
    ),
    (
        "a log of what is written to no drive",
        &["--qemu", "nvme,write-log=writes.log"],
        2,
        &["give the drive's file, too, with `file=PATH`"],
    ),
    ("a drive for a card", &["--qemu", "e1000,file=no/such/disk.img"], 1, &["`e1000` has no drive"]),
    (
        "a QEMU that is another program",
        &["--qemu", "e1000", "--qemu-program", "/bin/true"],
        1,
        &["\"/bin/true\" is not QEMU", "qemu-system-x86_64 of version 7.2 or newer"],
    ),
    (
        "a QEMU that is not there",
        &["--qemu", "e1000", "--qemu-program", "no/such/qemu"],
        1,
        &["\"no/such/qemu\" is not installed"],
    ),
    (
        "a QEMU that is no program",
        &["--qemu", "e1000", "--qemu-program", "/etc/passwd"],
        1,
        &["starting \"/etc/passwd\": Permission denied"],
    ),
    (
        "a folder without a QEMU",
        &["--qemu", "e1000", "--qemu-program", "/proc"],
        1,
        &["--qemu-program: \"/proc\" holds no bin/qemu-system-x86_64"],
    ),
    ("a QEMU without a device of its", &["--qemu-program", "/bin/true"], 2, &["--qemu <DEVICE>"]),
    ("a cable for QEMU's card", &["--qemu", "e1000", "--wire", "none"], 2, &["cannot be used with"]),
];

#[test]
fn a_device_that_cannot_be_had_is_refused_with_what_is_wrong() {
    for (what, args, code, says) in REFUSED {
        let place = Place::new();
        let driver = e1000();
        let args = [driver.as_os_str()].into_iter().chain(args.iter().map(|arg| arg.as_ref()));
        assert_is_said(what, &place.nook_run(args).end(), *code, says);
        assert!(place.names().is_empty(), "{what}: {:?}", place.names());
    }
}

#[test]
fn a_log_of_writes_begins_as_an_empty_file_that_is_there() {
    let place = Place::new();
    place.file("disk.img", vec![0; 1 << 20]);
    place.file("used.log", "content");
    let run = |log: &str| {
        let device = format!("nvme,file=disk.img,write-log={log}");
        place.nook_run([built("nvme.wasm").to_str().unwrap(), "--qemu", &device, "--duration", "100ms"]).end()
    };
    assert_is_said("no log", &run("absent.log"), 1, &["\"absent.log\" cannot be a drive: No such file"]);
    assert_is_said("a log that was used", &run("used.log"), 1, &["\"used.log\" cannot be a drive: it is not empty"]);
    place.file("empty.log", "");
    run("empty.log").with(0);
    assert_eq!((fs::read(place.at("used.log")).unwrap(), place.names().len()), (b"content".to_vec(), 3));
}

/// Returns a place with a program called qemu-system-x86_64 that does this.
fn with_fake_qemu(place: &Place, script: &str) -> Asked {
    let folder = place.at("bin");
    fs::create_dir(&folder).unwrap();
    place.program("bin/qemu-system-x86_64", script);
    let path = format!("{}:/usr/bin:/bin", folder.display());
    place.nook_run([e1000().to_str().unwrap(), "--qemu", "e1000"]).env("PATH", path)
}

#[test]
fn a_machine_without_qemu_learns_which_package_has_it() {
    let ended = Place::new().nook_run([e1000().to_str().unwrap(), "--qemu", "e1000"]).env("PATH", "").end();
    let says = ["\"qemu-system-x86_64\" is not installed", "apt-get install --no-install-recommends qemu-system-x86"];
    assert_is_said("no QEMU", &ended, 1, &says);
}

#[test]
fn a_qemu_that_dies_at_once_is_quoted() {
    let knows = "case \"$*\" in *,help) printf 'e1000 options:\\n  multifunction=<bool>\\n'; exit;; esac";
    let script = format!("{knows}; echo 'no such machine: q35' >&2; exit 1");
    let ended = with_fake_qemu(&Place::new(), &script).end();
    let says = ["ended while starting", "exit status: 1", "no such machine: q35", "nook needs QEMU 7.2 or newer"];
    assert_is_said("a dying QEMU", &ended, 1, &says);
}

#[test]
fn a_qemu_that_says_nothing_is_given_up_and_ended() {
    let ended = with_fake_qemu(&Place::new(), "exec sleep 1000").end();
    assert_is_said("a silent QEMU", &ended, 1, &["did not answer within 10s"]);
}

#[test]
fn the_environment_may_name_another_qemu() {
    let run = |program: &str, more: &[&str]| {
        let driver = e1000();
        let args = [driver.to_str().unwrap(), "--qemu", "e1000", "--duration", "100ms"];
        Place::new().nook_run(args.iter().chain(more)).env("NOOK_QEMU", program).end()
    };
    assert_is_said("another program", &run("/bin/true", &[]), 1, &["\"/bin/true\" is not QEMU"]);
    assert_is_said("an empty folder", &run("/proc", &[]), 1, &["NOOK_QEMU: \"/proc\" holds no bin"]);
    for (program, more) in [("", &[][..]), ("/", &[]), ("/bin/true", &["--qemu-program", "qemu-system-x86_64"])] {
        let ended = run(program, more);
        assert_eq!(ended.status.code(), Some(0), "{program:?} {more:?}: {}", ended.stderr);
    }
}

#[test]
fn a_qemu_that_dies_under_the_driver_is_quarantine() {
    let place = Place::new();
    let mut run = place.nook_run([e1000().to_str().unwrap(), "--qemu", "e1000", "--json", "report.json"]).start();
    assert!(run.says("link up"), "{}", run.stderr());
    let helpers = run.helpers();
    let [(qemu, _)] = helpers[..] else { panic!("one QEMU: {helpers:?}") };
    rustix::process::kill_process(support::process(qemu), rustix::process::Signal::KILL).expect("QEMU is there");
    let ended = run.end();
    assert_is_said("a killed QEMU", &ended, 4, &["the device is gone", "SIGKILL"]);
    let report: serde_json::Value = serde_json::from_slice(&fs::read(place.at("report.json")).unwrap()).unwrap();
    assert_eq!(report["faults"].as_array().unwrap().len(), 1, "{report:#}");
}
