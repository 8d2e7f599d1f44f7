//! What the end-to-end tests share: drivers as they are built, devices to run them on, and a nook between two queues
//! of frames.
//!
//! It is test equipment and no part of nook; only the tests in this crate and the benchmarks use it.

mod cable;
mod rig;

pub use cable::{CableEnd, FrameQueues, cable};
pub use rig::{Device, Isolation, Rig, driver_file, e1000_module, frame};
