//! Where a PCI function sits: domain, bus, device, function.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// The address of a PCI function, as `lspci -D` prints it: `0000:03:00.0`.
///
/// Domains of more than 16 bits exist (virtual ones behind some host bridges), so the domain is a `u32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    /// Also called segment; 0 on most machines.
    pub domain: u32,
    /// 0 to 255.
    pub bus: u8,
    /// 0 to 31.
    pub device: u8,
    /// 0 to 7.
    pub function: u8,
}

/// Why a text is not a PCI address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a PCI address: {why}; write it as 03:00.0 or 0000:03:00.0 (`nook-run devices` lists them)")]
pub struct AddressError {
    text: String,
    why: &'static str,
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{:x}", self.domain, self.bus, self.device, self.function)
    }
}

impl Serialize for PciAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for PciAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |why| AddressError { text: text.to_owned(), why };
        let (front, function) = text.trim().rsplit_once('.').ok_or_else(|| wrong("there is no `.function`"))?;
        let mut parts = front.rsplit(':');
        let device = parts.next().unwrap_or_default();
        let bus = parts.next().ok_or_else(|| wrong("there is no `bus:`"))?;
        let domain = parts.next().unwrap_or("0");
        if parts.next().is_some() {
            return Err(wrong("it has too many colons"));
        }
        let domain = hex(domain, 8).ok_or_else(|| wrong("the domain is not a hexadecimal number"))?;
        let bus = hex(bus, 2).ok_or_else(|| wrong("the bus is not one from 00 to ff"))?;
        let device = hex(device, 2).filter(|d| *d < 32).ok_or_else(|| wrong("the device is not one from 00 to 1f"))?;
        let function =
            hex(function, 1).filter(|f| *f < 8).ok_or_else(|| wrong("the function is not one from 0 to 7"))?;
        Ok(PciAddress { domain, bus: bus as u8, device: device as u8, function: function as u8 })
    }
}

/// Parses `digits` as a hexadecimal number of at most `most` digits. `from_str_radix` alone would take a sign.
fn hex(digits: &str, most: usize) -> Option<u32> {
    if digits.len() > most || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PciAddress, AddressError> {
        text.parse()
    }

    #[test]
    fn short_and_long_forms_are_the_same_address() {
        let expected = PciAddress { domain: 0, bus: 3, device: 0x1f, function: 7 };
        assert_eq!(parse("03:1f.7").unwrap(), expected);
        assert_eq!(parse("0000:03:1F.7").unwrap(), expected);
        assert_eq!(expected.to_string(), "0000:03:1f.7");
    }

    #[test]
    fn a_wide_domain_survives_the_round_trip() {
        assert_eq!(parse("10000:e1:00.0").unwrap().to_string(), "10000:e1:00.0");
    }

    #[test]
    fn what_is_not_an_address_is_refused_with_the_part_that_is_wrong() {
        for (text, part) in [
            ("", "function"),
            ("eth0", "function"),
            ("03:00", "function"),
            ("00.0", "bus"),
            ("03:00.8", "function"),
            ("03:20.0", "device"),
            ("103:00.0", "bus"),
            ("+3:00.0", "bus"),
            ("0:0000:03:00.0", "colons"),
            ("zz:03:00.0", "domain"),
            ("03:00.", "function"),
            ("../etc:03:00.0", "domain"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(error.contains("nook-run devices"), "{error}");
        }
    }
}
