//! The emulated machine: QEMU with an IOMMU, the cards and a disk, one line to talk to the guest's process 1 and one to
//! QEMU.

use crate::guest::peer::{Peer, Socket};
use crate::guest::trace::{self, Counts};
use crate::guest::wire::Frames;
use crate::{newer_qemu, util};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A card in the machine.
pub struct Card {
    /// Its slot on bus 0.
    slot: u32,
    /// QEMU's name for the model, with properties.
    device: &'static str,
}

/// The cards, each on its own user network. Without `mitigation=off` QEMU would hold back an e1000's interrupts
/// to spare a guest's processor.
const CARDS: [Card; 3] = [
    Card { slot: 5, device: "e1000,mitigation=off" },
    Card { slot: 6, device: "e1000-82545em,mitigation=off" },
    Card { slot: 7, device: "e1000e" },
];

/// A card whose cable ends in this process, at a [`Peer`].
const PEERED: Card = Card { slot: 0xa, device: "e1000,mitigation=off" };

/// A virtio card and a virtio disk that ask the IOMMU, and a card that goes past it, each in the usual machine only.
const VIRTIO_CARD: Card = Card { slot: 0xc, device: "virtio-net-pci,disable-legacy=on,iommu_platform=on" };
const VIRTIO_DISK: u32 = 0xd;
const VIRTIO_PAST: Card = Card { slot: 0xe, device: "virtio-net-pci,disable-legacy=on" };
/// How long that disk is.
const VIRTIO_DISK_MIB: u64 = 16;

/// Where QEMU's own firmware is, for a QEMU of which only the program is there.
const FIRMWARE: [&str; 2] = ["/usr/share/qemu", "/usr/share/seabios"];

/// What differs between machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Has an IOMMU.
    Usual,
    /// Has none.
    WithoutIommu,
    /// Runs in the QEMU that was unpacked in this folder, and has an `igb` in place of each card that is an `e1000`.
    Igb(PathBuf),
    /// Has no IOMMU, and what memory protection keys take of the processor; with a newer kernel.
    Keys,
    /// The same without protection keys.
    NoKeys,
}

impl Kind {
    /// Returns whether the kernel of its cases is the newer one.
    pub fn has_newer_kernel(&self) -> bool {
        matches!(self, Kind::Keys | Kind::NoKeys)
    }

    /// Returns QEMU's name of the processor. Its emulated CMPXCHG16B corrupts lists of a 6.12 kernel's allocator at
    /// boot (7.2).
    fn processor(&self) -> &'static str {
        match self {
            Kind::Usual | Kind::WithoutIommu | Kind::Igb(_) => "max",
            Kind::Keys => "max,cx16=off",
            Kind::NoKeys => "max,cx16=off,pku=off",
        }
    }

    /// Returns the model in place of this one. Newer QEMUs have no `mitigation` to be turned off.
    fn device(&self, usual: &'static str) -> &'static str {
        match (self, usual.split_once(',')) {
            (Kind::Igb(_), Some(("e1000", _))) => "igb",
            (Kind::Igb(_), Some((name, _))) => name,
            _ => usual,
        }
    }

    /// Returns the emulator.
    fn qemu(&self) -> Result<PathBuf> {
        if let Kind::Igb(folder) = self {
            return Ok(folder.join(newer_qemu::PROGRAM));
        }
        let name = "qemu-system-x86_64";
        util::find_program(name).with_context(|| format!("{name} is not installed; `cargo xtask setup` installs it"))
    }
}

/// The slot of the disk, an NVM Express controller's.
const DISK: u32 = 0xb;
/// How long the disk is.
pub const DISK_MIB: u64 = 96;

/// Two cards behind one bridge, which are in one IOMMU group because the bridge speaks for both; and a device that no
/// driver here drives.
const OTHERS: [&str; 4] = [
    "pcie-pci-bridge,id=shared,addr=0x8",
    "e1000,bus=shared,addr=0x1,romfile=",
    "e1000,bus=shared,addr=0x2,romfile=",
    "edu,addr=0x9",
];

/// What is done with the IOMMU is what drivers do on hardware; protection of the guest's kernel from its own user
/// space is not what is measured here and would slow everything down.
const KERNEL_COMMAND_LINE: &str = "console=ttyS0 quiet loglevel=5 intel_iommu=on mitigations=off panic=-1";
const MEMORY_MIB: u32 = 1024;
/// From QEMU's start to the guest's `ready`: 3 to 6 seconds on a quiet machine.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// For QEMU's answer to a command.
const QMP_LIMIT: Duration = Duration::from_secs(60);
/// An event that never happens here: naming one for `-d` is what opens the log for events that are enabled later.
const LOG_OPENER: &str = "trace:qmp_job_dismiss";

/// Returns the slots in the form in which the guest's scripts name them.
pub fn slots() -> String {
    CARDS.map(|card| format!("{:02x}", card.slot)).join(" ")
}

/// Returns the slot of the card that has a peer, in the same form.
pub fn peered_slot() -> String {
    format!("{:02x}", PEERED.slot)
}

/// Returns the slot of the disk, in the same form.
pub fn disk_slot() -> String {
    format!("{DISK:02x}")
}

/// Returns the slots of the virtio devices in the same form: card, disk, and the card that goes past the IOMMU.
pub fn virtio_slots() -> [String; 3] {
    [VIRTIO_CARD.slot, VIRTIO_DISK, VIRTIO_PAST.slot].map(|slot| format!("{slot:02x}"))
}

/// A running machine. Dropping it ends QEMU.
pub struct Machine {
    /// What it has that others have not.
    pub kind: Kind,
    /// The far end of the cable of the card in the slot [`peered_slot`].
    pub peer: Peer,
    qemu: Child,
    guest: Line,
    qmp: Line,
    folder: PathBuf,
    /// How much of the trace was there when the present count began.
    counted_to: u64,
}

impl Machine {
    /// Starts QEMU and waits until the guest is ready. Console, trace and QEMU's own messages go to files in `folder`.
    /// The guest finds an iperf3 server and an [inbox](crate::guest::servers::Inbox) at these ports of 10.0.2.2.
    pub fn boot(kernel: &Path, initramfs: &Path, folder: &Path, kind: Kind, ports: [u16; 2]) -> Result<Machine> {
        let qemu = kind.qemu()?;
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let stderr = File::create(folder.join("qemu.log")).context("making QEMU's log")?;
        // Zeros again in each machine, and as long on the host's disk as what is written to it.
        for (name, mib) in [("disk.img", DISK_MIB), ("virtio.img", VIRTIO_DISK_MIB)] {
            let disk = File::create(folder.join(name)).and_then(|file| file.set_len(mib << 20));
            disk.with_context(|| format!("making the guest's {name}"))?;
        }
        let (guest, guest_end) = UnixStream::pair().context("making a socket")?;
        let (qmp, qmp_end) = UnixStream::pair().context("making a socket")?;
        let cable = Socket::new()?;
        // It must not outlive us, however we end.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .arg(qemu)
            .args(arguments(kernel, initramfs, folder, &kind, cable.port, ports));
        if let Kind::Igb(folder) = &kind {
            command.env(newer_qemu::MODULE_DIR, folder.join(newer_qemu::MODULES));
        }
        command.stdin(Stdio::from(OwnedFd::from(guest_end))).stdout(Stdio::from(OwnedFd::from(qmp_end))).stderr(stderr);
        let mut child = util::spawn(&mut command)?;
        // The command holds their ends of the sockets, which must close when QEMU ends.
        drop(command);
        let folder = folder.to_path_buf();
        let (guest, mut qmp) = (Line::new(guest), Line::new(qmp));
        // When it greets, it has connected all cables.
        let greeting = qmp.hear(Instant::now() + QMP_LIMIT).context("waiting for QEMU's greeting");
        let peer = match greeting.and_then(|_| cable.peer()) {
            Ok(peer) => peer,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                let said = fs::read_to_string(folder.join("qemu.log")).unwrap_or_default();
                bail!("starting QEMU: {error:#}; it said: {}", last_lines(&said, 5));
            }
        };
        let mut machine = Machine { kind, peer, qemu: child, guest, qmp, folder, counted_to: 0 };
        machine.greet().map_err(|error| machine.explain(error).context("starting the guest"))?;
        Ok(machine)
    }

    fn greet(&mut self) -> Result<()> {
        self.execute("qmp_capabilities", &json!({}))?;
        let line = self.guest.hear(Instant::now() + BOOT_LIMIT)?;
        if line != "ready" {
            bail!("the guest says {line:?} instead of being ready");
        }
        Ok(())
    }

    /// Says a line to the guest.
    pub fn say(&mut self, line: &str) -> Result<()> {
        self.guest.say(line)
    }

    /// Returns the guest's next line.
    pub fn hear(&mut self, deadline: Instant) -> Result<String> {
        self.guest.hear(deadline)
    }

    /// Returns how much the console has said so far.
    pub fn console_len(&self) -> u64 {
        fs::metadata(self.folder.join("console.log")).map_or(0, |file| file.len())
    }

    /// Returns the last lines of the console, none from before `from`.
    pub fn console_tail(&self, from: u64, lines: usize) -> String {
        let bytes = fs::read(self.folder.join("console.log")).unwrap_or_default();
        last_lines(&String::from_utf8_lossy(bytes.get(from as usize..).unwrap_or_default()), lines)
    }

    /// Starts counting register accesses.
    pub fn count_begin(&mut self) -> Result<()> {
        self.counted_to = fs::metadata(self.trace()).map_or(0, |file| file.len());
        self.trace_events(true)
    }

    /// Ends counting; says what was done to the card in `slot`.
    pub fn count_end(&mut self, slot: u32) -> Result<Counts> {
        self.trace_events(false)?;
        let bars = bars(&self.execute("query-pci", &json!({}))?, slot);
        if bars.is_empty() {
            bail!("no card with registers is in slot {slot:#x}");
        }
        let log = fs::read(self.trace()).context("reading QEMU's trace")?;
        Ok(Counts::of(&String::from_utf8_lossy(log.get(self.counted_to as usize..).unwrap_or_default()), &bars))
    }

    /// Starts keeping what passes the cable of the card in `slot`.
    pub fn wire_begin(&mut self, slot: u32) -> Result<()> {
        let (id, netdev, file) = (format!("wire{slot}"), format!("net{slot}"), self.wire(slot));
        let filter = json!({"qom-type": "filter-dump", "id": id, "netdev": netdev, "file": file});
        self.execute("object-add", &filter).map(drop)
    }

    /// Ends keeping it; says what passed.
    pub fn wire_end(&mut self, slot: u32) -> Result<Frames> {
        self.execute("object-del", &json!({"id": format!("wire{slot}")}))?;
        Frames::of(&fs::read(self.wire(slot)).context("reading what passed the cable")?)
    }

    fn wire(&self, slot: u32) -> PathBuf {
        self.folder.join(format!("wire{slot}.pcap"))
    }

    fn trace(&self) -> PathBuf {
        self.folder.join("trace.log")
    }

    fn trace_events(&mut self, enable: bool) -> Result<()> {
        for name in trace::EVENTS {
            self.execute("trace-event-set-state", &json!({"name": name, "enable": enable}))?;
        }
        Ok(())
    }

    fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        self.qmp.say(&json!({"execute": command, "arguments": arguments}).to_string())?;
        let deadline = Instant::now() + QMP_LIMIT;
        loop {
            let line = self.qmp.hear(deadline).with_context(|| format!("waiting for the answer to {command}"))?;
            let mut answer: Value = serde_json::from_str(&line).with_context(|| format!("QEMU says {line:?}"))?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses {command}: {error}");
            }
            // Anything else is an event.
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    /// Adds to an error what QEMU and the guest said last.
    pub fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        let said = fs::read_to_string(self.folder.join("qemu.log")).unwrap_or_default();
        let ended = match self.qemu.try_wait() {
            Ok(Some(status)) => format!("QEMU has ended with {status}"),
            _ => "QEMU is running".to_string(),
        };
        let (said, console) = (last_lines(&said, 5), self.console_tail(0, 20));
        error.context(format!("{ended}; it said: {said}\nThe console's last lines:\n{console}\n"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // An error means that it has ended and was reaped.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

fn arguments(
    kernel: &Path,
    initramfs: &Path,
    folder: &Path,
    kind: &Kind,
    cable_port: u16,
    ports: [u16; 2],
) -> Vec<String> {
    let mut args: Vec<String> = Vec::new();
    let mut option = |name: &str, value: String| args.extend([name.to_string(), value]);
    option("-machine", "q35,kernel-irqchip=split,hpet=off,vmport=off,usb=off".into());
    option("-accel", "tcg".into());
    option("-cpu", kind.processor().into());
    option("-m", MEMORY_MIB.to_string());
    option("-display", "none".into());
    if let Kind::Igb(_) = kind {
        FIRMWARE.into_iter().for_each(|folder| option("-L", folder.into()));
    }
    if matches!(kind, Kind::Usual | Kind::Igb(_)) {
        option("-device", "intel-iommu,intremap=on".into());
    }
    let virtio = if *kind == Kind::Usual { &[VIRTIO_CARD, VIRTIO_PAST][..] } else { &[] };
    let users = CARDS.iter().chain(virtio).map(|card| (card, "user,ipv6=off".to_string()));
    for (card, network) in users.chain([(&PEERED, format!("socket,connect=127.0.0.1:{cable_port}"))]) {
        let (slot, device) = (card.slot, kind.device(card.device));
        option("-netdev", format!("{network},id=net{slot}"));
        option("-device", format!("{device},netdev=net{slot},addr={slot:#x},romfile="));
    }
    for device in OTHERS {
        option("-device", device.into());
    }
    let drive = |node: &str, name: &str| {
        let file = folder.join(name);
        format!("driver=raw,node-name={node},file.driver=file,file.filename={}", file.display())
    };
    option("-blockdev", drive("disk", "disk.img"));
    option("-device", format!("nvme,drive=disk,serial=guest-disk,addr={DISK:#x}"));
    if *kind == Kind::Usual {
        let properties = "disable-legacy=on,iommu_platform=on,serial=virtio-disk";
        option("-blockdev", drive("virtio", "virtio.img"));
        option("-device", format!("virtio-blk-pci,drive=virtio,{properties},addr={VIRTIO_DISK:#x}"));
    }
    option("-chardev", format!("file,id=console,path={}", folder.join("console.log").display()));
    option("-serial", "chardev:console".into());
    option("-chardev", "socket,id=cases,fd=0".into());
    option("-serial", "chardev:cases".into());
    option("-chardev", "socket,id=qmp,fd=1".into());
    option("-mon", "chardev=qmp,mode=control".into());
    option("-D", folder.join("trace.log").display().to_string());
    option("-d", LOG_OPENER.into());
    option("-kernel", kernel.display().to_string());
    option("-initrd", initramfs.display().to_string());
    // Linux gives what it does not know to its first process, as that one's environment.
    let [iperf, inbox] = ports;
    option("-append", format!("{KERNEL_COMMAND_LINE} IPERF_PORT={iperf} INBOX_PORT={inbox}"));
    args.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(String::from));
    args
}

/// Returns where the BARs of the device in `slot` of bus 0 are, by QMP's `query-pci`.
fn bars(buses: &Value, slot: u32) -> Vec<Range<u64>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let devices = list(buses).into_iter().filter(|bus| bus["bus"] == 0).flat_map(|bus| list(&bus["devices"]));
    let regions = devices.filter(|device| device["slot"] == slot).flat_map(|device| list(&device["regions"]));
    let range = |region: Value| {
        let (from, size) = (region["address"].as_u64()?, region["size"].as_u64()?);
        // What has no address yet is given as all ones.
        Some(from..from.checked_add(size)?)
    };
    regions.filter_map(range).collect()
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// One of QEMU's character devices: lines in both directions.
struct Line {
    socket: UnixStream,
    partial: Vec<u8>,
}

impl Line {
    fn new(socket: UnixStream) -> Line {
        Line { socket, partial: Vec::new() }
    }

    fn say(&mut self, line: &str) -> Result<()> {
        self.socket.write_all(format!("{line}\n").as_bytes()).with_context(|| format!("saying {line:?} to QEMU"))
    }

    fn hear(&mut self, deadline: Instant) -> Result<String> {
        loop {
            if let Some(end) = self.partial.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.partial.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_string());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("nothing was heard within the time limit");
            }
            self.socket.set_read_timeout(Some(left)).context("setting a time limit")?;
            let mut buffer = [0; 4096];
            match self.socket.read(&mut buffer) {
                Ok(0) => bail!("QEMU has closed its end"),
                Ok(n) => self.partial.extend_from_slice(&buffer[..n]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error).context("listening to QEMU"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_heard_whole_and_silence_ends_at_the_deadline() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut line = Line::new(ours);
        theirs.write_all(b"ready\r\ncount be").unwrap();
        assert_eq!(line.hear(Instant::now() + Duration::from_secs(20)).unwrap(), "ready");
        let silence = line.hear(Instant::now() + Duration::from_millis(20)).unwrap_err();
        assert!(silence.to_string().contains("time limit"), "{silence}");
        theirs.write_all(b"gin\n").unwrap();
        assert_eq!(line.hear(Instant::now() + Duration::from_secs(20)).unwrap(), "count begin");
        drop(theirs);
        assert!(line.hear(Instant::now() + Duration::from_secs(20)).is_err());
    }

    #[test]
    fn a_cards_registers_are_found_in_what_qemu_tells() {
        let buses = json!([{"bus": 0, "devices": [
            {"slot": 4, "regions": [{"bar": 0, "type": "memory", "address": 1, "size": 2}]},
            {"slot": 5, "regions": [
                {"bar": 0, "type": "memory", "address": 0xfeb8_0000u64, "size": 0x2_0000},
                {"bar": 1, "type": "io", "address": 0xc000, "size": 64},
                {"bar": 2, "type": "io", "address": u64::MAX, "size": 64},
            ]},
        ]}]);
        assert_eq!(bars(&buses, 5), [0xfeb8_0000..0xfeba_0000, 0xc000..0xc040]);
        assert!(bars(&buses, 9).is_empty());
    }
}
