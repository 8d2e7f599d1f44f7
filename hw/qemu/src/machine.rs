//! The machine around the card: QEMU's command line, and where things are in it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nook_bus::{DmaWindow, IovaRange};

use crate::inquiry::Properties;
use crate::messages;
use crate::pci::{FreeAddresses, Function};
use crate::process::{inherited_path, memory_file};
use crate::spec::escaped;
use crate::{DeviceSpec, QemuConfig, QemuError};

/// The card. Any slot below 25 will do: see [`interrupt_line`].
pub(crate) const CARD: Function = Function { slot: 5 };
/// The device whose BAR is the window.
pub(crate) const WINDOW: Function = Function { slot: 6 };
/// The device that turns messages into signals.
pub(crate) const DOORBELL: Function = Function { slot: 7 };
/// ivshmem's PCI id (QEMU, docs/specs/ivshmem-spec).
pub(crate) const WINDOW_ID: u32 = 0x1110_1af4;
/// ivshmem's BAR of shared memory: 64 bits wide.
pub(crate) const WINDOW_BAR: u8 = 2;

/// What the back ends of the card are called.
const CABLE: &str = "cable";
const DRIVE: &str = "drive";
const LINE: &str = "line";
const RANDOM: &str = "random";
/// What the card is called, as the bus of what is plugged into it.
const CARD_NAME: &str = "card";
/// Bytes of a sector of a log of writes: no device writes less.
const LOG_SECTOR_BYTES: u32 = 512;

/// RAM begins at 0 and nobody uses it; the halted processor only has to have some.
const RAM_BYTES: u64 = 16 << 20;
/// The card's BARs; up from here to the I/O APIC there is nothing else.
const BARS_AT: u64 = 0xe000_0000;
const BARS_END: u64 = 0xfec0_0000;
/// The card's I/O BARs: above all ports of the chipset.
const PORTS_AT: u64 = 0xc000;
const PORTS_END: u64 = 1 << 16;
/// What QEMU's default processor model, and so its bus, can address.
const PHYSICAL_BITS: u32 = 40;

/// Returns where the card's BARs go.
pub(crate) fn free_addresses() -> FreeAddresses {
    FreeAddresses { memory: BARS_AT..BARS_END, io: PORTS_AT..PORTS_END }
}

/// Returns where a window of `len_bytes` (a power of two) may be mapped: at each multiple of its length, below and
/// above 4 GiB. The ranges begin and end at such multiples.
pub(crate) fn iova_ranges(len_bytes: u64) -> Vec<IovaRange> {
    [(RAM_BYTES, BARS_AT), (1 << 32, 1 << PHYSICAL_BITS)]
        .into_iter()
        .map(|(from, to)| (from.next_multiple_of(len_bytes), to & !(len_bytes - 1)))
        .filter(|(first, end)| first < end)
        .map(|(first, end)| IovaRange { first, last: end - 1 })
        .collect()
}

/// Returns the I/O APIC's input for interrupt pin `pin` (1 is INTA) of the card: q35 wires the pins of slots 0 to 24 in
/// rotation to inputs 20 to 23.
pub(crate) fn interrupt_line(pin: u32) -> u32 {
    20 + (CARD.slot + pin - 1) % 4
}

/// Returns 64 KiB of firmware that does nothing: at the reset vector, `cli`, `hlt`, and again if something wakes it.
pub(crate) fn firmware() -> io::Result<File> {
    const CLI: u8 = 0xfa;
    const HLT: u8 = 0xf4;
    /// `jmp` to the `hlt` before it.
    const JMP_BACK: [u8; 2] = [0xeb, 0xfd];
    let mut image = vec![HLT; 64 << 10];
    let reset_vector = image.len() - 16;
    image[reset_vector..reset_vector + 4].copy_from_slice(&[CLI, HLT, JMP_BACK[0], JMP_BACK[1]]);
    let mut file = memory_file(c"nook-qemu-firmware")?;
    file.write_all(&image)?;
    Ok(file)
}

/// Returns the value of `-device` for the card. Properties that each user would give are given where the device has
/// them and the options do not: a cable, an address, no boot ROM, and interrupts that are not held back (QEMU's e1000
/// does so for up to half a second, to spare a guest's processor).
///
/// # Errors
/// If the options cannot be had with this device.
pub(crate) fn device(config: &QemuConfig, properties: &Properties) -> Result<String, QemuError> {
    let spec = &config.device;
    let name = spec.name().to_owned();
    let mut device = format!("{name},addr={:#x}", CARD.slot);
    let mut option = |name: &str, value: &str| device += &format!(",{name}={}", escaped(value));
    if !config.parts.is_empty() {
        option("id", CARD_NAME);
    }
    for (name, value) in spec.options() {
        if properties.of(name).is_some_and(|type_name| type_name.starts_with("link<")) {
            return Err(QemuError::Connection { device: spec.name().into(), option: name.clone() });
        }
        option(name, value);
    }
    let [a, b, c, d, e, f] = config.mac;
    let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
    let has_drive = properties.has("drive");
    for (name, value, wanted) in [
        ("netdev", CABLE, true),
        ("mac", &*mac, true),
        ("romfile", "", true),
        ("mitigation", "off", true),
        ("drive", DRIVE, spec.file().is_some()),
        ("chardev", LINE, true),
        ("rng", RANDOM, spec.random().is_some()),
        // Disks that must have one end QEMU without it.
        ("serial", "nook", has_drive),
    ] {
        if wanted && properties.has(name) && !spec.has(name) {
            option(name, value);
        }
    }
    match (spec.file(), spec.socket(), spec.random()) {
        (Some(_), ..) if !has_drive => Err(QemuError::NoDrive { device: name }),
        (_, Some(_), _) if !properties.has("chardev") => Err(QemuError::NoLine { device: name }),
        (.., Some(_)) if !properties.has("rng") => Err(QemuError::NotRandom { device: name }),
        _ => Ok(device),
    }
}

/// Returns QEMU's name for the bus in a device: a number follows the device's name, but in that of NVMe controllers.
fn bus(of: &DeviceSpec) -> String {
    if of.name() == "nvme" { CARD_NAME.into() } else { format!("{CARD_NAME}.0") }
}

/// Returns the value of `-device` for the part with this number on a bus.
fn part(spec: &DeviceSpec, number: usize, bus: &str) -> String {
    let mut device = format!("{},bus={bus}", spec.name());
    for (name, value) in spec.options() {
        device += &format!(",{name}={}", escaped(value));
    }
    if spec.file().is_some() {
        device += &format!(",drive={}", part_drive(number));
    }
    if spec.socket().is_some() {
        device += &format!(",chardev={}", part_line(number));
    }
    device
}

fn part_drive(number: usize) -> String {
    format!("{DRIVE}{number}")
}

fn part_line(number: usize) -> String {
    format!("{LINE}{number}")
}

/// Returns the value of `-blockdev` for a drive of this name whose content is this file, byte by byte, or this block
/// device; what it is given to write may be logged to a file.
///
/// # Errors
/// If one of them is not there, may not be written, or is something else; or if the log is not empty.
pub(crate) fn drive(name: &str, path: &Path, write_log: Option<&Path>) -> Result<String, QemuError> {
    let file = |path: &Path, key: &str| {
        let (driver, path) = (backing(path)?, utf8(path)?);
        Ok(format!("{key}driver=raw,{key}file.driver={driver},{key}file.filename={}", escaped(path)))
    };
    let Some(log) = write_log else { return Ok(format!("node-name={name},{}", file(path, "")?)) };
    let logged = file(log, "log.")?;
    if log.metadata().is_ok_and(|meta| meta.len() > 0) {
        let why = "it is not empty, and what it holds would be taken for a part of the log".into();
        return Err(QemuError::DriveFile { path: log.into(), why });
    }
    let sector = format!("log-sector-size={LOG_SECTOR_BYTES}");
    Ok(format!("driver=blklogwrites,node-name={name},{sector},{},{logged}", file(path, "file.")?))
}

/// Returns QEMU's name for what is behind a path.
fn backing(path: &Path) -> Result<&'static str, QemuError> {
    let cannot = |why: String| QemuError::DriveFile { path: path.into(), why };
    let kind = path.metadata().map_err(|error| cannot(error.to_string()))?.file_type();
    let driver = match kind {
        kind if kind.is_file() => "file",
        kind if kind.is_block_device() => "host_device",
        _ => return Err(cannot("it is neither a file nor a block device".into())),
    };
    File::options().read(true).write(true).open(path).map_err(|error| cannot(error.to_string()))?;
    Ok(driver)
}

fn utf8(path: &Path) -> Result<&str, QemuError> {
    path.to_str().ok_or_else(|| QemuError::DriveFile { path: path.into(), why: "its name is not UTF-8".into() })
}

/// Returns the value of `-chardev` for a serial line of this name whose far end is this socket, or nothing.
fn line(name: &str, socket: Option<&Path>) -> Result<String, QemuError> {
    Ok(match socket {
        Some(path) => format!("socket,id={name},server=on,wait=off,path={}", escaped(utf8(path)?)),
        None => format!("null,id={name}"),
    })
}

/// Returns QEMU's arguments for a machine with this `device`.
///
/// `vmport`, `sata`, `smbus`, `usb`, `hpet` and `pit` are off because nobody uses them; the last two would also wake
/// QEMU up and flood the interrupt lines. The processor is emulated (`tcg`) and halted, so the machine is idle.
pub(crate) fn arguments(
    config: &QemuConfig,
    device: &str,
    properties: &Properties,
    window: &DmaWindow,
    firmware: &File,
    qtest: &UnixStream,
    doorbell: &UnixStream,
) -> Result<Vec<OsString>, QemuError> {
    let mut args: Vec<String> = Vec::new();
    let mut option = |name: &str, value: String| args.extend([name.to_owned(), value]);
    option("-machine", "q35,hpet=off,pit=off,vmport=off,sata=off,smbus=off,usb=off".into());
    option("-accel", "tcg".into());
    option("-m", format!("{}M", RAM_BYTES >> 20));
    option("-bios", inherited_path(firmware));
    option("-display", "none".into());
    option("-chardev", format!("socket,id=qtest,fd={}", qtest.as_raw_fd()));
    option("-qtest", "chardev:qtest".into());
    option("-qtest-log", "/dev/null".into());
    option(
        "-object",
        format!(
            "memory-backend-file,id=window,mem-path={},size={},share=on",
            inherited_path(&window.fd()),
            window.len_bytes()
        ),
    );
    option("-device", format!("ivshmem-plain,memdev=window,addr={:#x}", WINDOW.slot));
    option("-chardev", format!("socket,id=doorbell,fd={}", doorbell.as_raw_fd()));
    let (vectors, slot) = (messages::VECTORS, DOORBELL.slot);
    option("-device", format!("ivshmem-doorbell,chardev=doorbell,vectors={vectors},addr={slot:#x}"));
    if properties.has("netdev") {
        option("-netdev", config.net.argument(CABLE));
    }
    if properties.has("chardev") {
        option("-chardev", line(LINE, config.device.socket())?);
    }
    if let Some(path) = config.device.file() {
        option("-blockdev", drive(DRIVE, path, config.device.write_log())?);
    }
    if let Some(path) = config.device.random() {
        option("-object", format!("rng-random,id={RANDOM},filename={}", escaped(utf8(path)?)));
    }
    option("-device", device.to_owned());
    for (number, spec) in config.parts.iter().enumerate() {
        if let Some(path) = spec.file() {
            option("-blockdev", drive(&part_drive(number), path, spec.write_log())?);
        }
        if let Some(path) = spec.socket() {
            option("-chardev", line(&part_line(number), Some(path))?);
        }
        option("-device", part(spec, number, &bus(&config.device)));
    }
    args.extend(["-nodefaults".to_owned(), "-no-user-config".to_owned()]);
    Ok(args.into_iter().map(OsString::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_finds_several_places_below_four_gigabytes_and_above() {
        for len in [2 << 20, 16 << 20, 1 << 30] {
            let ranges = iova_ranges(len);
            assert_eq!(ranges.len(), 2, "{len:#x}");
            for range in ranges {
                assert_eq!((range.first % len, (range.last + 1) % len), (0, 0), "{len:#x} {range:x?}");
                assert!((range.last - range.first + 1) / len >= 2, "{len:#x} {range:x?}");
            }
        }
    }

    #[test]
    fn a_window_too_large_for_the_low_range_is_offered_the_high_one() {
        assert_eq!(iova_ranges(4 << 30), [IovaRange { first: 4 << 30, last: (1 << 40) - 1 }]);
    }
}
