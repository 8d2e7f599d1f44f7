//! How QEMU starts, fails to start, dies and ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::rig::*;
use nook_bus::{DeviceError, DmaWindow, PciDevice, Width};
use nook_qemu::{QemuConfig, QemuDevice, QemuError, QemuNet, QemuProgram, models};
use rustix::process::{Pid, Signal};

fn config(device: &str) -> QemuConfig {
    QemuConfig::new(spec(device), QemuNet::User { restrict: true })
}

/// Makes a file that may be executed. A shell writes it: if this process did, a child that another test has just forked
/// could hold the descriptor, and what is open for writing cannot be executed.
fn executable(name: &str, content: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let write = r#"printf %s "$1" >"$2" && chmod 755 "$2""#;
    assert!(Command::new("sh").args(["-c", write, "sh", content]).arg(&path).status().unwrap().success());
    path
}

/// Returns a program that stands in for QEMU.
fn program(name: &str, script: &str) -> PathBuf {
    executable(name, &format!("#!/bin/sh\n{script}\n"))
}

/// Returns why there is no such device.
fn refused(device: &str) -> QemuError {
    QemuDevice::start(config(device), &window()).expect_err(device)
}

/// Returns the same of another QEMU.
fn refused_by(program: &Path) -> QemuError {
    let mut config = config("e1000");
    config.program = QemuProgram::at(program).unwrap();
    config.timeout = Duration::from_secs(20);
    QemuDevice::start(config, &window()).expect_err("it is no QEMU")
}

/// Returns a script that says of each device that it is an e1000, and otherwise does this.
fn knows_an_e1000(name: &str, script: &str) -> PathBuf {
    let knows = r#"case "$*" in *,help) printf 'e1000 options:\n  multifunction=<bool>\n'; exit;; esac"#;
    program(name, &format!("{knows}\n{script}"))
}

/// Returns a file of a test's own, 1 MiB of this byte.
fn disk(name: &str, byte: u8) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, vec![byte; 1 << 20]).unwrap();
    path
}

/// Starts a QEMU that is given up after `timeout`, or after twice as long, and so on, while it is not `enough`: how
/// soon it begins to work is up to the machine.
fn given_time<T>(mut timeout: Duration, start: impl Fn(Duration) -> T, enough: impl Fn(&T) -> bool) -> T {
    loop {
        let outcome = start(timeout);
        if enough(&outcome) || timeout > PATIENCE {
            return outcome;
        }
        timeout *= 2;
    }
}

#[test]
fn a_device_that_qemu_does_not_have_is_refused_with_names_that_are_like_it() {
    let error = refused("rtl8193");
    assert!(matches!(&error, QemuError::NoSuchDevice { near, .. } if near[0] == "rtl8139"), "{error}");
    for part in ["has no device `rtl8193`", "there is `rtl8139`", "Device 'rtl8193' not found"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn a_device_of_another_bus_is_refused() {
    for device in ["usb-mouse", "isa-serial", "virtio-net-device", "pc-dimm"] {
        let error = refused(device);
        assert!(matches!(&error, QemuError::NotPci { device: it } if it == device), "{error}");
    }
}

#[test]
fn a_bridge_is_refused() {
    let error = refused("pci-bridge,chassis_nr=1");
    assert!(matches!(&error, QemuError::Unusable { why, .. } if why.contains("bridge")), "{error}");
}

#[test]
fn a_device_whose_registers_find_no_room_is_refused() {
    let error = refused("qxl,vram_size_mb=1024");
    assert!(matches!(&error, QemuError::Unusable { why, .. } if why.contains("no room for its BAR")), "{error}");
}

#[test]
fn what_qemu_says_against_an_option_is_passed_on() {
    for (device, words) in [
        ("e1000,frob=1", "Property 'e1000.frob' not found"),
        ("e1000,mac=zz", "Property 'e1000.mac' doesn't take value 'zz'"),
        ("rtl8139,rombar=x,,y", "Parameter 'rombar' expects integer"),
        ("virtio-blk-pci", "drive property not set; give it a drive with `file=PATH`"),
    ] {
        let error = refused(device);
        assert!(matches!(error, QemuError::Refused { .. }), "{device}: {error}");
        let text = error.to_string();
        assert!(text.contains(words) && text.contains(&format!("`{device}`")), "{device}: {error}");
    }
}

#[test]
fn an_option_reaches_its_device() {
    let mut card = started(QemuDevice::start(config("e1000,mac=02:aa:bb:cc:dd:ee"), &window()));
    assert_eq!(card.bar_read(0, RAL, Width::B4).unwrap(), 0xccbb_aa02);
}

#[test]
fn no_option_connects_a_device_to_what_is_nooks() {
    let error = refused("nvme,pmrdev=window");
    assert!(matches!(&error, QemuError::Connection { option, .. } if option == "pmrdev"), "{error}");
}

/// Devices of all kinds, none of which has a line of nook's own; some have no interrupt, memory or port at all.
#[test]
fn devices_that_nook_has_never_heard_of_start_and_say_who_they_are() {
    for (device, id, class) in [
        ("rtl8139", 0x10ec_8139, 0x0200),
        ("e1000-82544gc", 0x8086_100c, 0x0200),
        ("ne2k_pci", 0x10ec_8029, 0x0200),
        ("virtio-net", 0x1af4_1000, 0x0200),
        ("nvme", 0x1b36_0010, 0x0108),
        ("pci-serial", 0x1b36_0002, 0x0700),
        ("virtio-rng-pci", 0x1af4_1005, 0x00ff),
        ("qemu-xhci", 0x1b36_000d, 0x0c03),
        ("lsi", 0x1000_0012, 0x0100),
        ("pci-testdev", 0x1b36_0005, 0x00ff),
    ] {
        let mut card = started(QemuDevice::start(config(device), &window()));
        let identity = card.identity();
        let found = u32::from(identity.vendor) << 16 | u32::from(identity.device);
        assert_eq!((found, identity.class >> 8), (id, class), "{device}: {found:08x} {:06x}", identity.class);
        assert!(card.describe().contains(device), "{}", card.describe());
        card.service(0).unwrap();
    }
}

#[test]
fn a_file_becomes_a_drive_commas_in_its_name_or_not() {
    /// Of nvme: capabilities, whose lower 16 bits are the longest queue less one.
    const CAP: u32 = 0;
    for (name, text) in [("nook,disk.img", "nook,,disk.img"), ("driver=x,,b.img", "driver=x,,,,b.img")] {
        let path = disk(name, 0x5a);
        let device = format!("nvme,file={}", path.to_str().unwrap().replace(name, text));
        let mut card = started(QemuDevice::start(config(&device), &window()));
        assert_eq!(card.bar_read(0, CAP, Width::B8).unwrap() & 0xffff, 0x7ff);
        assert!(opened_by(card.process_id()).contains(&path.canonicalize().unwrap()), "{device}");
        drop(card);
        assert!(fs::read(&path).unwrap().iter().all(|byte| *byte == 0x5a), "{device}: nobody wrote to it");
    }
}

/// Files that a process has open.
fn opened_by(pid: u32) -> Vec<PathBuf> {
    let folder = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    folder.flatten().filter_map(|entry| fs::read_link(entry.path()).ok()).collect()
}

#[test]
fn a_file_that_cannot_be_a_drive_is_refused() {
    let none = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-such-disk");
    let folder = env!("CARGO_TARGET_TMPDIR");
    let of = |path: &str| refused(&format!("nvme,file={}", path.replace(',', ",,")));
    for (path, says) in [(none.to_str().unwrap(), "No such file"), (folder, "neither a file nor a block device")] {
        let error = of(path);
        assert!(matches!(error, QemuError::DriveFile { .. }), "{error}");
        assert!(error.to_string().contains(path) && error.to_string().contains(says), "{error}");
    }
    assert!(!none.exists(), "it was made");
    let path = disk("for-no-card", 0);
    let error = refused(&format!("e1000,file={}", path.display()));
    assert!(matches!(error, QemuError::NoDrive { .. }), "{error}");
    let empty = Path::new(folder).join("empty-disk");
    fs::write(&empty, "").unwrap();
    drop(started(QemuDevice::start(config(&format!("nvme,file={}", empty.display())), &window())));
}

#[test]
fn a_missing_qemu_is_an_error_that_names_the_package() {
    let error = refused_by("qemu-system-of-nowhere".as_ref());
    assert!(matches!(error, QemuError::NotInstalled { .. }), "{error}");
    assert!(error.to_string().contains("apt-get install --no-install-recommends qemu-system-x86"), "{error}");
}

#[test]
fn a_program_that_is_not_qemu_is_distinguished_from_one() {
    let text = executable("text", "This is no program.\n");
    let (chatty, failing) = (program("chatty", "exec yes"), program("failing", "exit 3"));
    for (program, says) in [
        ("/bin/true", "--version"),
        (failing.to_str().unwrap(), "exit status: 3"),
        (text.to_str().unwrap(), "exit status: 127"),
        (chatty.to_str().unwrap(), "it answered \"y\""),
    ] {
        let error = refused_by(program.as_ref());
        assert!(matches!(error, QemuError::NotQemu { .. }), "{error}");
        assert!(error.to_string().contains(program) && error.to_string().contains(says), "{error}");
    }
    fs::set_permissions(&text, fs::Permissions::from_mode(0o644)).unwrap();
    let error = refused_by(&text).to_string();
    assert!(error.contains("starting") && error.contains("Permission denied"), "{error}");
}

#[test]
fn a_qemu_that_ends_at_once_is_quoted() {
    let error = refused_by(&knows_an_e1000("too-old", "echo \"no machine 'q35'\" >&2; exit 1"));
    assert!(matches!(error, QemuError::Ended { .. }), "{error}");
    for part in ["no machine 'q35'", "exit status: 1", "7.2"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn a_qemu_that_says_nothing_is_given_up() {
    let silent = "echo thinking >&2; exec sleep 1000";
    for program in [program("silent", silent), knows_an_e1000("silent-later", silent)] {
        let start = |timeout| {
            let mut config = config("e1000");
            config.program = QemuProgram::at(&program).unwrap();
            config.timeout = timeout;
            QemuDevice::start(config, &window()).unwrap_err()
        };
        let error = given_time(Duration::from_millis(300), start, |error| error.to_string().contains("thinking"));
        assert!(matches!(error, QemuError::Silent { .. }), "{error}");
        assert!(error.to_string().contains("thinking"), "{error}");
    }
}

#[test]
fn a_window_whose_length_is_no_power_of_two_is_refused_with_one_that_would_do() {
    let error = QemuDevice::start(config("e1000"), &DmaWindow::new(6 << 20).unwrap()).unwrap_err();
    assert!(matches!(error, QemuError::WindowSize { wanted: 0x80_0000, .. }), "{error}");
}

#[test]
fn a_card_whose_qemu_is_killed_is_gone_and_stays_gone() {
    let mut card = started(QemuDevice::start(config("e1000"), &window()));
    kill(card.process_id());
    wait("the card to be gone", || card.service(0).is_err());
    for outcome in [card.service(0).map(drop), card.bar_read(0, STATUS, Width::B4).map(drop), card.flush()] {
        let Err(DeviceError::Gone(why)) = outcome else { panic!("{outcome:?}") };
        assert!(why.contains("SIGKILL"), "{why}");
    }
}

#[test]
fn a_card_whose_qemu_stops_answering_is_gone_and_its_process_is_ended() {
    let start = |timeout| QemuDevice::start(QemuConfig { timeout, ..config("e1000") }, &window());
    let begun = |card: &Result<_, _>| !matches!(card, Err(QemuError::Silent { .. }));
    let mut card = started(given_time(Duration::from_millis(1500), start, begun));
    let pid = card.process_id();
    signal(pid, Signal::STOP);
    let error = card.bar_read(0, STATUS, Width::B4).unwrap_err();
    assert!(matches!(&error, DeviceError::Gone(why) if why.contains("did not answer")), "{error}");
    assert!(!exists(pid), "a process that may still do DMA was left running");
}

#[test]
fn dropping_the_card_ends_its_qemu() {
    let card = started(QemuDevice::start(config("e1000"), &window()));
    let pid = card.process_id();
    assert!(exists(pid));
    drop(card);
    assert!(!exists(pid));
}

#[test]
fn a_card_moves_to_another_thread_and_outlives_the_one_that_started_it() {
    let mut card = std::thread::spawn(|| started(QemuDevice::start(config("e1000"), &window()))).join().unwrap();
    // Were it tied to that thread, the signal would be on its way by now.
    for _ in 0..100 {
        assert_ne!(card.bar_read(0, STATUS, Width::B4).unwrap() & STATUS_LU, 0);
    }
}

#[test]
fn cards_do_not_disturb_each_other() {
    let models = || models().iter().filter(|model| model.since.is_none());
    let cards: Vec<_> = models().map(|model| started(QemuDevice::start(config(model.name), &window()))).collect();
    for (mut card, model) in cards.into_iter().zip(models()) {
        assert_eq!((card.identity().vendor, card.identity().device), model.id);
        if model.chip.starts_with("Intel") {
            assert_ne!(card.bar_read(0, STATUS, Width::B4).unwrap() & STATUS_LU, 0);
        }
    }
}

fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn kill(pid: u32) {
    signal(pid, Signal::KILL)
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid as i32).expect("a process id");
    rustix::process::kill_process(pid, signal).expect("our child, not yet reaped");
}
