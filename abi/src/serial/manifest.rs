//! What the class adds to the manifest.

use crate::manifest::{Find, ManifestError};

/// A serial driver adds no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialKeys;

impl SerialKeys {
    pub(crate) const HAS_DEVICE: bool = true;
    pub(crate) const NAMES: &'static [&'static str] = &[];

    pub(crate) fn parse<'a>(_: Find<'_, 'a>) -> Result<Self, ManifestError<'a>> {
        Ok(SerialKeys)
    }
}
