//! A native driver's shared object: what is checked in the file before anything of it runs, that each instance has one
//! to itself, what comes of a panic in it, and that it leaves nothing in its host.
#![expect(unsafe_code, reason = "handlers of signals are asked for by a raw system call")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use e1000_regs::{ITR, TIPG};
use nook_abi::{Entry, Fault, NativeHead, TrapKind};
use nook_compiled::CompiledError;
use nook_native::{Level, NativeError, NativeLauncher};
use nook_runtime::{
    Driver, Ended, Host, Launcher, Layout, Nook, NookBuilder, NookError, OwnedManifest, now_ns, parse_manifest,
};
use nook_tests::{BareDevice, BareDeviceHandle, FrameQueues, driver_file, native};
use odd_native::{MANIFEST, wrong};

fn manifest() -> OwnedManifest {
    parse_manifest(MANIFEST.as_bytes()).unwrap()
}

/// Returns a host on registers that tell the driver what to do wrong.
fn host(wrong: u32) -> (Host, BareDeviceHandle) {
    let manifest = manifest();
    let layout = Layout::new(0, &manifest);
    let (device, handle) = BareDevice::new();
    handle.set_register(TIPG.offset().into(), wrong);
    let host = NookBuilder::new(&manifest, &layout, &[&e1000_regs::MAP]).host(Box::new(device));
    (host.unwrap(), handle)
}

/// Returns how often the copy of the object that was probed last had been probed.
fn probes(handle: &BareDeviceHandle) -> u32 {
    handle.register(ITR.offset().into())
}

fn probed(launcher: &NativeLauncher, host: Host) -> Box<dyn Driver> {
    let mut driver = launcher.launch(host).unwrap_or_else(|error| panic!("{}", error.why));
    let page = driver.host_page();
    assert_eq!(driver.probe(0, page), Ok(0));
    driver
}

/// One at a time: a test looks for what is mapped in this process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns what is mapped of copies of drivers.
fn mapped() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("memfd:nook-driver")).count()
}

#[test]
fn each_instance_has_a_copy_that_goes_with_it_and_begins_with_what_is_in_the_file() {
    let _alone = alone();
    let launcher = native("odd", &manifest(), Level::Wrapped);
    let before = mapped();
    let (first, second) = (host(wrong::NOTHING), host(wrong::NOTHING));
    let (mut one, two) = (probed(&launcher, first.0), probed(&launcher, second.0));
    assert_eq!((probes(&first.1), probes(&second.1)), (1, 1), "both at once");
    one.remove().unwrap();
    let page = one.host_page();
    // Whatever comes of it: an interface is attached once.
    let _ = one.probe(0, page);
    assert_eq!(probes(&first.1), 2, "it is counted");
    let Ended { host, quiet } = one.end();
    quiet.unwrap();
    let again = probed(&launcher, host);
    assert_eq!(probes(&first.1), 1, "a restart");
    assert!(mapped() > before);
    drop((two.end(), again.end()));
    assert_eq!(mapped(), before, "nothing is left");

    // Many in a row, and descriptors of other files between them: no copy is taken for an earlier one.
    for round in 0..50 {
        let (host, handle) = self::host(wrong::NOTHING);
        let _between = (0..round % 3).map(|_| fs::File::open("/dev/null").unwrap()).collect::<Vec<_>>();
        drop(probed(&launcher, host).end());
        assert_eq!(probes(&handle), 1);
    }
    assert_eq!(mapped(), before);
}

#[test]
fn a_panic_is_a_fault_and_a_restart_mends_it() {
    let _alone = alone();
    let launcher = native("odd", &manifest(), Level::Wrapped);
    for wrong in [wrong::PANICS, wrong::PANICS_AT_THE_END] {
        let (host, handle) = host(wrong);
        let mut driver = probed(&launcher, host);
        let fault = Fault::Trap { entry: Entry::Poll, kind: TrapKind::Unreachable };
        assert_eq!(driver.poll(0, 64, 0), Err(fault));
        assert_eq!(driver.open(), Err(fault), "after a fault it is not called again");
        let Ended { host, quiet } = driver.end();
        quiet.unwrap();
        handle.set_register(TIPG.offset().into(), wrong::NOTHING);
        let mut nook = Nook::net(host, Box::new(native("odd", &manifest(), Level::Native)), FrameQueues::default());
        nook.start().unwrap();
        for _ in 0..4 {
            nook.turn(now_ns()).unwrap();
        }
        handle.set_register(TIPG.offset().into(), wrong);
        nook.restart().unwrap();
        let ends = (0..4).find_map(|_| nook.turn(now_ns()).err());
        assert!(matches!(ends, Some(NookError::Fault { fault: found, .. }) if found == fault), "{ends:?}");
    }
}

/// Runs an instance that does `wrong` in a poll, and returns what is said if there is none.
fn lives(launcher: &NativeLauncher, wrong: u32) -> Result<(), String> {
    let mut driver = launcher.launch(host(wrong).0).map_err(|error| error.why)?;
    let page = driver.host_page();
    assert_eq!(driver.probe(0, page), Ok(0));
    driver.open().unwrap();
    driver.poll(0, 64, 0).unwrap();
    driver.end().quiet.unwrap();
    Ok(())
}

/// Returns where the handlers of faults are.
fn handlers() -> [usize; 2] {
    [libc::SIGSEGV, libc::SIGBUS].map(|signal| {
        // SAFETY: an all-zero action is a valid one; the call writes one, and changes nothing.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            assert_eq!(libc::sigaction(signal, std::ptr::null(), &mut action), 0);
            action.sa_sigaction
        }
    })
}

#[test]
fn a_driver_with_a_thread_local_is_unloaded_at_each_of_6000_restarts() {
    let _alone = alone();
    let launcher = native("odd", &manifest(), Level::Wrapped);
    let before = mapped();
    for _ in 0..6000 {
        lives(&launcher, wrong::KEEPS_IN_A_THREAD).unwrap();
    }
    assert_eq!(mapped(), before);
    // A thread that ends with an instance's thread-local before the instance does.
    let mut driver = probed(&launcher, host(wrong::KEEPS_IN_A_THREAD).0);
    std::thread::scope(|scope| scope.spawn(|| driver.poll(0, 64, 0)).join().unwrap()).unwrap();
    drop(driver.end());
    assert_eq!(mapped(), before);
}

#[test]
fn an_object_that_cannot_be_unloaded_is_not_loaded_again() {
    let _alone = alone();
    let before = mapped();
    // Its own thread, whose end takes the copy away.
    let again = std::thread::spawn(|| {
        let launcher = native("odd", &manifest(), Level::Wrapped);
        lives(&launcher, wrong::STAYS).unwrap();
        lives(&launcher, wrong::NOTHING)
    });
    let said = again.join().unwrap().unwrap_err();
    assert!(said.contains("odd.so") && said.contains("could not be unloaded"), "{said}");
    // With its thread it can go, and goes when the next object does.
    lives(&native("odd", &manifest(), Level::Wrapped), wrong::NOTHING).unwrap();
    assert_eq!(mapped(), before);
}

#[test]
fn an_object_whose_constructors_handle_faults_is_refused_and_the_handlers_are_as_before() {
    let _alone = alone();
    let (_folder, path) = changed(|bytes| replace(bytes, b"handlers: never.", b"handlers: always"));
    let before = handlers();
    let launcher = NativeLauncher::new(&path, &manifest(), Level::Native).unwrap();
    let mapped_before = mapped();
    let said = lives(&launcher, wrong::NOTHING).unwrap_err();
    assert!(said.contains("SIGSEGV, SIGBUS") && said.contains("odd.so"), "{said}");
    assert_eq!((handlers(), mapped()), (before, mapped_before));
}

/// Returns the odd driver's object with `change` made to its bytes, in a folder that goes with the first of the two.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> (tempfile::TempDir, PathBuf) {
    let mut bytes = fs::read(driver_file("odd").with_extension("so")).expect("`cargo xtask drivers` made it");
    change(&mut bytes);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.so");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn refused(path: &Path) -> NativeError {
    NativeLauncher::new(path, &manifest(), Level::Native).err().expect("it is refused")
}

fn said(path: &Path) -> String {
    let said = refused(path).to_string();
    assert!(said.contains(path.to_str().unwrap()), "it says which file: {said}");
    said
}

/// Replaces every place of `old`; there is one.
fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    assert_eq!(old.len(), new.len());
    let places: Vec<_> = (0..=bytes.len() - old.len()).filter(|&at| bytes[at..].starts_with(old)).collect();
    assert!(!places.is_empty(), "{}", String::from_utf8_lossy(old));
    for at in places {
        bytes[at..at + new.len()].copy_from_slice(new);
    }
}

#[test]
fn what_is_no_shared_object_with_a_driver_is_refused_and_it_is_said_why() {
    let object = |change: fn(&mut Vec<u8>)| {
        let (_folder, path) = changed(change);
        said(&path)
    };
    assert!(object(|bytes| bytes.clear()).contains("is not a compiled driver"));
    assert!(object(|bytes| bytes.truncate(300)).contains("is not a compiled driver"));
    // ELF's e_machine is at 18 and e_type at 16 (System V ABI, chapter 4); 243 is RISC-V, and 1 a relocatable file.
    let other = object(|bytes| bytes[18..20].copy_from_slice(&243u16.to_le_bytes()));
    assert!(other.contains("riscv") && other.contains(std::env::consts::ARCH), "{other}");
    assert!(object(|bytes| bytes[16] = 1).contains("it is no shared object"));
    let other = object(|bytes| replace(bytes, b".nook.manifest\0", b".nook.manifold\0"));
    assert!(other.contains("no section .nook.manifest"), "{other}");
    let other = object(|bytes| replace(bytes, b"nook_driver_odd\0", b"nook_driver_odt\0"));
    assert!(other.contains("does not export `nook_driver_odd`"), "{other}");
    let other = object(|bytes| replace(bytes, b"\nclass = net\n", b"\nclass = not\n"));
    assert!(other.contains("class"), "{other}");
    let other = object(|bytes| replace(bytes, b"abi = 1.", b"abi = 7."));
    assert!(other.contains("built for nook ABI 7."), "{other}");
    let other = object(|bytes| replace(bytes, b"dma_bytes = 8192", b"dma_bytes = 4096"));
    assert!(other.contains("has another manifest than the driver's wasm file"), "{other}");

    let folder = tempfile::tempdir().unwrap();
    let missing = said(&folder.path().join("missing.so"));
    assert!(missing.contains("No such file") && missing.contains("cargo xtask drivers"), "{missing}");
    assert!(said(folder.path()).contains("not a regular file"));
    assert!(said(&driver_file("e1000")).contains("is not a compiled driver"), "a wasm file");
    let other = driver_file("e1000").with_extension("so");
    assert!(matches!(refused(&other), NativeError::Object(CompiledError::OtherDriver { .. })));
}

#[test]
fn an_object_with_other_tables_is_refused() {
    let NativeHead { abi_major, abi_minor, hostcalls, entries } = NativeHead::OURS;
    let ours = [abi_major, abi_minor, hostcalls, entries].map(u16::to_ne_bytes).concat();
    let more = [abi_major, abi_minor, hostcalls + 1, entries].map(u16::to_ne_bytes).concat();
    let (_folder, path) = changed(|bytes| replace(bytes, &ours, &more));
    let said = said(&path);
    assert!(matches!(refused(&path), NativeError::OtherTables { .. }), "{said}");
    assert!(said.contains(&format!("with {} hostcalls", hostcalls + 1)) && said.contains("rebuild"), "{said}");
}

#[test]
fn an_object_that_the_loader_refuses_is_no_instance_and_the_host_is_not_lost() {
    let _alone = alone();
    let (_folder, path) = changed(|bytes| {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        let (table, count) = (word(32), u16::from_le_bytes([bytes[56], bytes[57]]) as usize);
        // Segments that are loaded (type 1) begin where none may: at an address that is no multiple of their alignment.
        for at in (0..count).map(|index| table + index * 56) {
            if bytes[at..at + 4] == 1u32.to_le_bytes() {
                bytes[at + 16] ^= 1;
            }
        }
    });
    let launcher = NativeLauncher::new(&path, &manifest(), Level::Native).unwrap();
    let error = launcher.launch(host(wrong::NOTHING).0).err().expect("the loader refuses it");
    assert!(error.why.contains("loading") && error.why.contains("odd.so"), "{}", error.why);
    drop(error.host);
}
