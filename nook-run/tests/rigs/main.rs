//! The command on every rig: the exercise at every level and on every device, and between two network namespaces.

mod command;
mod file;
mod follow;
mod namespaces;
mod runs;
mod vlan;
