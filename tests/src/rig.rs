//! A nook on a device, between a cable's far end and the interface's other side.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use e1000_model::{Model, ModelConfig};
use nook_bus::{DmaWindow, PciDevice};
use nook_mpk::MpkLauncher;
use nook_native::{Level, NativeLauncher};
use nook_net_api::Wire;
use nook_process::{ProcessLauncher, Wait};
use nook_qemu::{DgramWire, QemuConfig, QemuDevice, QemuNet, QemuProgram};
use nook_runtime::{
    Budgets, DriverModule, Host, Launcher, Mmio, ModuleCache, Net, Nook, NookBuilder, NookError, OwnedManifest,
    RollbackMethod, Wasi, WasmLauncher, now_ns,
};

use crate::{FrameQueues, cable};

/// How long a rig waits for what must come.
const PATIENCE_NS: u64 = 60_000_000_000;

/// `target/drivers/<name>.wasm`, as `cargo xtask drivers` makes it.
pub fn driver_file(name: &str) -> PathBuf {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository");
    root.join("target/drivers").join(format!("{name}.wasm"))
}

/// What the tests call e1000 is this driver instead, if the variable is set: another one for the same cards, for which
/// the same must hold, or one for another card, for which those tests are that are of no particular device.
const OTHER_DRIVER: &str = "NOOK_TEST_DRIVER";

/// If the variable is set, what runs at every level runs at `mpk` alone: in the guest, which has keys and is slow.
const ONE_LEVEL: &str = "NOOK_TEST_MPK_ONLY";

/// Returns whether everything runs at `mpk` alone.
pub fn mpk_only() -> bool {
    std::env::var_os(ONE_LEVEL).is_some()
}

/// Returns the e1000 driver, loaded once.
///
/// # Panics
/// If it was not built.
pub fn e1000_module() -> Arc<DriverModule> {
    static MODULE: LazyLock<Arc<DriverModule>> = LazyLock::new(|| {
        let file = driver_file(&std::env::var(OTHER_DRIVER).unwrap_or_else(|_| "e1000".into()));
        Arc::new(
            DriverModule::load(&file, Wasi::Refused)
                .unwrap_or_else(|error| panic!("{error}; run `cargo xtask drivers`")),
        )
    });
    MODULE.clone()
}

/// What is known of the cards that the driver drives, where cards differ.
#[derive(Clone, Copy, Debug)]
pub struct Card {
    /// How fast the link is.
    pub speed_mbps: u32,
    /// What the card counts of a frame beside what is sent.
    pub counted_bytes: u64,
    /// Whether it lets only those groups through that were asked for.
    pub knows_groups: bool,
}

/// Facts of the driver's cards.
pub fn card() -> Card {
    if drives((vmxnet3_regs::VENDOR, vmxnet3_regs::DEVICE)) {
        // DPDK's driver has no list of groups, but all or none.
        Card { speed_mbps: 10_000, counted_bytes: 0, knows_groups: false }
    } else if drives((virtio_regs::VENDOR, virtio_regs::net::DEVICE)) {
        // Without `speed=` it says none.
        Card { speed_mbps: 0, counted_bytes: 0, knows_groups: true }
    } else if drives((igb_regs::VENDOR, igb_regs::DEVICE)) {
        // DPDK's driver takes the frame check sequence off again.
        Card { speed_mbps: 1000, counted_bytes: 0, knows_groups: true }
    } else {
        // With the frame check sequence (section 13.7.31).
        Card { speed_mbps: 1000, counted_bytes: 4, knows_groups: true }
    }
}

/// Returns whether the driver drives cards with this vendor and device id.
pub fn drives((vendor, device): (u16, u16)) -> bool {
    e1000_module().manifest().pci_ids().any(|id| id == (vendor, device))
}

/// QEMU's models of the driver's cards.
pub fn qemus() -> impl Iterator<Item = &'static str> {
    nook_qemu::models().iter().filter(|model| drives(model.id)).map(|model| model.name)
}

/// What to run the driver on.
#[derive(Clone, Debug)]
pub enum Device {
    /// The embedded model.
    Model(ModelConfig),
    /// QEMU's model with this name.
    Qemu(&'static str),
}

impl Device {
    /// Returns the embedded model, if it is a card of the driver's, and one of QEMU's cards.
    pub fn one_of_each() -> impl Iterator<Item = Device> {
        let model = drives((e1000_regs::VENDOR, e1000_regs::DEVICE_82540EM));
        let model = model.then(|| Device::Model(ModelConfig::default()));
        model.into_iter().chain(qemus().next().map(Device::Qemu))
    }
}

/// How to run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// A shared object, no checks.
    Native,
    /// A shared object, with the host's checks.
    Wrapped,
    /// In a separate process, which is woken.
    Process,
    /// In a separate process, which polls.
    ProcessPoll,
    /// In this process behind a protection key.
    Mpk,
    /// In wasm.
    Sfi,
    /// In wasm, with calls that can be rolled back.
    SfiTxn,
}

impl Isolation {
    /// Returns all of them; those in wasm for a driver that is not compiled natively.
    pub fn all() -> &'static [Isolation] {
        const ALL: [Isolation; 7] = [
            // First, so that it can be left out.
            Isolation::Mpk,
            Isolation::Native,
            Isolation::Wrapped,
            Isolation::Process,
            Isolation::ProcessPoll,
            Isolation::Sfi,
            Isolation::SfiTxn,
        ];
        match (std::env::var_os(OTHER_DRIVER), mpk_only(), nook_mpk::supported()) {
            (Some(_), ..) => &ALL[5..],
            (None, true, _) => &ALL[..1],
            (None, false, Ok(())) => &ALL,
            (None, false, Err(_)) => &ALL[1..],
        }
    }

    /// Returns a launcher of the e1000 driver.
    ///
    /// # Panics
    /// If the module does not compile.
    pub fn launcher(self) -> Box<dyn Launcher> {
        match self {
            Isolation::Native => Box::new(native("e1000", e1000_module().manifest(), Level::Native)),
            Isolation::Wrapped => Box::new(native("e1000", e1000_module().manifest(), Level::Wrapped)),
            Isolation::Mpk => Box::new(mpk("e1000", e1000_module().manifest())),
            Isolation::Process => process(Wait::Futex),
            Isolation::ProcessPoll => process(Wait::Poll),
            Isolation::Sfi => Box::new(
                WasmLauncher::new(e1000_module(), &ModuleCache::none(), Mmio::Emulated).expect("the driver compiles"),
            ),
            Isolation::SfiTxn => Box::new(
                WasmLauncher::with_rollback(&e1000_module(), &ModuleCache::none(), Arc::new(RollbackMethod::Log))
                    .expect("the driver compiles, and its calls can be rolled back"),
            ),
        }
    }
}

/// Returns a launcher of the build of a driver that runs behind a protection key.
///
/// # Panics
/// If there is none, or if this machine has no keys.
pub fn mpk(name: &str, manifest: &OwnedManifest) -> MpkLauncher {
    let object = driver_file(name).with_extension("mpk");
    MpkLauncher::new(&object, manifest).unwrap_or_else(|error| panic!("{error}; run `cargo xtask drivers`"))
}

/// Returns a launcher of the native build of a driver with this manifest.
///
/// # Panics
/// If it was not built.
pub fn native(name: &str, manifest: &OwnedManifest, level: Level) -> NativeLauncher {
    let launcher = NativeLauncher::new(&driver_file(name).with_extension("so"), manifest, level);
    launcher.unwrap_or_else(|error| panic!("{error}"))
}

fn process(wait: Wait) -> Box<dyn Launcher> {
    let program = driver_file("e1000").with_extension("elf");
    let launcher = ProcessLauncher::new(&program, e1000_module().manifest(), wait);
    Box::new(launcher.unwrap_or_else(|error| panic!("{error}")))
}

/// A nook between two queues of frames.
pub struct Rig {
    /// The nook; its backend is the interface's other side.
    pub nook: Nook<Net<FrameQueues>>,
    /// The far end of the device's cable.
    pub far: Box<dyn Wire>,
}

impl Rig {
    /// Puts driver and device together; nothing runs yet.
    ///
    /// # Panics
    /// If a part cannot be made.
    pub fn new(device: &Device, isolation: Isolation) -> Rig {
        Rig::with(device, isolation.launcher())
    }

    /// Returns the same with another launcher, of a driver with the e1000's manifest.
    ///
    /// # Panics
    /// If a part cannot be made.
    pub fn with(device: &Device, launcher: Box<dyn Launcher>) -> Rig {
        Rig::seen_by(device, launcher, |device| device)
    }

    /// Returns the same with something between host and device, such as a tracer.
    ///
    /// # Panics
    /// If a part cannot be made.
    pub fn seen_by(
        device: &Device,
        launcher: Box<dyn Launcher>,
        between: impl FnOnce(Box<dyn PciDevice>) -> Box<dyn PciDevice>,
    ) -> Rig {
        Rig::with_queues(1, device, launcher, between)
    }

    /// Returns the same with this many queues, if the driver has as many.
    ///
    /// # Panics
    /// If a part cannot be made.
    pub fn with_queues(
        queues: u32,
        device: &Device,
        launcher: Box<dyn Launcher>,
        between: impl FnOnce(Box<dyn PciDevice>) -> Box<dyn PciDevice>,
    ) -> Rig {
        let module = e1000_module();
        let window = DmaWindow::new(module.layout().window_bytes).expect("memory for the window");
        let (device, far): (Box<dyn PciDevice>, Box<dyn Wire>) = match *device {
            Device::Model(config) => {
                let (near, far) = cable();
                (Box::new(Model::new(config, Box::new(near))), Box::new(far))
            }
            Device::Qemu(name) => {
                let (wire, port) = DgramWire::pair().expect("a pair of sockets");
                let mut config = QemuConfig::new(name.parse().expect("a device's name"), QemuNet::Datagram(port));
                config.program = QemuProgram::from_environment().expect("NOOK_QEMU names a QEMU");
                (Box::new(QemuDevice::start(config, &window).expect("QEMU starts")), Box::new(wire))
            }
        };
        // Only its own CPU time ends a call: QEMU, and a driver's process, may be kept waiting by a busy machine.
        let budgets = Budgets {
            short_wall_ns: PATIENCE_NS,
            process_wall_ns: PATIENCE_NS,
            transmit_ns: PATIENCE_NS,
            ..Budgets::default()
        };
        let mut host = host(between(device), window, &module, budgets);
        host.choose_queues(queues);
        Rig { nook: Nook::net(host, launcher, FrameQueues::default()), far }
    }

    /// Returns a rig whose link is up and whose receiver receives.
    ///
    /// # Panics
    /// If the driver does not come up.
    pub fn up(device: &Device, isolation: Isolation) -> Rig {
        Rig::up_with(device, isolation.launcher())
    }

    /// Returns the same with another launcher, of a driver with the e1000's manifest.
    ///
    /// # Panics
    /// If the driver does not come up.
    pub fn up_with(device: &Device, launcher: Box<dyn Launcher>) -> Rig {
        Rig::with(device, launcher).comes_up(device)
    }

    /// Starts it, and waits until its link is up and its receiver receives.
    ///
    /// # Panics
    /// If the driver does not come up.
    pub fn comes_up(self, device: &Device) -> Rig {
        let mut rig = self;
        rig.nook.start().expect("the driver comes up");
        rig.until("the link is up", |rig| rig.nook.backend().links.last() == Some(&true));
        if let Device::Qemu(_) = device {
            // QEMU's cards receive nothing for a second after RCTL was written: frames wait meanwhile.
            rig.until("the receiver receives", |rig| {
                let _ = rig.far.send(&frame(0, 60));
                !rig.nook.backend().received.is_empty()
            });
            rig.until_all_came();
        }
        rig.nook.backend_mut().received.clear();
        rig
    }

    /// Lets everything work until `done`.
    ///
    /// # Panics
    /// If the driver faults, or it takes a minute.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Rig) -> bool) {
        let end = now_ns() + PATIENCE_NS;
        while !done(self) {
            assert!(now_ns() < end, "{what} did not happen; counters: {:?}", self.nook.counters());
            self.turn().unwrap_or_else(|error| panic!("waiting until {what}: {error}"));
        }
    }

    /// One round, with a wait of a millisecond at most.
    ///
    /// # Errors
    /// As [`Nook::turn`].
    pub fn turn(&mut self) -> Result<(), NookError> {
        self.nook.turn(now_ns() + 1_000_000).map(|_| ())
    }

    /// Lets everything work until all that was sent to the device has come: one more frame is sent, and frames keep
    /// their order. That nothing comes for a while would say nothing: QEMU is a process, and may be late by any time.
    pub fn until_all_came(&mut self) {
        // Its number is none that a test uses.
        let last = frame(u32::MAX, 60);
        self.until("the cable takes one more frame", |rig| matches!(rig.far.send(&last), Ok(true)));
        self.until("it comes", |rig| rig.nook.backend().received.contains(&last));
    }

    /// Lets everything work until no packet has moved for a while: a busy machine may be late with the last ones.
    pub fn settle(&mut self) {
        let (mut moved, mut end) = (0, 0);
        self.until("nothing moves", |rig| {
            let now_moved = rig.nook.net_counters().packets() + rig.nook.net_counters().tx_done;
            if now_moved != std::mem::replace(&mut moved, now_moved) || end == 0 {
                end = now_ns() + 100_000_000;
            }
            now_ns() >= end
        });
    }

    /// Returns everything that arrived at the far end.
    pub fn arrived(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; 65536];
        let mut frames = Vec::new();
        while let Ok(Some(len)) = self.far.recv(&mut buffer) {
            frames.push(buffer[..len].to_vec());
        }
        frames
    }
}

/// Returns a host for a driver on a device.
///
/// # Panics
/// If they do not belong together.
pub fn host(device: Box<dyn PciDevice>, window: DmaWindow, module: &DriverModule, budgets: Budgets) -> Host {
    NookBuilder::of(module, &[&e1000_regs::MAP, &igb_regs::MAP, &virtio_regs::net::MAP, &vmxnet3_regs::MAP])
        .in_window(window)
        .budgets(budgets)
        .host(device)
        .expect("driver and device belong together")
}

/// Returns a broadcast frame of `len` bytes that tells its number, with a pattern that depends on it.
///
/// # Panics
/// If `len` is less than an Ethernet header and the number.
pub fn frame(number: u32, len: usize) -> Vec<u8> {
    assert!(len >= 18);
    let mut frame = vec![0xff; 6];
    // A locally administered sender, and the type for experiments (IEEE 802).
    frame.extend([0x02, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    frame.extend(number.to_be_bytes());
    frame.extend((0..len - frame.len()).map(|i| (i as u32).wrapping_mul(31).wrapping_add(number) as u8));
    frame
}
