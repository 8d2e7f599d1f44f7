//! What the end-to-end tests share: drivers as they are built, devices to run them on, and a nook between two queues
//! of frames.
//!
//! It is test equipment and no part of nook; only the tests in this crate and the benchmarks use it.
#![deny(unsafe_code)]

#[expect(unsafe_code, reason = "registers are a file of memory")]
mod bare_device;
mod cable;
mod disk;
pub mod disk_crashes;
pub mod durability;
pub mod namespaces;
pub mod object_file;
mod packets;
mod planted;
mod planted_disk;
mod poisoned;
mod rig;
mod side_by_side;
mod supervised;
mod tagger;
mod text;
mod text_disk;

pub use bare_device::{BAR_BYTES, BareDevice, BareDeviceHandle};
pub use cable::{CableEnd, FrameQueues, cable};
pub use disk::{
    Asker, DiskNook, Drive, Served, chosen_disk_nook, disk_nook, disk_nook_of, model_nook, nvme_launcher, nvme_module,
    until_answered, wasm_launcher,
};
pub use packets::Packet;
pub use planted::corrupted_at;
pub use planted_disk::{DiskBug, with_disk_bug};
pub use poisoned::poisoned;
pub use rig::{
    Card, Device, Isolation, Rig, card, driver_file, drives, e1000_module, frame, host, mpk, mpk_only, native, qemus,
};
pub use side_by_side::side_by_side;
pub use supervised::{Exchanged, Supervised};
pub use tagger::Tagger;
pub use text::{wat_class_driver, wat_driver};
pub use text_disk::wat_disk_driver;
