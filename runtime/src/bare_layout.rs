//! The layout of classes that have nothing in the window, no queues, and no words in the host page.

use nook_abi::CLASS_WORDS;

use crate::{OwnedManifest, Space};

pub(crate) fn window_bytes(_: &OwnedManifest) -> u64 {
    0
}

pub(crate) fn ring_bytes() -> [usize; 4] {
    [0; 4]
}

pub(crate) fn page<P>(_: &P, _: &OwnedManifest, _: &Space, _beside: bool) -> [u64; CLASS_WORDS] {
    [0; CLASS_WORDS]
}
