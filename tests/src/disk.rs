//! A disk's driver between a device and one who asks for blocks and remembers what they have to hold.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use nook_block_api::{BlockBackend, Geometry, Op, Outcome, Request};
use nook_bus::{Clock, DmaWindow, PciDevice, VolatileSlice};
use nook_native::Level;
use nook_process::{ProcessLauncher, Wait};
use nook_qemu::{QemuConfig, QemuDevice, QemuNet};
use nook_recovery::Supervisor;
use nook_runtime::{
    Block, Budgets, DiskChoice, DriverModule, Launcher, Mmio, ModuleCache, Nook, NookBuilder, RollbackMethod, Wasi,
    WasmLauncher, now_ns,
};
use nvme_model::{Disk, Model, ModelConfig};

use crate::{Isolation, driver_file, mpk, native};

/// How long a rig waits for what must come.
const PATIENCE_NS: u64 = 60_000_000_000;

/// What the tests call nvme is this driver instead, if the variable is set: another one for the same disks, for which
/// the same must hold.
const OTHER_DRIVER: &str = "NOOK_TEST_DISK_DRIVER";

fn driver_name() -> String {
    std::env::var(OTHER_DRIVER).unwrap_or_else(|_| "nvme".into())
}

/// Returns the NVMe driver, loaded once.
///
/// # Panics
/// If it was not built.
pub fn nvme_module() -> Arc<DriverModule> {
    static MODULE: LazyLock<Arc<DriverModule>> = LazyLock::new(|| {
        let module = DriverModule::load(&driver_file(&driver_name()), Wasi::Refused);
        Arc::new(module.unwrap_or_else(|error| panic!("{error}; run `cargo xtask drivers`")))
    });
    MODULE.clone()
}

/// Returns a launcher of the NVMe driver, whose calls can be ended on request in wasm.
pub fn nvme_launcher(isolation: Isolation) -> Box<dyn Launcher> {
    launcher(&driver_name(), &nvme_module(), isolation)
}

/// The driver of QEMU's virtio disk.
const VIRTIO: &str = "virtio-blk";

/// Returns it, loaded once.
fn virtio_module() -> Arc<DriverModule> {
    static MODULE: LazyLock<Arc<DriverModule>> = LazyLock::new(|| {
        let module = DriverModule::load(&driver_file(VIRTIO), Wasi::Refused);
        Arc::new(module.unwrap_or_else(|error| panic!("{error}; run `cargo xtask drivers`")))
    });
    MODULE.clone()
}

/// Returns a launcher of the driver with this name, whose calls can be ended on request in wasm.
fn launcher(name: &str, module: &DriverModule, isolation: Isolation) -> Box<dyn Launcher> {
    let process = |wait: Wait| -> Box<dyn Launcher> {
        let program = driver_file(name).with_extension("elf");
        let launcher = ProcessLauncher::new(&program, module.manifest(), wait);
        Box::new(launcher.unwrap_or_else(|error| panic!("{error}")))
    };
    match isolation {
        Isolation::Native => Box::new(native(name, module.manifest(), Level::Native)),
        Isolation::Wrapped => Box::new(native(name, module.manifest(), Level::Wrapped)),
        Isolation::Mpk => Box::new(mpk(name, module.manifest())),
        Isolation::Process => process(Wait::Futex),
        Isolation::ProcessPoll => process(Wait::Poll),
        Isolation::Sfi | Isolation::SfiTxn => wasm_launcher(module, isolation),
    }
}

/// Returns a launcher of a driver in wasm, whose calls can be ended on request.
///
/// # Panics
/// If it does not compile, or at a level that is none of wasm's.
pub fn wasm_launcher(module: &DriverModule, isolation: Isolation) -> Box<dyn Launcher> {
    let (counting, none) = (module.counting(), ModuleCache::none());
    let launcher = match isolation {
        Isolation::Sfi => WasmLauncher::new(counting.into(), &none, Mmio::Emulated),
        Isolation::SfiTxn => WasmLauncher::with_rollback(&counting, &none, Arc::new(RollbackMethod::Log)),
        other => panic!("{other:?} runs no wasm"),
    };
    Box::new(launcher.expect("the driver compiles, and its calls can be rolled back"))
}

/// What to run the driver on.
#[derive(Clone, Copy)]
pub enum Drive<'a> {
    /// The embedded model with this disk.
    Model(ModelConfig, &'a Disk),
    /// QEMU's controller, with this file and more of its options.
    Qemu(&'a Path, &'a str),
    /// QEMU's virtio disk, with this file and more of its options. Its driver is `virtio-blk`.
    Virtio(&'a Path, &'a str),
}

/// One who asks for blocks.
#[derive(Default)]
pub struct Asker {
    /// What the driver said of the disk.
    pub geometry: Geometry,
    next_id: u64,
    waiting: VecDeque<Request>,
    /// The data of writes that are not complete.
    data: HashMap<u64, Vec<u8>>,
    /// What was answered, with what reads have read; in the order of the answers.
    pub answered: Vec<(u64, Outcome, Vec<u8>)>,
}

impl Asker {
    /// Asks for something; `data` is that of a write. Returns the request's number.
    pub fn ask(&mut self, op: Op, first: u64, blocks: u32, fua: bool, data: Vec<u8>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.push_back(Request { id, op, first, blocks, fua });
        self.data.insert(id, data);
        id
    }

    /// Returns how many requests are not answered.
    pub fn open(&self) -> usize {
        self.data.len()
    }
}

impl BlockBackend for Asker {
    fn attach(&mut self, geometry: &Geometry) -> io::Result<()> {
        self.geometry = geometry.clone();
        Ok(())
    }
    fn next(&mut self) -> io::Result<Option<Request>> {
        Ok(self.waiting.pop_front())
    }
    fn fill(&mut self, id: u64, buffer: VolatileSlice<'_>) -> io::Result<()> {
        if let Some(data) = self.data.get(&id).filter(|data| !data.is_empty()) {
            assert_eq!(data.len(), buffer.len());
            buffer.copy_from(data);
        }
        Ok(())
    }
    fn complete(&mut self, id: u64, outcome: Outcome, data: Option<VolatileSlice<'_>>) -> io::Result<()> {
        assert!(self.data.remove(&id).is_some(), "request {id} is answered twice");
        let data = data.map_or_else(Vec::new, |slice| {
            let mut bytes = vec![0; slice.len()];
            slice.copy_to(&mut bytes);
            bytes
        });
        self.answered.push((id, outcome, data));
        Ok(())
    }
}

/// The nook of a disk's driver.
pub type DiskNook = Nook<Block<Asker>>;

/// Puts driver and device together; nothing runs yet.
///
/// # Panics
/// If a part cannot be made.
pub fn disk_nook(drive: Drive<'_>, isolation: Isolation) -> DiskNook {
    chosen_disk_nook(drive, isolation, DiskChoice::default())
}

/// The same, with what the operator wants of the device.
///
/// # Panics
/// If a part cannot be made.
pub fn chosen_disk_nook(drive: Drive<'_>, isolation: Isolation, choice: DiskChoice) -> DiskNook {
    let (module, launcher) = match drive {
        Drive::Model(..) | Drive::Qemu(..) => (nvme_module(), nvme_launcher(isolation)),
        Drive::Virtio(..) => (virtio_module(), launcher(VIRTIO, &virtio_module(), isolation)),
    };
    made(&module, launcher, Behind::Drive(drive), isolation, choice)
}

/// The same for another driver of these devices.
///
/// # Panics
/// If a part cannot be made.
pub fn disk_nook_of(
    module: &DriverModule,
    launcher: Box<dyn Launcher>,
    drive: Drive<'_>,
    isolation: Isolation,
) -> DiskNook {
    made(module, launcher, Behind::Drive(drive), isolation, DiskChoice::default())
}

/// Puts the driver and an embedded device together; nothing runs yet.
///
/// # Panics
/// If a part cannot be made.
pub fn model_nook(device: Box<dyn PciDevice>, isolation: Isolation, choice: DiskChoice) -> DiskNook {
    made(&nvme_module(), nvme_launcher(isolation), Behind::Device(device), isolation, choice)
}

/// What is behind a driver.
enum Behind<'a> {
    Drive(Drive<'a>),
    /// An embedded device.
    Device(Box<dyn PciDevice>),
}

fn made(
    module: &DriverModule,
    launcher: Box<dyn Launcher>,
    behind: Behind<'_>,
    isolation: Isolation,
    choice: DiskChoice,
) -> DiskNook {
    let window = DmaWindow::new(module.layout().window_bytes).expect("memory for the window");
    // What is waited for of an embedded device comes at once, but with a process, which works in real time.
    let real = matches!(isolation, Isolation::Mpk | Isolation::Process | Isolation::ProcessPoll);
    let embedded = if real { Clock::Monotonic } else { Clock::new_virtual() };
    let (device, clock): (Box<dyn PciDevice>, _) = match behind {
        Behind::Device(device) => (device, embedded),
        Behind::Drive(Drive::Model(config, disk)) => (Box::new(Model::new(config, disk.clone())), embedded),
        Behind::Drive(Drive::Qemu(file, options) | Drive::Virtio(file, options)) => {
            let model = if matches!(behind, Behind::Drive(Drive::Virtio(..))) { "virtio-blk-pci" } else { "nvme" };
            let spec = format!("{model},file={}{options}", file.display());
            let spec = spec.parse().expect("a device's name and options");
            let config = QemuConfig::new(spec, QemuNet::User { restrict: true });
            (Box::new(QemuDevice::start(config, &window).expect("QEMU starts")), Clock::Monotonic)
        }
    };
    // Only its own CPU time ends a call: QEMU, and a driver's process, may be kept waiting by a busy machine.
    let budgets = Budgets {
        short_wall_ns: PATIENCE_NS,
        process_wall_ns: PATIENCE_NS,
        transmit_ns: PATIENCE_NS,
        ..Budgets::default()
    };
    let maps = [&nvme_regs::MAP, &virtio_regs::blk::MAP];
    let builder = NookBuilder::of(module, &maps).in_window(window).budgets(budgets).clock(clock);
    let mut host = builder.host(device).expect("driver and device belong together");
    host.choose_disk(choice);
    Nook::block(host, launcher, Asker::default())
}

/// A disk's nook that can be let work.
pub trait Served {
    /// Returns the nook.
    fn nook(&mut self) -> &mut DiskNook;

    /// One round, with a wait of a millisecond at most.
    ///
    /// # Panics
    /// If the driver faults, or ends for good.
    fn work(&mut self);
}

impl Served for DiskNook {
    fn nook(&mut self) -> &mut DiskNook {
        self
    }
    fn work(&mut self) {
        let until_ns = self.clock().now_ns() + 1_000_000;
        self.turn(until_ns).unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Served for Supervisor<Block<Asker>> {
    fn nook(&mut self) -> &mut DiskNook {
        self.nook_mut()
    }
    fn work(&mut self) {
        let until_ns = Supervisor::nook(self).clock().now_ns() + 1_000_000;
        self.turn(until_ns).expect("the driver comes back");
    }
}

/// Lets a nook work until all that was asked is answered, and returns the answers by request.
///
/// # Panics
/// If it takes a minute.
pub fn until_answered(served: &mut impl Served) -> HashMap<u64, (Outcome, Vec<u8>)> {
    let end = now_ns() + PATIENCE_NS;
    while served.nook().backend().open() > 0 {
        let nook = served.nook();
        assert!(now_ns() < end, "{} requests are not answered: {:?}", nook.backend().open(), nook.block_counters());
        served.work();
    }
    served.nook().backend_mut().answered.drain(..).map(|(id, outcome, data)| (id, (outcome, data))).collect()
}
