//! The driver against a scripted chip: a file of registers that does what the test says.
//!
//! What the chip would do by itself is for the model's tests and QEMU's.

mod bring_up;
mod chip;
mod interleavings;
mod interrupts;
mod jumbo;
mod loopback;
mod pause;
mod rig;
mod settings;
mod traffic;
mod trouble;
