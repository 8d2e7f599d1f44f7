//! The class has nothing in the window and nothing in the host page.

use nook_abi::CLASS_WORDS;

use super::Port;
use crate::{OwnedManifest, Space};

pub(crate) fn window_bytes(_: &OwnedManifest) -> u64 {
    0
}

pub(crate) fn ring_bytes() -> [usize; 4] {
    [0; 4]
}

pub(crate) fn page(_: &Port, _: &OwnedManifest, _: &Space, _beside: bool) -> [u64; CLASS_WORDS] {
    [0; CLASS_WORDS]
}
