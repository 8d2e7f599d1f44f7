//! How QEMU starts, fails to start, dies and ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::rig::*;
use nook_bus::{DeviceError, DmaWindow, PciDevice, Width};
use nook_qemu::{QemuConfig, QemuDevice, QemuError, QemuNet, models};
use rustix::process::{Pid, Signal};

fn config(model: &str) -> QemuConfig {
    QemuConfig::new(model, QemuNet::User { restrict: true })
}

/// A program that stands in for QEMU.
fn program(name: &str, script: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn an_unknown_model_is_refused_with_the_list_of_models() {
    let error = QemuDevice::start(config("rtl8139"), &window()).unwrap_err();
    assert!(matches!(error, QemuError::UnknownModel { .. }), "{error}");
    assert!(models().iter().all(|model| error.to_string().contains(model.name)), "{error}");
}

#[test]
fn a_missing_qemu_is_an_error_that_names_the_package() {
    let mut config = config("e1000");
    config.program = "qemu-system-of-nowhere".into();
    let error = QemuDevice::start(config, &window()).unwrap_err();
    assert!(matches!(error, QemuError::NotInstalled { .. }), "{error}");
    assert!(error.to_string().contains("apt-get install --no-install-recommends qemu-system-x86"), "{error}");
}

#[test]
fn a_qemu_that_ends_at_once_is_quoted() {
    let mut config = config("e1000");
    config.program = program("too-old", "echo \"-device e1000: property 'mitigation' not found\" >&2; exit 1");
    let error = QemuDevice::start(config, &window()).unwrap_err();
    assert!(matches!(error, QemuError::Ended { .. }), "{error}");
    for part in ["property 'mitigation' not found", "exit status: 1", "7.2"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn a_qemu_that_says_nothing_is_given_up() {
    let mut config = config("e1000");
    config.program = program("silent", "echo thinking >&2; exec sleep 1000");
    config.timeout = Duration::from_millis(300);
    let error = QemuDevice::start(config, &window()).unwrap_err();
    assert!(matches!(error, QemuError::Silent { .. }), "{error}");
    assert!(error.to_string().contains("thinking"), "{error}");
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
    let mut config = config("e1000");
    config.timeout = Duration::from_millis(1500);
    let mut card = started(QemuDevice::start(config, &window()));
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
    let cards: Vec<_> =
        models().iter().map(|model| started(QemuDevice::start(config(model.name), &window()))).collect();
    for (mut card, model) in cards.into_iter().zip(models()) {
        assert_eq!((card.identity().vendor, card.identity().device), model.id);
        if model.is_card && model.name != "vmxnet3" {
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
