//! The crate `virtio-drivers`, as it is published, in drivers for nook: its [`Transport`] over nook's registers
//! ([`Device`]), its [`Hal`] over nook's window ([`hal::WindowHal`]), and its queues with what a rollback asks of them
//! ([`Queue`]).
//!
//! Drivers of virtio devices call it; it knows no kind of them. Why it is as it is, stands in `docs/virtio.md`.
//!
//! **The rule of the queues.** The index in memory by which a device sees what is available is a doorbell that no host
//! can hold back. So the crate works on a private copy of a queue's driver area. What a call adds is copied to the
//! window at its end ([`Queue::end`]), behind the index, where the device does not look. The index follows at the
//! beginning of the next call ([`Queue::begin`]), when nothing can undo any more what it tells of; that store is the
//! only one that a rollback leaves.
//!
//! [`Transport`]: virtio_drivers::transport::Transport
//! [`Hal`]: virtio_drivers::Hal
#![no_std]
#![deny(unsafe_code)]

#[cfg(any(test, feature = "testing"))]
extern crate std;

mod device;
#[expect(unsafe_code, reason = "the crate asks for memory by address, without saying who asks")]
mod hal;
mod layout;
mod left;
#[expect(unsafe_code, reason = "the crate takes buffers as slices, which the device uses after the call")]
mod queue;
mod transport;

pub use device::{Causes, Device};
pub use left::Left;
pub use queue::{MOST_PARTS, Queue, Used};
pub use virtio_drivers::transport::{DeviceType, Transport};
