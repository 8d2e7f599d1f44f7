//! The device.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use nook_bus::config::{
    BAR0, COMMAND_BUS_MASTER, COMMAND_INTX_DISABLE, COMMAND_IO, COMMAND_MEMORY, DEVICE, HEADER_TYPE, INTERRUPT_PIN,
    REVISION, SUBSYSTEM, SUBSYSTEM_VENDOR, VENDOR,
};
use nook_bus::{
    BarInfo, BarSpace, Clock, DeviceError, DmaWindow, IovaRange, IrqKind, PciDevice, PciIdentity, ResetKind, Result,
    Service, Width,
};
use rustix::event::EventfdFlags;

use crate::config::chip;
use crate::inquiry::Properties;
use crate::machine::{self, CARD, WINDOW};
use crate::messages::{Messages, Peer};
use crate::pci::{Bar, Bars, CONFIG_BYTES};
use crate::process::Process;
use crate::qtest::{Qtest, QtestError, Space};
use crate::{DeviceSpec, QemuConfig, QemuError};

/// Bits of the command register that this type looks after.
const HOST_COMMAND_BITS: u16 = COMMAND_IO | COMMAND_MEMORY | COMMAND_BUS_MASTER | COMMAND_INTX_DISABLE;

/// HEADER_TYPE: the device has more functions than the first.
const MANY_FUNCTIONS: u32 = 1 << 7;

/// One of QEMU's PCI devices. Dropping it ends the QEMU process.
#[derive(Debug)]
pub struct QemuDevice {
    /// QEMU's name for it.
    name: String,
    process: Process,
    qtest: Qtest,
    identity: PciIdentity,
    bars: Vec<BarInfo>,
    placed: Vec<Bar>,
    window: DmaWindow,
    mapped_at: Option<u64>,
    /// The I/O APIC input that the card's pin is wired to.
    line: u32,
    irq: IrqState,
    /// How it signals interrupts by messages, if it can.
    messages: Option<Messages>,
    /// Readable while an interrupt waits to be fetched that was seen while reading something else.
    knock: File,
    knocked: bool,
    gone: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IrqState {
    Off,
    Open,
    /// It fired and waits for `irq_unmask`.
    Masked,
    /// By messages, which need no mask.
    Messages,
}

impl QemuDevice {
    /// Starts QEMU with the device of `config`, places its BARs and leaves it quiet: memory and I/O decoding on, bus
    /// mastering off, no interrupts, nothing mapped. `window` is the only one that can be mapped later; its length
    /// must be a power of two.
    ///
    /// # Errors
    /// If the program is no QEMU, has no such PCI device or refuses its options; nothing is left behind then.
    pub fn start(config: QemuConfig, window: &DmaWindow) -> std::result::Result<QemuDevice, QemuError> {
        // The host of a nook has one, and comes later.
        let _ticker = Clock::Monotonic.keep();
        let len_bytes = window.len_bytes();
        if !len_bytes.is_power_of_two() {
            return Err(QemuError::WindowSize { len_bytes, wanted: len_bytes.next_power_of_two() });
        }
        let properties = Properties::ask(&config.program, config.device.name(), config.timeout)?;
        let device = machine::device(&config, &properties)?;
        let firmware = machine::firmware().map_err(|e| QemuError::os("writing QEMU's firmware", e))?;
        let knock = eventfd().map_err(|e| QemuError::os("making an eventfd", e))?;
        let (ours, theirs) = UnixStream::pair().map_err(|e| QemuError::os("making the qtest socket", e))?;
        let mut qtest =
            Qtest::new(ours, config.timeout).map_err(|e| QemuError::os("setting up the qtest socket", e))?;
        let (peer, doorbell) = Peer::new().map_err(|e| QemuError::os("setting up the doorbell device", e))?;

        let arguments = machine::arguments(&config, &device, &properties, window, &firmware, &theirs, &doorbell)?;
        tracing::debug!(program = ?config.program, ?arguments, "starting QEMU");
        let mut inherited =
            vec![window.fd().as_raw_fd(), firmware.as_raw_fd(), theirs.as_raw_fd(), doorbell.as_raw_fd()];
        inherited.extend(config.net.descriptor());
        let mut command = config.program.command(arguments);
        command.stdout(Stdio::null());
        let mut process =
            Process::spawn(command, &inherited).map_err(|error| QemuError::starting(&config.program, error))?;
        // QEMU alone holds its ends from here on, so that its death closes them.
        drop((theirs, doorbell));
        drop(config.net);

        let program = || config.program.path().to_owned();
        let found = probe(&mut qtest, peer).map_err(|e| match e {
            QtestError::Closed => {
                let ending = process.ending();
                let hint = if properties.has("drive") && config.device.file().is_none() {
                    "; give it a drive with `file=PATH`"
                } else {
                    ""
                };
                match refusal(&config.device, &device, &process.last_words(), hint) {
                    Some(refused) => refused,
                    None => QemuError::Ended { program: program(), ending },
                }
            }
            QtestError::Timeout { .. } => {
                QemuError::Silent { program: program(), timeout: config.timeout, words: process.last_words() }
            }
            other => QemuError::Unexpected { program: program(), what: other.to_string() },
        })?;
        let name = config.device.name().to_owned();
        let found = found.map_err(|why| QemuError::Unusable { device: name.clone(), why })?;
        if found.window_id != machine::WINDOW_ID {
            let what = format!("its ivshmem-plain answers as {:08x}", found.window_id);
            return Err(QemuError::Unexpected { program: program(), what });
        }
        Ok(QemuDevice {
            name,
            process,
            qtest,
            identity: found.identity,
            bars: found.bars.iter().map(|bar| bar.info).collect(),
            placed: found.bars,
            window: window.clone(),
            mapped_at: None,
            line: found.line,
            irq: IrqState::Off,
            messages: found.messages,
            knock,
            knocked: false,
            gone: None,
        })
    }

    /// Returns the process id of QEMU.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Talks to QEMU. An error is the end of the device: the process is killed, so that whatever state it was in, it
    /// no longer touches the window.
    fn talk<T>(&mut self, talk: impl FnOnce(&mut Qtest) -> std::result::Result<T, QtestError>) -> Result<T> {
        if let Some(why) = &self.gone {
            return Err(DeviceError::Gone(why.clone()));
        }
        talk(&mut self.qtest).map_err(|error| {
            let why = match error {
                QtestError::Closed => self.process.ending(),
                other => format!("{other}; QEMU's last words: {:?}", self.process.last_words()),
            };
            self.process.kill();
            let why = format!("QEMU's {}: {why}", self.name);
            self.gone = Some(why.clone());
            DeviceError::Gone(why)
        })
    }

    /// Talks as [`talk`](Self::talk) does, and remembers interrupts that came in between for threads that sleep on the
    /// descriptors.
    fn exchange<T>(&mut self, talk: impl FnOnce(&mut Qtest) -> std::result::Result<T, QtestError>) -> Result<T> {
        let value = self.talk(talk)?;
        self.knock_if_due()?;
        Ok(value)
    }

    fn knock_if_due(&mut self) -> Result<()> {
        if self.irq == IrqState::Open && self.qtest.line(self.line) && !self.knocked {
            (&self.knock).write_all(&1u64.to_ne_bytes()).map_err(|e| DeviceError::os("signalling an eventfd", e))?;
            self.knocked = true;
        }
        Ok(())
    }

    fn quiet_knock(&mut self) -> Result<()> {
        if self.knocked {
            (&self.knock).read_exact(&mut [0; 8]).map_err(|e| DeviceError::os("reading an eventfd", e))?;
            self.knocked = false;
        }
        Ok(())
    }

    /// Returns where a register is.
    fn register(&self, bar: u8, offset: u32, width: Width) -> Result<(Space, u64)> {
        let nothing = || DeviceError::NoSuchRegister { bar, offset, width };
        let place = self.placed.iter().find(|b| b.info.index == bar).ok_or_else(nothing)?;
        let space = match place.info.space {
            BarSpace::Memory => Space::Memory,
            BarSpace::Io if width == Width::B8 => return Err(nothing()),
            BarSpace::Io => Space::Io,
        };
        let inside = u64::from(offset) + u64::from(width.bytes()) <= place.info.len_bytes;
        if !inside || !offset.is_multiple_of(width.bytes()) {
            return Err(nothing());
        }
        Ok((space, place.address + u64::from(offset)))
    }

    fn unmappable(&self, iova: u64, why: String) -> DeviceError {
        DeviceError::Unmappable { iova, len_bytes: self.window.len_bytes(), why }
    }
}

/// What the card is, and where.
struct Found {
    identity: PciIdentity,
    window_id: u32,
    bars: Vec<Bar>,
    line: u32,
    messages: Option<Messages>,
}

/// Returns what QEMU, which has ended, says against the device, its drive or what it reads.
fn refusal(spec: &DeviceSpec, device: &str, words: &str, hint: &'static str) -> Option<QemuError> {
    // As QEMU writes it: the program's name, the argument that it did not like, and why.
    let at = words.rfind(&format!("-device {device}: ")).map(|at| at + "-device : ".len() + device.len());
    let at = at.or_else(|| {
        let at = words.find("-blockdev ").or_else(|| words.find("-object rng-"))?;
        Some(at + words[at..].find(": ")? + 2)
    })?;
    let name = spec.name().to_owned();
    Some(QemuError::Refused { device: spec.to_string(), name, words: words[at..].to_owned(), hint })
}

/// Does a firmware's work; or says why it cannot be done for this device.
fn probe(q: &mut Qtest, peer: Peer) -> std::result::Result<std::result::Result<Found, String>, QtestError> {
    let class = CARD.read(q, REVISION, Width::B4)?;
    let identity = PciIdentity {
        vendor: CARD.read(q, VENDOR, Width::B2)? as u16,
        device: CARD.read(q, DEVICE, Width::B2)? as u16,
        subsystem_vendor: CARD.read(q, SUBSYSTEM_VENDOR, Width::B2)? as u16,
        subsystem: CARD.read(q, SUBSYSTEM, Width::B2)? as u16,
        class: class >> 8,
        revision: class as u8,
    };
    if identity.vendor == u16::MAX {
        return Ok(Err("it is in no slot of the PCI bus".into()));
    }
    if CARD.read(q, HEADER_TYPE, Width::B1)? & !MANY_FUNCTIONS != 0 {
        return Ok(Err("it is a bridge, which leads to devices and is none".into()));
    }
    let window_id = WINDOW.read(q, VENDOR, Width::B4)?;
    CARD.command(q, 0, HOST_COMMAND_BITS)?;
    let mut free = machine::free_addresses();
    let bars = match CARD.place_bars(q, &mut free)? {
        Bars::Placed(bars) => bars,
        Bars::TooLarge(BarInfo { index, len_bytes, .. }) => {
            return Ok(Err(format!("there is no room for its BAR {index} of {len_bytes:#x} bytes")));
        }
    };
    CARD.command(q, COMMAND_IO | COMMAND_MEMORY, 0)?;
    let capabilities = CARD.capabilities(q)?;
    let messages = Messages::find(q, peer, &capabilities, &bars, &mut free)?;
    // A device without a pin reads 0; it then has no line, and the one of INTA stays silent.
    let pin = CARD.read(q, INTERRUPT_PIN, Width::B1)?.max(1);
    q.command("irq_intercept_in ioapic")?;
    Ok(Ok(Found { identity, window_id, bars, line: machine::interrupt_line(pin), messages }))
}

/// Checks that an access lies in the part of configuration space that can be reached.
fn check_config(offset: u16, width: Width) -> Result<()> {
    if width == Width::B8 || u32::from(offset) + width.bytes() > u32::from(CONFIG_BYTES) {
        return Err(DeviceError::Unsupported(format!(
            "configuration space at {offset:#x} ({width}): QEMU's card is reached through I/O ports, 8 to 32 bit below {CONFIG_BYTES:#x}"
        )));
    }
    Ok(())
}

impl PciDevice for QemuDevice {
    fn describe(&self) -> String {
        let PciIdentity { vendor, device, .. } = self.identity;
        let about = format!("{vendor:04x}:{device:04x}, process {}", self.process.id());
        match chip((vendor, device)) {
            Some(chip) => format!("{chip} (QEMU's {}, {about})", self.name),
            None => format!("QEMU's {} ({about})", self.name),
        }
    }

    fn identity(&self) -> PciIdentity {
        self.identity
    }

    fn bars(&self) -> &[BarInfo] {
        &self.bars
    }

    fn config_read(&mut self, offset: u16, width: Width) -> Result<u32> {
        check_config(offset, width)?;
        self.exchange(|q| CARD.read(q, offset, width))
    }

    fn bar_read(&mut self, bar: u8, offset: u32, width: Width) -> Result<u64> {
        let (space, address) = self.register(bar, offset, width)?;
        self.exchange(|q| q.read(space, address, width))
    }

    fn bar_write(&mut self, bar: u8, offset: u32, width: Width, value: u64) -> Result<()> {
        let (space, address) = self.register(bar, offset, width)?;
        self.exchange(|q| q.write(space, address, width, value))
    }

    fn flush(&mut self) -> Result<()> {
        self.exchange(Qtest::finish)
    }

    /// Returns where the window may lie. It becomes a BAR, so it lies at a multiple of its length. The ranges begin and
    /// end at such multiples, and each place in them will do.
    fn iova_ranges(&self) -> Vec<IovaRange> {
        machine::iova_ranges(self.window.len_bytes())
    }

    /// Maps the window that was passed to [`QemuDevice::start`], at a multiple of its length inside
    /// [`iova_ranges`](PciDevice::iova_ranges).
    fn dma_map(&mut self, window: &DmaWindow, iova: u64) -> Result<()> {
        if !window.same_as(&self.window) {
            let why = "QEMU shares only the window that it was started with: start another device for this one";
            return Err(self.unmappable(iova, why.into()));
        }
        if let Some(at) = self.mapped_at {
            return Err(self.unmappable(iova, format!("the window is mapped at {at:#x}: unmap it first")));
        }
        let len_bytes = window.len_bytes();
        if !iova.is_multiple_of(len_bytes) {
            let why = "QEMU's window is a PCI BAR, which lies at a multiple of its length".to_owned();
            return Err(self.unmappable(iova, why));
        }
        let ranges = self.iova_ranges();
        if !ranges.iter().any(|r| r.first <= iova && iova <= r.last) {
            return Err(self.unmappable(iova, format!("outside {ranges:x?}")));
        }
        let at = BAR0 + 4 * u16::from(machine::WINDOW_BAR);
        self.exchange(|q| {
            WINDOW.write(q, at, Width::B4, iova as u32)?;
            WINDOW.write(q, at + 4, Width::B4, (iova >> 32) as u32)?;
            WINDOW.command(q, COMMAND_MEMORY, 0)
        })?;
        self.mapped_at = Some(iova);
        Ok(())
    }

    fn dma_unmap(&mut self, iova: u64) -> Result<()> {
        if self.mapped_at != Some(iova) {
            return Err(self.unmappable(iova, "nothing is mapped there".into()));
        }
        // The answer to the read comes after the change of the memory map, and DMA is done by the same thread.
        let command = self.exchange(|q| WINDOW.command(q, 0, COMMAND_MEMORY))?;
        if command & COMMAND_MEMORY != 0 {
            return Err(self.unmappable(iova, "the window's memory decode stays on".into()));
        }
        self.mapped_at = None;
        Ok(())
    }

    /// Always 0: QEMU's bus drops such accesses and tells nobody.
    fn dma_faults(&self) -> u64 {
        0
    }

    fn set_bus_master(&mut self, on: bool) -> Result<()> {
        let (set, clear) = if on { (COMMAND_BUS_MASTER, 0) } else { (0, COMMAND_BUS_MASTER) };
        let command = self.exchange(|q| CARD.command(q, set, clear))?;
        if (command & COMMAND_BUS_MASTER != 0) != on {
            let what = format!(
                "turning bus mastering {}: the command register holds {command:#x}",
                if on { "on" } else { "off" }
            );
            return Err(DeviceError::Unsupported(what));
        }
        Ok(())
    }

    /// Does nothing: none of [`models`](crate::models) has a function level reset, and others' is not used.
    fn reset(&mut self) -> Result<ResetKind> {
        Ok(ResetKind::None)
    }

    /// Enables interrupts: by messages where the card does that and more than one vector is wanted; else INTx, one
    /// vector.
    fn irq_enable(&mut self, vectors: u32) -> Result<(IrqKind, u32)> {
        if vectors > 1
            && let Some(mut messages) = self.messages.take()
        {
            let enabled = self.exchange(|q| messages.enable(q, vectors));
            self.messages = Some(messages);
            self.irq = IrqState::Messages;
            return Ok((IrqKind::MsiX, enabled?));
        }
        if let Some(mut messages) = self.messages.take() {
            let off = self.exchange(|q| messages.turn_off(q));
            self.messages = Some(messages);
            off?;
        }
        self.irq = IrqState::Open;
        self.exchange(Qtest::service)?;
        Ok((IrqKind::Intx, 1))
    }

    fn irq_disable(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.irq, IrqState::Off) == IrqState::Messages
            && let Some(mut messages) = self.messages.take()
        {
            let disabled = self.exchange(|q| messages.disable(q));
            self.messages = Some(messages);
            return disabled;
        }
        self.quiet_knock()
    }

    fn irq_unmask(&mut self, _vector: u32) -> Result<()> {
        if self.irq == IrqState::Masked {
            self.irq = IrqState::Open;
        }
        self.knock_if_due()
    }

    fn service(&mut self, _now_ns: u64) -> Result<Service> {
        self.talk(Qtest::service)?;
        self.quiet_knock()?;
        if self.irq == IrqState::Open && self.qtest.line(self.line) {
            self.irq = IrqState::Masked;
            return Ok(Service { irqs: 1, due_ns: None });
        }
        if let (IrqState::Messages, Some(messages)) = (self.irq, &mut self.messages) {
            let irqs = messages.fired().map_err(|error| DeviceError::os("reading an eventfd", error))?;
            return Ok(Service { irqs, due_ns: None });
        }
        Ok(Service::default())
    }

    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        fds.extend([self.qtest.fd(), self.knock.as_raw_fd()]);
        fds.extend(self.messages.iter().flat_map(Messages::fds));
    }
}

pub(crate) fn eventfd() -> io::Result<File> {
    Ok(File::from(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
}
