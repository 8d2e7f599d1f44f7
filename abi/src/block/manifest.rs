//! What the class adds to the manifest.

use crate::ClassKeys;
use crate::manifest::{Find, Manifest, ManifestError, number};

/// The keys of a disk's driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockKeys {
    /// `requests`: how many it has at a time, up to 256. Default 128.
    pub requests: u32,
    /// `transfer_bytes`: room for the data of each, a multiple of 4096. Default 131072.
    pub transfer_bytes: u32,
}

impl BlockKeys {
    pub(crate) const HAS_DEVICE: bool = true;
    pub(crate) const NAMES: &'static [&'static str] = &["requests", "transfer_bytes"];

    pub(crate) fn parse<'a>(find: Find<'_, 'a>) -> Result<Self, ManifestError<'a>> {
        const EXPECTED: &str = "a multiple of 4096 up to 1048576";
        let transfer = find("transfer_bytes");
        let transfer_bytes = number("transfer_bytes", transfer, Some(128 << 10), 4096..=1 << 20, EXPECTED)?;
        match transfer {
            Some(value) if !transfer_bytes.is_multiple_of(4096) => {
                Err(ManifestError::BadValue { key: "transfer_bytes", value, expected: EXPECTED })
            }
            _ => Ok(BlockKeys {
                requests: number("requests", find("requests"), Some(128), 1..=256, "1 to 256")?,
                transfer_bytes,
            }),
        }
    }

    /// Returns the keys of a disk's driver's manifest.
    pub const fn of<S>(manifest: &Manifest<S>) -> Option<BlockKeys> {
        match manifest.keys {
            ClassKeys::Block(keys) => Some(keys),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    const GOOD: &str = "abi = 1.0\nname = disk\nversion = 1.0\nlicense = Apache-2.0\nclass = block\n\
                        pci = 1b36:0010\nregisters = nvme\ndma_bytes = 65536\ndma_mask_bits = 64\n";

    #[test]
    fn requests_and_room_have_defaults_and_limits() {
        let keys = |more: &str| {
            let text = format!("{GOOD}{more}");
            Manifest::parse(text.as_bytes()).ok().and_then(|manifest| BlockKeys::of(&manifest))
        };
        assert_eq!(keys(""), Some(BlockKeys { requests: 128, transfer_bytes: 131072 }));
        assert_eq!(
            keys("requests = 1\ntransfer_bytes = 4096\n"),
            Some(BlockKeys { requests: 1, transfer_bytes: 4096 })
        );
        for more in ["requests = 0", "requests = 257", "transfer_bytes = 4097", "transfer_bytes = 0"] {
            assert_eq!(keys(more), None, "{more}");
        }
    }
}
