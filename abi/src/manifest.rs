//! The manifest: what a driver says of itself, checked before any of it runs.
//!
//! It is text, so that a C driver can write it with one `.ascii` and a person can read it with `strings`: lines of
//! `key = value`, UTF-8, in the wasm custom section [`MANIFEST_SECTION`]. Each key stands once; an unknown key is an
//! error, so that a misspelt one is not silently a default.

use core::fmt;

use crate::Class;

/// The custom section's name.
pub const MANIFEST_SECTION: &str = "nook.manifest";

/// When a driver gives sent packets back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxCompletion {
    /// In the `poll` after the device is done with them.
    Eager,
    /// When it needs the room: the host must not wait for them.
    Lazy,
}

/// What a module says of itself. A filter has `abi`, `name`, `version`, `license`, `class` and `heap_bytes` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest<'a> {
    /// `abi`: the version that it was built for.
    pub abi: (u16, u16),
    /// `name`: lower-case letters, digits and `-`, at most 32.
    pub name: &'a str,
    /// `version`: of the driver.
    pub version: &'a str,
    /// `license`: an SPDX expression.
    pub license: &'a str,
    /// `class`: `net` or `filter`.
    pub class: Class,
    /// `pci`: `vendor:device` in hexadecimal, separated by spaces.
    pci: &'a str,
    /// `registers`: the host's register map for these devices.
    pub registers: &'a str,
    /// `heap_bytes`: memory between the stack and the window, for an allocator of the driver's own. Default 0.
    pub heap_bytes: u32,
    /// `dma_bytes`: how much `dma_alloc` can give out.
    pub dma_bytes: u32,
    /// `dma_mask_bits`: how many address bits the device has, 24 to 64.
    pub dma_mask_bits: u8,
    /// `irq_vectors`: how many it can use, 1 to 32. Default 1.
    pub irq_vectors: u8,
    /// `rx_buffers`: packet buffers for receiving, up to 4096. Default 512.
    pub rx_buffers: u32,
    /// `tx_buffers`: packet buffers for sending, up to 4096. Default 512.
    pub tx_buffers: u32,
    /// `buffer_bytes`: room for a frame in each. Default 2048.
    pub buffer_bytes: u32,
    /// `headroom_bytes`: room that the driver wants before each frame, up to 256. Default 0.
    pub headroom_bytes: u32,
    /// `tx_completion`: `eager` or `lazy`. Default `eager`.
    pub tx_completion: TxCompletion,
}

/// What is wrong with a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestError<'a> {
    /// The section is not UTF-8 text, or has characters in it that [are not plain](crate::is_plain).
    NotText,
    /// A line is not `key = value`.
    NotAPair(&'a str),
    /// No such key.
    UnknownKey(&'a str),
    /// A key stands twice.
    Repeated(&'a str),
    /// A key that every manifest has is missing.
    Missing(&'static str),
    /// A key that a filter does not have.
    NotOfAFilter(&'static str),
    /// A value that the key cannot have.
    BadValue {
        /// The key.
        key: &'a str,
        /// Its value.
        value: &'a str,
        /// What it should be.
        expected: &'static str,
    },
}

impl fmt::Display for ManifestError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ManifestError::NotText => f.write_str("is not plain UTF-8 text"),
            ManifestError::NotAPair(line) => write!(f, "line {line:?} is not `key = value`"),
            ManifestError::UnknownKey(key) => write!(f, "has the unknown key {key:?}"),
            ManifestError::Repeated(key) => write!(f, "has the key {key:?} twice"),
            ManifestError::Missing(key) => write!(f, "lacks the key {key:?}"),
            ManifestError::NotOfAFilter(key) => write!(f, "has the key {key:?}, which a filter does not have"),
            ManifestError::BadValue { key, value, expected } => {
                write!(f, "has {key} = {value:?}, which should be {expected}")
            }
        }
    }
}

impl core::error::Error for ManifestError<'_> {}

/// Each key once: its name here is its name in the text.
macro_rules! keys {
    ($($key:ident),*) => {
        #[derive(Default)]
        struct Pairs<'a> { $($key: Option<&'a str>,)* }

        impl<'a> Pairs<'a> {
            fn slot(&mut self, key: &str) -> Option<&mut Option<&'a str>> {
                match key { $(stringify!($key) => Some(&mut self.$key),)* _ => None }
            }
        }
    };
}

keys!(
    abi,
    name,
    version,
    license,
    class,
    pci,
    registers,
    heap_bytes,
    dma_bytes,
    dma_mask_bits,
    irq_vectors,
    rx_buffers,
    tx_buffers,
    buffer_bytes,
    headroom_bytes,
    tx_completion
);

impl<'a> Manifest<'a> {
    /// Reads a manifest from the section's bytes.
    pub fn parse(section: &'a [u8]) -> Result<Manifest<'a>, ManifestError<'a>> {
        let text = core::str::from_utf8(section).map_err(|_| ManifestError::NotText)?;
        // It is shown to people, whom such characters would mislead.
        if text.contains(|c: char| !crate::is_plain(c) && !matches!(c, '\n' | '\r' | '\t')) {
            return Err(ManifestError::NotText);
        }
        let mut pairs = Pairs::default();
        for line in text.split('\n').map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (key, value) = line.split_once('=').ok_or(ManifestError::NotAPair(line))?;
            let (key, value) = (key.trim(), value.trim());
            let slot = pairs.slot(key).ok_or(ManifestError::UnknownKey(key))?;
            if slot.replace(value).is_some() {
                return Err(ManifestError::Repeated(key));
            }
        }
        let class = match pairs.class.ok_or(ManifestError::Missing("class"))? {
            "net" => Class::Net,
            "filter" => Class::Filter,
            value => return Err(ManifestError::BadValue { key: "class", value, expected: "net or filter" }),
        };
        let device = |key, value: Option<&'a str>| match (class, value) {
            (Class::Net, None) => Err(ManifestError::Missing(key)),
            (Class::Filter, Some(_)) => Err(ManifestError::NotOfAFilter(key)),
            (_, value) => Ok(value),
        };
        let ids = device("pci", pairs.pci)?.map_or(Ok(""), pci)?;
        let registers = device("registers", pairs.registers)?.unwrap_or("");
        let dma_bytes = device("dma_bytes", pairs.dma_bytes)?;
        let dma_mask_bits = device("dma_mask_bits", pairs.dma_mask_bits)?;
        let packets = [
            ("irq_vectors", pairs.irq_vectors),
            ("rx_buffers", pairs.rx_buffers),
            ("tx_buffers", pairs.tx_buffers),
            ("buffer_bytes", pairs.buffer_bytes),
            ("headroom_bytes", pairs.headroom_bytes),
            ("tx_completion", pairs.tx_completion),
        ];
        if let Some((key, _)) = packets.iter().find(|(_, value)| class == Class::Filter && value.is_some()) {
            return Err(ManifestError::NotOfAFilter(key));
        }
        let manifest = Manifest {
            abi: version(pairs.abi.ok_or(ManifestError::Missing("abi"))?)?,
            name: name(pairs.name.ok_or(ManifestError::Missing("name"))?)?,
            version: pairs.version.ok_or(ManifestError::Missing("version"))?,
            license: pairs.license.ok_or(ManifestError::Missing("license"))?,
            class,
            pci: ids,
            registers,
            heap_bytes: number("heap_bytes", pairs.heap_bytes, Some(0), 0..=64 << 20, "0 to 67108864")?,
            dma_bytes: number("dma_bytes", dma_bytes, Some(0), 4096..=64 << 20, "4096 to 67108864")?,
            dma_mask_bits: number("dma_mask_bits", dma_mask_bits, Some(64), 24..=64, "24 to 64")? as u8,
            irq_vectors: number("irq_vectors", pairs.irq_vectors, Some(1), 1..=32, "1 to 32")? as u8,
            rx_buffers: number("rx_buffers", pairs.rx_buffers, Some(512), 1..=4096, "1 to 4096")?,
            tx_buffers: number("tx_buffers", pairs.tx_buffers, Some(512), 1..=4096, "1 to 4096")?,
            buffer_bytes: number("buffer_bytes", pairs.buffer_bytes, Some(2048), 256..=16384, "256 to 16384")?,
            headroom_bytes: number("headroom_bytes", pairs.headroom_bytes, Some(0), 0..=256, "0 to 256")?,
            tx_completion: match pairs.tx_completion {
                None | Some("eager") => TxCompletion::Eager,
                Some("lazy") => TxCompletion::Lazy,
                Some(value) => {
                    return Err(ManifestError::BadValue { key: "tx_completion", value, expected: "eager or lazy" });
                }
            },
        };
        Ok(manifest)
    }

    /// The devices that the driver drives, as (vendor, device).
    pub fn pci_ids(&self) -> impl Iterator<Item = (u16, u16)> + 'a {
        self.pci.split_ascii_whitespace().filter_map(pci_id)
    }
}

fn version<'a>(value: &'a str) -> Result<(u16, u16), ManifestError<'a>> {
    let parts = value.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    parts.ok_or(ManifestError::BadValue { key: "abi", value, expected: "major.minor" })
}

fn name<'a>(value: &'a str) -> Result<&'a str, ManifestError<'a>> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if value.is_empty() || value.len() > 32 || !value.bytes().all(good) {
        let expected = "1 to 32 lower-case letters, digits and -";
        return Err(ManifestError::BadValue { key: "name", value, expected });
    }
    Ok(value)
}

fn pci_id(text: &str) -> Option<(u16, u16)> {
    let (vendor, device) = text.split_once(':')?;
    let hex = |digits: &str| (digits.len() == 4).then(|| u16::from_str_radix(digits, 16).ok()).flatten();
    Some((hex(vendor)?, hex(device)?))
}

fn pci<'a>(value: &'a str) -> Result<&'a str, ManifestError<'a>> {
    let ids = || value.split_ascii_whitespace();
    if ids().next().is_none() || ids().any(|id| pci_id(id).is_none()) {
        return Err(ManifestError::BadValue { key: "pci", value, expected: "vendor:device ids such as 8086:100e" });
    }
    Ok(value)
}

fn number<'a>(
    key: &'static str,
    value: Option<&'a str>,
    default: Option<u32>,
    range: core::ops::RangeInclusive<u32>,
    expected: &'static str,
) -> Result<u32, ManifestError<'a>> {
    let Some(value) = value else { return default.ok_or(ManifestError::Missing(key)) };
    let parsed = value.parse().ok().filter(|number| range.contains(number));
    parsed.ok_or(ManifestError::BadValue { key, value, expected })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    const GOOD: &str = "abi = 0.9\nname = e1000\nversion = 1.0\nlicense = Apache-2.0\nclass = net\n\
                        pci = 8086:100e 8086:100f\nregisters = e1000\ndma_bytes = 65536\ndma_mask_bits = 64\n";

    #[test]
    fn a_good_manifest_is_read() {
        let manifest = Manifest::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(manifest.name, "e1000");
        assert!(manifest.pci_ids().eq([(0x8086, 0x100e), (0x8086, 0x100f)]));
        assert_eq!((manifest.rx_buffers, manifest.heap_bytes), (512, 0));
    }

    #[test]
    fn a_filter_has_no_keys_of_a_device() {
        let text = "abi = 0.9\nname = drop\nversion = 1.0\nlicense = Apache-2.0\nclass = filter\n";
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!((manifest.class, manifest.pci_ids().count(), manifest.dma_bytes), (Class::Filter, 0, 0));
        for key in ["pci", "registers", "dma_bytes", "rx_buffers", "tx_completion"] {
            let text = std::format!("{text}{key} = 1\n");
            assert_eq!(Manifest::parse(text.as_bytes()).unwrap_err(), ManifestError::NotOfAFilter(key));
        }
    }

    #[test]
    fn each_missing_key_is_named() {
        for key in ["abi", "name", "version", "license", "class", "pci", "registers", "dma_bytes", "dma_mask_bits"] {
            let text: String = GOOD.lines().filter(|line| !line.starts_with(key)).flat_map(|l| [l, "\n"]).collect();
            assert_eq!(Manifest::parse(text.as_bytes()).unwrap_err(), ManifestError::Missing(key));
        }
    }

    #[test]
    fn what_could_mislead_a_reader_is_not_text() {
        for trick in ["\x1b[2J", "\u{202e}"] {
            let text = std::format!("{GOOD}# {trick}\n");
            assert_eq!(Manifest::parse(text.as_bytes()).unwrap_err(), ManifestError::NotText);
        }
        assert!(Manifest::parse(GOOD.replace('\n', "\r\n").as_bytes()).is_ok());
    }

    #[test]
    fn a_misspelt_key_is_not_a_default() {
        let text = std::format!("{GOOD}rx_bufers = 9\n");
        assert_eq!(Manifest::parse(text.as_bytes()).unwrap_err(), ManifestError::UnknownKey("rx_bufers"));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for line in ["rx_buffers = 0", "heap_bytes = 4294967295", "irq_vectors = -1", "tx_completion = maybe"] {
            let text = std::format!("{GOOD}{line}\n");
            assert!(matches!(Manifest::parse(text.as_bytes()), Err(ManifestError::BadValue { .. })), "{line}");
        }
    }
}
