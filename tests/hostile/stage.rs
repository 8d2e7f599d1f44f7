//! Where a case is played: its driver on a device, a good one after it on the same device, and a neighbour beside both.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use e1000_model::{Model, ModelConfig};
use nook_abi::Fault;
use nook_bus::{DmaWindow, PciDevice};
use nook_net_api::Wire;
use nook_qemu::{DgramWire, QemuConfig, QemuDevice, QemuNet};
use nook_runtime::{
    Driver, DriverModule, EngineError, Host, LaunchError, Launcher, Mmio, ModuleCache, Net, Nook, NookError,
    RollbackMethod, Settings, WasmLauncher, now_ns,
};
use nook_tests::{Device, FrameQueues, Isolation, Rig, cable, e1000_module, host, wat_driver};

use crate::case::{BUDGETS, Case, Expect, Level, Script, Subject};
use crate::disk;
use crate::neighbour::{Neighbour, exchange, until};
use crate::scripted::{Handle, Scripted};

/// How long a case waits for its fault.
const PATIENCE_NS: u64 = 60_000_000_000;
/// Rounds that a harmless case gets, and for how long at most.
const ROUNDS: u32 = 300;
const ROUNDS_NS: u64 = 1_000_000_000;
/// Frames that the driver is given to send: more than what may be under way.
pub const FRAMES: u32 = 2000;
/// Rounds before the interface's settings are changed, for cases that wait for that.
const EARLY_ROUNDS: u32 = 30;
/// Entries that are called when an operator asks for something, not in a round.
const LATE: [&str; 7] = ["set_mac", "set_mtu", "set_rx_mode", "set_loopback", "stats", "stop", "remove"];

/// What came of a case.
#[derive(Default)]
pub struct CaseOutcome {
    /// The fault, if there was one.
    pub fault: Option<Fault>,
    /// The call that faulted was rolled back, and called again.
    pub rolled_back: bool,
    /// Why the driver was not run at all.
    pub refusal: Option<String>,
    /// What is not as it should be: empty if the host is unharmed and the fault is the expected one.
    pub problems: Vec<String>,
}

/// Launches the hostile driver once, and good ones after it.
struct Sequence {
    hostile: WasmLauncher,
    launched: AtomicBool,
}

impl Launcher for Sequence {
    fn launch(&self, host: Host) -> Result<Box<dyn Driver>, Box<LaunchError>> {
        static GOOD: LazyLock<WasmLauncher> =
            LazyLock::new(|| launcher(e1000_module(), Level::Sfi).expect("the driver compiles"));
        if self.launched.swap(true, Ordering::Relaxed) { GOOD.launch(host) } else { self.hostile.launch(host) }
    }

    fn isolation(&self) -> &'static str {
        self.hostile.isolation()
    }
}

/// Makes instances of a driver at a level.
pub fn launcher(module: Arc<DriverModule>, level: Level) -> Result<WasmLauncher, EngineError> {
    match level {
        Level::Sfi => WasmLauncher::new(module, &ModuleCache::none(), Mmio::Emulated),
        Level::SfiTxn => WasmLauncher::with_rollback(&module, &ModuleCache::none(), Arc::new(RollbackMethod::Log)),
    }
}

/// Plays a case at a level, on the embedded model or on QEMU's.
pub fn play(case: &Case, level: Level, on_qemu: bool, neighbour: &Neighbour) -> CaseOutcome {
    let before = Holdings::now();
    let mut outcome = CaseOutcome::default();
    match case.subject {
        Subject::Card => play_card(case, level, on_qemu, &mut outcome),
        Subject::Disk => disk::play(case, level, &mut outcome),
    }
    let left = Holdings::now();
    if left != before {
        outcome.problems.push(format!("before: {before:?}, afterwards: {left:?}"));
    }
    outcome.problems.extend(neighbour.goes_on().err());
    outcome
}

fn play_card(case: &Case, level: Level, on_qemu: bool, outcome: &mut CaseOutcome) {
    match set_up(case, level, on_qemu) {
        Ok((rig, handle)) => play_on(rig, case, level, &handle, outcome),
        Err(refusal) => {
            let refusal = refusal.to_string();
            if !case.refusal_at(level).is_some_and(|due| refusal.contains(due)) {
                outcome.problems.push(format!("not run: {refusal}"));
            }
            outcome.refusal = Some(refusal);
        }
    }
}

fn play_on(mut rig: Rig, case: &Case, level: Level, handle: &Handle, outcome: &mut CaseOutcome) {
    let CaseOutcome { fault, rolled_back, problems, .. } = outcome;
    let ended = drive(&mut rig, case).err();
    *fault = ended.as_ref().and_then(|error| fault_in(error, problems));
    let expected = case.fault_at(level);
    if *fault != expected {
        problems.push(format!("expected {expected:?}, got {fault:?}"));
    }
    if let Some(rolled_back_call) = ended.and_then(|error| rig.nook.roll_back(&error)) {
        *rolled_back = true;
        // It was as if it had never been called, so it does the same again.
        let again = call_again(&mut rig).err().and_then(|error| fault_in(&error, problems));
        if again != expected {
            problems.push(format!("{} was rolled back, and then came to {again:?}", rolled_back_call.entry));
        }
    }
    if *rolled_back != case.is_rolled_back_at(level) {
        problems.push(format!("rolled back: {rolled_back}"));
    }
    if !(case.holds)(&rig.nook) {
        problems.push(format!("what should hold afterwards does not: {:?}", rig.nook.counters()));
    }
    after(&mut rig, case, handle, problems);
}

/// Returns a nook in which a case's driver runs once, and good ones after it.
fn set_up(case: &Case, level: Level, on_qemu: bool) -> Result<(Rig, Handle), EngineError> {
    let module = Arc::new(wat_driver(case.entries, case.extra));
    let sequence = Sequence { hostile: launcher(module.clone(), level)?, launched: AtomicBool::new(false) };
    Ok(assemble(case, &module, Box::new(sequence), on_qemu))
}

/// Returns a nook in which a case's driver comes back each time.
///
/// # Errors
/// If the driver is not run at this level.
pub fn persistent(case: &Case, level: Level) -> Result<Nook<Net<FrameQueues>>, EngineError> {
    let module = Arc::new(wat_driver(case.entries, case.extra));
    let launcher = launcher(module.clone(), level)?;
    Ok(assemble(case, &module, Box::new(launcher), false).0.nook)
}

fn assemble(case: &Case, module: &DriverModule, launcher: Box<dyn Launcher>, on_qemu: bool) -> (Rig, Handle) {
    let window = DmaWindow::new(module.layout().window_bytes).expect("memory for the window");
    let (device, far): (Box<dyn PciDevice>, Box<dyn Wire>) = if on_qemu {
        let (wire, port) = DgramWire::pair().expect("a pair of sockets");
        let config = QemuConfig::new("e1000".parse().expect("a device's name"), QemuNet::Datagram(port));
        (Box::new(QemuDevice::start(config, &window).expect("QEMU starts")), Box::new(wire))
    } else {
        let (near, far) = cable();
        (Box::new(Model::new(ModelConfig::default(), Box::new(near))), Box::new(far))
    };
    let (device, handle) = Scripted::new(device, case.script);
    let host = host(Box::new(device), window, module, case.budgets.unwrap_or(BUDGETS));
    handle.state().revoker = Some(host.revoker());
    (Rig { nook: Nook::net(host, launcher, FrameQueues::default()), far }, handle)
}

/// Gives the driver every occasion to do what it does, until it faults.
fn drive(rig: &mut Rig, case: &Case) -> Result<(), NookError> {
    rig.nook.start()?;
    rig.nook.backend_mut().to_send.extend((0..FRAMES).map(|n| nook_tests::frame(n, 60)));
    let late = case.entries.iter().any(|(entry, _)| LATE.contains(entry));
    let (mut rounds, begun) = (0, now_ns());
    let more = |rounds: u32| match case.expect {
        Expect::Fault(_) if !late => now_ns() < begun + PATIENCE_NS,
        Expect::Fault(_) => rounds < EARLY_ROUNDS,
        Expect::Harmless => rounds < ROUNDS && now_ns() < begun + ROUNDS_NS,
    };
    while more(rounds) {
        rig.turn()?;
        rounds += 1;
    }
    rig.nook.stats()?;
    let mac = Some([2, 0, 0, 0, 0, 9]);
    rig.nook.set(Settings { mac, mtu_bytes: Some(1000), loopback: true, ..Settings::default() })?;
    rig.nook.stop()
}

/// Goes on with a driver whose call was rolled back.
fn call_again(rig: &mut Rig) -> Result<(), NookError> {
    let begun = now_ns();
    while now_ns() < begun + PATIENCE_NS {
        rig.turn()?;
    }
    Ok(())
}

pub fn fault_in(error: &NookError, problems: &mut Vec<String>) -> Option<Fault> {
    match error {
        NookError::Fault { fault, .. } => Some(*fault),
        other => {
            problems.push(format!("not a fault: {other}"));
            None
        }
    }
}

/// The host, the device and the memory after the driver.
fn after(rig: &mut Rig, case: &Case, handle: &Handle, problems: &mut Vec<String>) {
    handle.state().script = Script::Behaves;
    if let Err(error) = rig.nook.shut() {
        problems.push(format!("the device did not become quiet: {error}"));
    }
    {
        let state = handle.state();
        if state.bus_master || state.irq || !state.mapped.is_empty() {
            problems.push(format!("the device was left on: {state:?}"));
        }
    }
    let host = rig.nook.host();
    if host.dma_regions() != 0 {
        problems.push(format!("{} DMA regions are left", host.dma_regions()));
    }
    // What was taken away does not come back.
    let fresh = case.budgets.is_some() || case.script == Script::TakenAway;
    let mut other = fresh.then(|| Rig::new(&Device::Model(ModelConfig::default()), Isolation::Sfi));
    let rig = other.as_mut().unwrap_or(rig);
    let started =
        if fresh { rig.nook.start() } else { rig.nook.set(Settings::default()).and_then(|()| rig.nook.restart()) };
    match started {
        Ok(()) => {
            // What the hostile one received or sent does not count.
            *rig.nook.backend_mut() = FrameQueues::default();
            rig.arrived();
            let up = |rig: &mut Rig| rig.nook.interface().is_some_and(|interface| interface.link.up);
            let worked = until(rig, "the link is up", up).and_then(|()| exchange(rig, 0, 16));
            let stopped = worked.and_then(|()| rig.nook.stop().map_err(|error| error.to_string()));
            problems.extend(stopped.err().map(|error| format!("the good driver: {error}")));
        }
        Err(error) => problems.push(format!("a good driver does not come up afterwards: {error}")),
    }
}

/// What this process holds for nooks: there is one neighbour before and after a case.
#[derive(Debug, PartialEq, Eq)]
struct Holdings {
    windows_open: usize,
    windows_mapped: usize,
    reservations: usize,
}

/// The least that is reserved for a linear memory.
const RESERVATION_BYTES: u64 = 3 << 30;

impl Holdings {
    fn now() -> Holdings {
        let descriptors = fs::read_dir("/proc/self/fd").expect("/proc").filter_map(Result::ok);
        let links = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
        let maps = fs::read_to_string("/proc/self/maps").expect("/proc");
        let bytes = |line: &str| {
            let (from, to) = line.split_whitespace().next()?.split_once('-')?;
            Some(u64::from_str_radix(to, 16).ok()? - u64::from_str_radix(from, 16).ok()?)
        };
        Holdings {
            windows_open: links.filter(|link| link.to_string_lossy().contains("nook-window")).count(),
            windows_mapped: maps.lines().filter(|line| line.contains("nook-window")).count(),
            reservations: maps.lines().filter_map(bytes).filter(|&bytes| bytes >= RESERVATION_BYTES).count(),
        }
    }
}
