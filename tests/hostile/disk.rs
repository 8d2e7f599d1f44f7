//! Where a case of a disk is played: a good driver finds out what the disk is, the hostile one follows on the same
//! host, and a good one after it, which finds the disk as it was.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use nook_block_api::{Op, Outcome};
use nook_bus::DmaWindow;
use nook_runtime::{Driver, DriverModule, Host, LaunchError, Launcher, NookBuilder, NookError, WasmLauncher, now_ns};
use nook_tests::{Asker, DiskNook, driver_file, nvme_module, until_answered, wat_disk_driver};
use nvme_model::{Behaviour, Disk, Model, ModelConfig};

use crate::case::{BUDGETS, Case, Expect, Level, Script};
use crate::scripted::{Handle, Scripted};
use crate::stage::{CaseOutcome, fault_in, launcher};

const BLOCK: usize = 512;
const BLOCKS: u64 = 2048;
/// What the disk holds when a case begins, and has to hold when it is over: the driver never reaches the medium.
const CONTENT: u8 = 0xa5;
/// Where it is asked to write. These requests come first, so that their ids begin at 0, and their generations at 1.
pub const WRITTEN: u64 = 100;
/// How many requests of each kind there are.
pub const COUNT: u64 = 8;
/// How long a case waits for its fault, and how long a harmless one is watched.
const PATIENCE_NS: u64 = 60_000_000_000;
const WATCH_NS: u64 = 200_000_000;

/// Launches the hostile driver the second time, and good ones otherwise.
struct Sequence {
    hostile: WasmLauncher,
    launched: AtomicU32,
}

impl Launcher for Sequence {
    fn launch(&self, host: Host) -> Result<Box<dyn Driver>, Box<LaunchError>> {
        static GOOD: LazyLock<WasmLauncher> =
            LazyLock::new(|| launcher(nvme_module(), Level::Sfi).expect("the driver compiles"));
        if self.launched.fetch_add(1, Ordering::Relaxed) == 1 { self.hostile.launch(host) } else { GOOD.launch(host) }
    }

    fn isolation(&self) -> &'static str {
        self.hostile.isolation()
    }
}

fn medium() -> Disk {
    let disk = Disk::in_memory(BLOCKS, BLOCK as u32).expect("memory for a disk").with_cache(1 << 20);
    disk.write(0, &[CONTENT; BLOCKS as usize * BLOCK], true).expect("a medium in memory");
    disk
}

/// Returns what the good driver says of the disk.
fn said() -> nook_abi::block::Disk {
    static SAID: LazyLock<nook_abi::block::Disk> = LazyLock::new(|| {
        let (mut nook, _) = nook(nvme_module(), &medium(), None);
        nook.start().expect("a good driver starts");
        *nook.disk().expect("it attached a disk")
    });
    *SAID
}

/// Returns the nook in which `module` is hostile at this level; without one, every instance is good.
fn nook(module: Arc<DriverModule>, disk: &Disk, hostile: Option<(&Case, Level)>) -> (DiskNook, Handle) {
    let (level, budgets) =
        hostile.map_or((Level::Sfi, BUDGETS), |(case, level)| (level, case.budgets.unwrap_or(BUDGETS)));
    let first = if hostile.is_some() { 0 } else { 2 };
    let hostile = launcher(module.clone(), level).expect("the driver compiles");
    let sequence = Sequence { hostile, launched: AtomicU32::new(first) };
    let window = DmaWindow::new(module.layout().window_bytes).expect("memory for the window");
    let model = Model::new(ModelConfig { seed: 1, behaviour: Behaviour::calm() }, disk.clone());
    let (device, handle) = Scripted::new(Box::new(model) as Box<dyn nook_bus::PciDevice>, Script::Behaves);
    let nook = NookBuilder::of(&module, &[&nvme_regs::MAP])
        .in_window(window)
        .budgets(budgets)
        .block(Box::new(device), Box::new(sequence), Asker::default())
        .expect("driver and device belong together");
    (nook, handle)
}

/// Plays a case at a level.
pub fn play(case: &Case, level: Level, outcome: &mut CaseOutcome) {
    let like = std::fs::read(driver_file("nvme")).expect("`cargo xtask drivers` made it");
    let module = Arc::new(wat_disk_driver(&said(), &like, case.entries, case.extra));
    let disk = medium();
    let (mut nook, handle) = nook(module, &disk, Some((case, level)));
    nook.verify(1 << 20);
    let CaseOutcome { fault, rolled_back, problems, .. } = outcome;
    let ended = drive(&mut nook, case).err();
    *fault = ended.as_ref().and_then(|error| fault_in(error, problems));
    let expected = case.fault_at(level);
    if *fault != expected {
        problems.push(format!("expected {expected:?}, got {fault:?}"));
    }
    if let Some(call) = ended.and_then(|error| nook.roll_back(&error)) {
        *rolled_back = true;
        // It was as if it had never been called, so it does the same again.
        let again = turns(&mut nook, PATIENCE_NS).err().and_then(|error| fault_in(&error, problems));
        if again != expected {
            problems.push(format!("{} was rolled back, and then came to {again:?}", call.entry));
        }
    }
    if *rolled_back != case.is_rolled_back_at(level) {
        problems.push(format!("rolled back: {rolled_back}"));
    }
    after(&mut nook, &handle, &disk, problems);
}

/// Gives the driver every occasion to do what it does, until it faults.
fn drive(nook: &mut DiskNook, case: &Case) -> Result<(), NookError> {
    nook.start()?;
    nook.restart()?;
    let ask = |nook: &mut DiskNook, op, first: u64| {
        for block in first..first + COUNT {
            let data = if op == Op::Write { vec![block as u8; BLOCK] } else { Vec::new() };
            nook.backend_mut().ask(op, block, 1, false, data);
        }
    };
    ask(nook, Op::Write, WRITTEN);
    ask(nook, Op::Read, 0);
    turns(nook, WATCH_NS)?;
    ask(nook, Op::Read, WRITTEN);
    turns(nook, if case.expect == Expect::Harmless { WATCH_NS } else { PATIENCE_NS })?;
    nook.stop()
}

/// Turns until everything is answered, or for so long.
fn turns(nook: &mut DiskNook, most_ns: u64) -> Result<(), NookError> {
    let end = now_ns() + most_ns;
    while nook.backend().open() > 0 && now_ns() < end {
        let until_ns = nook.clock().now_ns() + 1_000_000;
        nook.turn(until_ns)?;
    }
    Ok(())
}

/// Host, device and disk after the driver.
fn after(nook: &mut DiskNook, handle: &Handle, disk: &Disk, problems: &mut Vec<String>) {
    if let Err(error) = nook.shut() {
        problems.push(format!("the device did not become quiet: {error}"));
    }
    {
        let state = handle.state();
        if state.bus_master || state.irq || !state.mapped.is_empty() {
            problems.push(format!("the device was left on: {state:?}"));
        }
    }
    if nook.host().dma_regions() != 0 {
        problems.push(format!("{} DMA regions are left", nook.host().dma_regions()));
    }
    if nook.backend().open() != 0 || nook.requests_with_driver() != 0 {
        problems.push(format!("{} requests were never answered", nook.backend().open()));
    }
    // Those that come last read what is known; of what was on the disk before, nobody knows what it is.
    let right = |(id, outcome, _): &(u64, Outcome, Vec<u8>)| *id < 2 * COUNT || *outcome == Outcome::IoError;
    if !nook.backend_mut().answered.drain(..).all(|answer| right(&answer)) {
        problems.push("something that the driver never read was handed out".into());
    }
    let mut medium = vec![0; BLOCKS as usize * BLOCK];
    disk.read(0, &mut medium).expect("a medium in memory");
    if medium.iter().any(|&byte| byte != CONTENT) {
        problems.push("the disk is not as it was".into());
    }
    if let Err(error) = nook.restart() {
        return problems.push(format!("a good driver does not come up afterwards: {error}"));
    }
    let write = nook.backend_mut().ask(Op::Write, 7, 1, true, vec![7; BLOCK]);
    let answers = until_answered(nook);
    let read = nook.backend_mut().ask(Op::Read, 6, 2, false, Vec::new());
    let both = [&[CONTENT; BLOCK][..], &[7; BLOCK]].concat();
    if answers[&write].0 != Outcome::Done || until_answered(nook)[&read] != (Outcome::Done, both) {
        problems.push("the good driver does not do what it is asked".into());
    }
    if let Err(error) = nook.stop() {
        problems.push(format!("the good driver does not stop: {error}"));
    }
}
