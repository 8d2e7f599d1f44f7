//! Instances come and go: keys, memory and descriptors with them.

use std::fs;

use hostile_domain::wrong;
use nook_mpk::{MpkLauncher, NoKeys};
use nook_runtime::{LaunchError, Launcher, Layout, NookBuilder, NookError, now_ns};
use nook_tests::object_file::ObjectFile;
use nook_tests::{BareDevice, FrameQueues, frame};

use crate::rig::{alone, ends, host, is_long, launcher, manifest, mappings, opened, tell, works};

#[test]
fn sixteen_drivers_at_once_are_one_too_many_and_that_is_said() {
    let _alone = alone();
    let Some(launcher) = launcher() else { return };
    let mut drivers = Vec::new();
    let refused = loop {
        match launcher.launch(host(wrong::NOTHING, 0).0) {
            Ok(driver) => drivers.push(driver),
            Err(error) => break error,
        }
        assert!(drivers.len() < 16, "there are fifteen keys");
    };
    assert_eq!(refused.why, NoKeys::AllTaken.to_string());
    assert_eq!(drivers.len(), 15);
    drivers.into_iter().for_each(|driver| drop(driver.end()));
    let LaunchError { host, .. } = *refused;
    drop(launcher.launch(host).map_err(|error| error.why).unwrap().end());
}

/// Mappings and descriptors of this process.
fn counts() -> (usize, usize) {
    (mappings().len(), fs::read_dir("/proc/self/fd").unwrap().count())
}

/// There are as many descriptors, and no more mappings, but for some that an allocator makes for itself and the stacks
/// of other threads: 10,000 restarts were seen to add six.
#[track_caller]
fn assert_nothing_is_left((maps, files): (usize, usize)) {
    let after = counts();
    assert_eq!(after.1, files);
    assert!(after.0 <= maps + 16, "{maps} mappings became {}", after.0);
}

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn restarts_leave_no_mapping_no_descriptor_no_memory_and_no_key() {
    let _alone = alone();
    let Some(launcher) = launcher() else { return };
    let round = |number: u32| {
        let is_bad = number.is_multiple_of(2);
        let outcome = ends(&launcher, if is_bad { wrong::STORES } else { wrong::NOTHING }, 0);
        assert_eq!(outcome.is_err(), is_bad);
    };
    (0..20).for_each(round);
    let (before, bytes) = (counts(), resident());
    (0..if is_long() { 10_000 } else { 300 }).for_each(round);
    assert_nothing_is_left(before);
    let grown = resident().saturating_sub(bytes);
    assert!(grown < 4 << 20, "{grown} bytes more");
}

#[test]
fn an_instance_that_nobody_ends_gives_its_key_and_memory_back() {
    let _alone = alone();
    let Some(launcher) = launcher() else { return };
    works(&launcher);
    let before = counts();
    for _ in 0..20 {
        drop(opened(&launcher, wrong::NOTHING, 0));
    }
    assert_nothing_is_left(before);
}

#[test]
fn what_is_known_of_a_drivers_end_names_the_function_and_the_address() {
    let _alone = alone();
    let Some(launcher) = launcher() else { return };
    let (manifest, maps) = (manifest(), [&e1000_regs::MAP]);
    let layout = Layout::new(0, &manifest);
    let (device, handle) = BareDevice::new();
    let address = &raw const manifest as u64;
    tell(&handle, wrong::STORES, address);
    let builder = NookBuilder::new(&manifest, &layout, &maps);
    let mut nook = builder.net(Box::new(device), Box::new(launcher), FrameQueues::default()).unwrap();
    nook.start().unwrap();
    nook.backend_mut().to_send.push_back(frame(1, 60));
    let error = (0..100).find_map(|_| nook.turn(now_ns()).err()).expect("it is polled");
    assert!(matches!(error, NookError::Fault { .. }), "{error}");
    let callers = nook.take_crash_state().callers;
    let name = callers[0].name.as_deref().unwrap();
    assert!(name.contains("poll") || name.contains("store"), "{name}");
    assert!(name.contains("+0x") && name.contains(&format!("address {address:#x}")), "{name}");
}

/// Returns why an object whose first function begins with these bytes is not launched.
fn launches(code: &[u8]) -> String {
    let ObjectFile(mut bytes) = ObjectFile::hostile();
    let file = ObjectFile(bytes.clone());
    let at = file.offset(file.word(file.first_function() + 16));
    bytes[at..at + code.len()].copy_from_slice(code);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.mpk");
    fs::write(&path, &bytes).unwrap();
    let launcher = MpkLauncher::new(&path, &manifest()).unwrap();
    match launcher.launch(host(wrong::NOTHING, 0).0) {
        Ok(_) => panic!("it was launched"),
        Err(error) => error.why.clone(),
    }
}

#[test]
fn a_driver_that_cannot_even_be_made_is_refused_with_the_place_and_leaves_nothing() {
    let _alone = alone();
    let Some(launcher) = launcher() else { return };
    works(&launcher);
    let before = counts();
    for _ in 0..20 {
        let why = launches(&[0x0f, 0x0b]);
        assert!(why.contains("making the instance") && why.contains("create") && why.contains("+0x0"), "UD2: {why}");
    }
    let why = launches(&[0xeb, 0xfe]);
    assert!(why.contains("time") && why.contains("create"), "a jump to itself: {why}");
    assert_nothing_is_left(before);
    works(&launcher);
}
