//! The manifest: a driver's self-description, validated before the driver runs.
//!
//! It is text, so that a C driver can write it with one `.ascii` and a person can read it with `strings`: lines of
//! `key = value`, UTF-8, in the wasm custom section [`MANIFEST_SECTION`]. Each key stands once; an unknown key is an
//! error, so that a misspelt one is not silently a default.

use core::fmt;

use crate::{Class, ClassKeys};

/// The custom section's name.
pub const MANIFEST_SECTION: &str = "nook.manifest";

/// A module's self-description. One of a class without a device has `abi`, `name`, `version`, `license`, `class` and
/// `heap_bytes` only. `S` is its text: borrowed from the section, or a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest<S> {
    /// `abi`: the version that it was built for.
    pub abi: (u16, u16),
    /// `name`: lower-case letters, digits and `-`, at most 32.
    pub name: S,
    /// `version`: of the driver.
    pub version: S,
    /// `license`: an SPDX expression.
    pub license: S,
    /// `pci`: `vendor:device` in hexadecimal, or `class:` with class, subclass and interface for every device of that
    /// class, separated by spaces.
    pub pci: S,
    /// `registers`: the host's register map for these devices.
    pub registers: S,
    /// `heap_bytes`: memory between the stack and the window, for an allocator of the driver's own. Default 0.
    pub heap_bytes: u32,
    /// `dma_bytes`: how much `dma_alloc` can give out.
    pub dma_bytes: u32,
    /// `dma_mask_bits`: how many address bits the device has, 24 to 64.
    pub dma_mask_bits: u8,
    /// `irq_vectors`: how many it can use, 1 to 32. Default 1.
    pub irq_vectors: u8,
    /// `queues`: for how many queues `poll` can be called, 1 to 8. Default 1. A driver with several uses as many as the
    /// operator wants, one unless told otherwise, and has one interrupt vector while that is one.
    pub queues: u8,
    /// `class`: what it drives, and what this class adds.
    pub keys: ClassKeys,
}

/// What is wrong with a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestError<'a> {
    /// The section is not UTF-8 text, or has characters in it that [are not plain](crate::is_printable).
    NotText,
    /// A line is not `key = value`.
    NotAPair(&'a str),
    /// No such key.
    UnknownKey(&'a str),
    /// A key stands twice.
    Repeated(&'a str),
    /// A key that every manifest has is missing.
    Missing(&'static str),
    /// A key that modules of this class do not have.
    NotOfTheClass {
        /// The key.
        key: &'a str,
        /// The class.
        class: Class,
    },
    /// No such class.
    UnknownClass(&'a str),
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
            ManifestError::NotOfTheClass { key, class } => {
                write!(f, "has the key {key:?}, which a module of class `{class}` does not have")
            }
            ManifestError::UnknownClass(name) => {
                write!(f, "has class = {name:?}, which should be one of")?;
                Class::ALL.iter().try_for_each(|class| write!(f, " {class}"))
            }
            ManifestError::BadValue { key, value, expected } => {
                write!(f, "has {key} = {value:?}, which should be {expected}")
            }
        }
    }
}

impl core::error::Error for ManifestError<'_> {}

/// Finds a key's value.
pub(crate) type Find<'f, 'a> = &'f dyn Fn(&str) -> Option<&'a str>;

/// The keys of every module, and those of modules that drive a device.
const ALWAYS: [&str; 6] = ["abi", "name", "version", "license", "class", "heap_bytes"];
const DEVICE: [&str; 6] = ["pci", "registers", "dma_bytes", "dma_mask_bits", "irq_vectors", "queues"];

/// Returns the lines of a manifest: key and value.
fn pairs<'a>(text: &'a str) -> impl Iterator<Item = Result<(&'a str, &'a str), ManifestError<'a>>> {
    let lines = text.split('\n').map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        let (key, value) = line.split_once('=').ok_or(ManifestError::NotAPair(line))?;
        Ok((key.trim(), value.trim()))
    })
}

impl<'a> Manifest<&'a str> {
    /// Returns the version that a module was built for, whatever else its manifest has: keys and values of a version
    /// that this one does not know. Nothing if it does not say.
    pub fn abi_of(section: &'a [u8]) -> Option<(u16, u16)> {
        let text = core::str::from_utf8(section).ok()?;
        let (_, value) = pairs(text).filter_map(Result::ok).find(|(key, _)| *key == "abi")?;
        version(value).ok()
    }

    /// Reads a manifest from the section's bytes.
    pub fn parse(section: &'a [u8]) -> Result<Self, ManifestError<'a>> {
        let text = core::str::from_utf8(section).map_err(|_| ManifestError::NotText)?;
        // It is shown to people, whom such characters would mislead.
        if text.contains(|c: char| !crate::is_printable(c) && !matches!(c, '\n' | '\r' | '\t')) {
            return Err(ManifestError::NotText);
        }
        let find = |wanted: &str| pairs(text).filter_map(Result::ok).find(|(key, _)| *key == wanted).map(|(_, v)| v);
        let class =
            find("class").map(|name| Class::named(name).ok_or(ManifestError::UnknownClass(name))).transpose()?;
        for pair in pairs(text) {
            let (key, value) = pair?;
            let of_class = |class: Class| class.key_names().contains(&key);
            let of_device = DEVICE.contains(&key);
            match class {
                _ if ALWAYS.contains(&key) => {}
                None => {}
                Some(class) if of_class(class) || of_device && class.has_device() => {}
                Some(class) if of_device || Class::ALL.iter().any(|&class| of_class(class)) => {
                    return Err(ManifestError::NotOfTheClass { key, class });
                }
                Some(_) => return Err(ManifestError::UnknownKey(key)),
            }
            // Every key that comes this far is one of a few, so that a long text ends here soon.
            if find(key).is_none_or(|first| !core::ptr::eq(first, value)) {
                return Err(ManifestError::Repeated(key));
            }
        }
        let required = |key: &'static str| find(key).ok_or(ManifestError::Missing(key));
        let class = class.ok_or(ManifestError::Missing("class"))?;
        let device = |key| if class.has_device() { required(key) } else { Ok("") };
        Ok(Manifest {
            abi: version(required("abi")?)?,
            name: name(required("name")?)?,
            version: required("version")?,
            license: required("license")?,
            pci: if class.has_device() { pci(device("pci")?)? } else { "" },
            registers: device("registers")?,
            heap_bytes: number("heap_bytes", find("heap_bytes"), Some(0), 0..=64 << 20, "0 to 67108864")?,
            dma_bytes: match class.has_device() {
                true => number("dma_bytes", find("dma_bytes"), None, 4096..=64 << 20, "4096 to 67108864")?,
                false => 0,
            },
            dma_mask_bits: match class.has_device() {
                true => number("dma_mask_bits", find("dma_mask_bits"), None, 24..=64, "24 to 64")? as u8,
                false => 64,
            },
            irq_vectors: number("irq_vectors", find("irq_vectors"), Some(1), 1..=32, "1 to 32")? as u8,
            queues: number("queues", find("queues"), Some(1), 1..=crate::MOST_QUEUES, "1 to 8")? as u8,
            keys: class.keys(&find)?,
        })
    }
}

impl<S: AsRef<str>> Manifest<S> {
    /// Returns `class`, the kind of device.
    pub const fn class(&self) -> Class {
        self.keys.class()
    }

    /// Returns the devices that the driver drives, as (vendor, device).
    pub fn pci_ids(&self) -> impl Iterator<Item = (u16, u16)> {
        self.pci.as_ref().split_ascii_whitespace().filter_map(pci_id)
    }

    /// Returns the classes of devices of which it drives each, of any maker: class, subclass and interface, as in
    /// bytes 11 to 9 of configuration space (PCI 3.0, 6.2.1).
    pub fn pci_classes(&self) -> impl Iterator<Item = u32> {
        self.pci.as_ref().split_ascii_whitespace().filter_map(pci_class)
    }

    /// Returns whether the driver drives this device, whose class is `class`: it names the device, or the class.
    pub fn drives(&self, vendor: u16, device: u16, class: u32) -> bool {
        self.pci_ids().any(|id| id == (vendor, device)) || self.pci_classes().any(|it| it == class)
    }

    /// Returns the manifest with other text: `owned(str::to_owned)` outlives the section.
    pub fn owned<T>(&self, text: impl Fn(&str) -> T) -> Manifest<T> {
        let text = |part: &S| text(part.as_ref());
        Manifest {
            abi: self.abi,
            name: text(&self.name),
            version: text(&self.version),
            license: text(&self.license),
            pci: text(&self.pci),
            registers: text(&self.registers),
            heap_bytes: self.heap_bytes,
            dma_bytes: self.dma_bytes,
            dma_mask_bits: self.dma_mask_bits,
            irq_vectors: self.irq_vectors,
            queues: self.queues,
            keys: self.keys,
        }
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

/// What `pci` is made of.
const PCI: &str = "vendor:device ids such as 8086:100e, or classes such as class:010802";

fn pci_id(text: &str) -> Option<(u16, u16)> {
    let (vendor, device) = text.split_once(':')?;
    let hex = |digits: &str| (digits.len() == 4).then(|| u16::from_str_radix(digits, 16).ok()).flatten();
    Some((hex(vendor)?, hex(device)?))
}

/// Reads `class:010802`.
fn pci_class(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("class:")?;
    let good = digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    good.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

fn pci<'a>(value: &'a str) -> Result<&'a str, ManifestError<'a>> {
    let ids = || value.split_ascii_whitespace();
    if ids().next().is_none() || ids().any(|id| pci_id(id).is_none() && pci_class(id).is_none()) {
        return Err(ManifestError::BadValue { key: "pci", value, expected: PCI });
    }
    Ok(value)
}

pub(crate) fn number<'a>(
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
    use std::borrow::ToOwned;
    use std::string::String;

    const GOOD: &str = "abi = 1.0\nname = e1000\nversion = 1.0\nlicense = Apache-2.0\nclass = net\n\
                        pci = 8086:100e 8086:100f\nregisters = e1000\ndma_bytes = 65536\ndma_mask_bits = 64\n";

    #[test]
    fn a_good_manifest_is_read() {
        let manifest = Manifest::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(manifest.name, "e1000");
        assert!(manifest.pci_ids().eq([(0x8086, 0x100e), (0x8086, 0x100f)]));
        assert_eq!((manifest.class(), manifest.heap_bytes), (Class::Net, 0));
        assert!(manifest.owned(str::to_owned).drives(0x8086, 0x100f, 0x02_0000));
        assert!(!manifest.drives(0x8086, 0x1010, 0x02_0000));
    }

    #[test]
    fn a_class_of_devices_can_be_driven_as_a_whole() {
        let text = GOOD.replace("8086:100e 8086:100f", "1b36:0010 class:010802");
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert!(manifest.pci_ids().eq([(0x1b36, 0x10)]) && manifest.pci_classes().eq([0x01_0802]));
        assert!(manifest.drives(0x144d, 0xa808, 0x01_0802) && manifest.drives(0x1b36, 0x10, 0));
        assert!(!manifest.drives(0x144d, 0xa808, 0x01_0801));
        for wrong in ["class:0108", "class:01080g", "class:+10802", "class:"] {
            let text = GOOD.replace("8086:100e 8086:100f", wrong);
            assert!(matches!(Manifest::parse(text.as_bytes()), Err(ManifestError::BadValue { key: "pci", .. })));
        }
    }

    #[test]
    fn a_filter_has_no_keys_of_a_device() {
        let text = "abi = 1.0\nname = drop\nversion = 1.0\nlicense = Apache-2.0\nclass = filter\n";
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!((manifest.class(), manifest.pci_ids().count(), manifest.dma_bytes), (Class::Filter, 0, 0));
        for key in ["pci", "registers", "dma_bytes", "rx_buffers"] {
            let text = std::format!("{text}{key} = 1\n");
            assert_eq!(
                Manifest::parse(text.as_bytes()).unwrap_err(),
                ManifestError::NotOfTheClass { key, class: Class::Filter }
            );
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
    fn a_key_stands_once_even_with_the_same_value() {
        let text = std::format!("{GOOD}license = Apache-2.0\n");
        assert_eq!(Manifest::parse(text.as_bytes()).unwrap_err(), ManifestError::Repeated("license"));
    }

    #[test]
    fn a_class_that_there_is_not_is_refused_with_those_that_there_are() {
        let text = GOOD.replace("class = net", "class = sound");
        let error = Manifest::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error, ManifestError::UnknownClass("sound"));
        assert!(std::format!("{error}").ends_with("one of net filter misc block serial"));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for line in ["rx_buffers = 0", "heap_bytes = 4294967295", "irq_vectors = -1"] {
            let text = std::format!("{GOOD}{line}\n");
            assert!(matches!(Manifest::parse(text.as_bytes()), Err(ManifestError::BadValue { .. })), "{line}");
        }
    }
}
