//! QEMU's cards as devices: what they promise, and how they live and die.

mod cards;
mod life;
mod messages;
mod rig;
mod serial;
