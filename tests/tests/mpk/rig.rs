//! The hostile driver, on a device that tells it what to do wrong.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

use e1000_regs::{FCAH, FCAL, TIPG};
use hostile_domain::{MANIFEST, wrong};
use nook_abi::{Entry, Fault, TrapKind};
use nook_mpk::{MpkError, MpkLauncher, supported};
use nook_runtime::{Budgets, Driver, Host, Launcher, Layout, NookBuilder, OwnedManifest, parse_manifest};
use nook_tests::{BareDevice, BareDeviceHandle, driver_file};

pub(crate) fn manifest() -> OwnedManifest {
    parse_manifest(MANIFEST.as_bytes()).unwrap()
}

/// Returns a launcher of the hostile driver, unless this machine has no keys; then it says why, rightly.
pub(crate) fn launcher() -> Option<MpkLauncher> {
    let launcher = MpkLauncher::new(&driver_file("hostile").with_extension("mpk"), &manifest());
    match (supported(), launcher) {
        (Ok(()), Ok(launcher)) => Some(launcher),
        (Ok(()), Err(error)) => panic!("{error}"),
        (Err(why), Err(MpkError::NoKeys(said))) => {
            assert_eq!(why.to_string(), said.to_string());
            println!("not here: {why}");
            None
        }
        (Err(why), Err(error)) => panic!("{error}, where {why}"),
        (Err(why), Ok(_)) => panic!("it is not refused: {why}"),
    }
}

/// Returns a host on registers that tell the driver what to do wrong, and where.
pub(crate) fn host(wrong: u32, address: u64) -> (Host, BareDeviceHandle) {
    // Endless calls are to be ended sooner than a good driver's.
    host_with(Budgets { atomic_cpu_ns: 30_000_000, ..Budgets::default() }, wrong, address)
}

/// Returns the same with other limits.
pub(crate) fn host_with(budgets: Budgets, wrong: u32, address: u64) -> (Host, BareDeviceHandle) {
    let manifest = manifest();
    let layout = Layout::new(0, &manifest);
    let (device, handle) = BareDevice::new();
    tell(&handle, wrong, address);
    let maps = [&e1000_regs::MAP];
    let builder = NookBuilder::new(&manifest, &layout, &maps).budgets(budgets);
    (builder.host(Box::new(device)).unwrap(), handle)
}

/// Says what to do wrong, before the driver is probed.
pub(crate) fn tell(handle: &BareDeviceHandle, wrong: u32, address: u64) {
    handle.set_register(TIPG.offset().into(), wrong);
    handle.set_register(FCAL.offset().into(), address as u32);
    handle.set_register(FCAH.offset().into(), (address >> 32) as u32);
}

pub(crate) fn launched(launcher: &MpkLauncher, host: Host) -> Box<dyn Driver> {
    launcher.launch(host).unwrap_or_else(|error| panic!("{}", error.why))
}

/// Brings an instance up to where it is polled.
pub(crate) fn begin(driver: &mut dyn Driver) {
    let page = driver.host_page();
    assert_eq!(driver.probe(0, page), Ok(0));
    driver.open().unwrap();
}

pub(crate) fn opened(launcher: &MpkLauncher, wrong: u32, address: u64) -> Box<dyn Driver> {
    let mut driver = launched(launcher, host(wrong, address).0);
    begin(&mut *driver);
    driver
}

/// Polls it once and ends it. Says how the poll ended.
pub(crate) fn polled(mut driver: Box<dyn Driver>) -> Result<(), Fault> {
    let outcome = driver.poll(0, 64, 0).map(drop);
    if let Err(fault) = outcome {
        assert_eq!(driver.open(), Err(fault), "after a fault it is not called again");
    }
    driver.end().quiet.unwrap();
    outcome
}

/// Returns how a poll ends in which the driver does that.
pub(crate) fn ends(launcher: &MpkLauncher, wrong: u32, address: u64) -> Result<(), Fault> {
    polled(opened(launcher, wrong, address))
}

/// A driver that was just loaded is called, and its host is as it was: what every test ends with.
pub(crate) fn works(launcher: &MpkLauncher) {
    assert_eq!(ends(launcher, wrong::NOTHING, 0), Ok(()));
}

pub(crate) fn trap(kind: TrapKind) -> Result<(), Fault> {
    Err(Fault::Trap { entry: Entry::Poll, kind })
}

pub(crate) fn is_over_budget(outcome: Result<(), Fault>) -> bool {
    matches!(outcome, Err(Fault::CpuBudget { .. } | Fault::WallBudget { .. }))
}

/// One at a time: keys are few, and mappings are counted.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether there is time for more than what every change is tried with.
pub(crate) fn is_long() -> bool {
    std::env::var_os("NOOK_LONG").is_some()
}

/// A part of this process's addresses, as the kernel has it.
#[derive(Clone, Debug)]
pub(crate) struct Mapped {
    pub(crate) begin: u64,
    pub(crate) end: u64,
    /// `rwxp`.
    pub(crate) access: String,
    pub(crate) name: String,
    pub(crate) key: u32,
}

/// Returns all mappings of this process.
pub(crate) fn mappings() -> Vec<Mapped> {
    let mut all: Vec<Mapped> = Vec::new();
    for line in fs::read_to_string("/proc/self/smaps").unwrap().lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let ["ProtectionKey:", key] = words.as_slice() {
            all.last_mut().unwrap().key = key.parse().unwrap();
        } else if let Some((begin, end)) = words[0].split_once('-') {
            let number = |text| u64::from_str_radix(text, 16).unwrap();
            let (access, name) = (words[1].to_owned(), words.get(5).copied().unwrap_or_default().to_owned());
            all.push(Mapped { begin: number(begin), end: number(end), access, name, key: 0 });
        }
    }
    all
}
