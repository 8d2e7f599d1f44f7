//! Interrupts and notifications as eventfds.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nook_bus::DeviceError;
use nook_bus::{IrqKind, Result};
use rustix::event::EventfdFlags;
use vfio_bindings::bindings::vfio as vb;

use crate::sys;

/// Vectors that [`nook_bus::Service`] has bits for.
const MOST_VECTORS: u32 = 32;

/// A counter that the kernel adds to and a poll can wait for.
#[derive(Debug)]
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    fn new() -> io::Result<Self> {
        Ok(EventFd(rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
    }

    /// Returns whether it was signalled since the last call.
    pub(crate) fn take(&self) -> bool {
        let mut count = [0; size_of::<u64>()];
        rustix::io::read(&self.0, &mut count) == Ok(count.len())
    }

    #[cfg(test)]
    fn signal(&self) {
        rustix::io::write(&self.0, &1u64.to_ne_bytes()).expect("the counter is not full");
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Returns the VFIO index of a way to interrupt.
fn index_of(kind: IrqKind) -> u32 {
    match kind {
        IrqKind::Intx => vb::VFIO_PCI_INTX_IRQ_INDEX,
        IrqKind::Msi => vb::VFIO_PCI_MSI_IRQ_INDEX,
        IrqKind::MsiX => vb::VFIO_PCI_MSIX_IRQ_INDEX,
    }
}

/// Ways to interrupt with how many vectors, best first. `counts` is how many the device has by INTx, MSI, MSI-X.
///
/// One vector comes by MSI, which needs no table and no set-up in the device's own registers. A table of vectors is
/// for drivers that ask for several.
fn candidates(wanted: u32, counts: [u32; 3]) -> Vec<(IrqKind, u32)> {
    let wanted = wanted.clamp(1, MOST_VECTORS);
    let order = if wanted > 1 {
        [IrqKind::MsiX, IrqKind::Msi, IrqKind::Intx]
    } else {
        [IrqKind::Msi, IrqKind::MsiX, IrqKind::Intx]
    };
    order
        .into_iter()
        .filter_map(|kind| {
            let there = counts[index_of(kind) as usize];
            // Several MSI vectors of one device are a power of two and hardly ever granted: one is asked for.
            let most = if kind == IrqKind::MsiX { wanted } else { 1 };
            (there > 0).then(|| (kind, there.min(most)))
        })
        .collect()
}

/// Interrupts that are on.
#[derive(Debug)]
pub(crate) struct Interrupts {
    pub(crate) kind: IrqKind,
    eventfds: Vec<EventFd>,
}

impl Interrupts {
    /// Starts delivery in the best way that works.
    pub(crate) fn enable(device: &File, wanted: u32) -> Result<Self> {
        let mut counts = [0; 3];
        for kind in [IrqKind::Intx, IrqKind::Msi, IrqKind::MsiX] {
            let index = index_of(kind);
            counts[index as usize] = sys::irq_count(device, index)
                .map_err(|e| DeviceError::os(format!("asking for interrupts by {kind:?}"), e))?;
        }
        let mut refused = None;
        for (kind, vectors) in candidates(wanted, counts) {
            let eventfds = (0..vectors)
                .map(|_| EventFd::new())
                .collect::<io::Result<Vec<_>>>()
                .map_err(|e| DeviceError::os("making an eventfd", e))?;
            let fds: Vec<BorrowedFd<'_>> = eventfds.iter().map(AsFd::as_fd).collect();
            match sys::set_irq_eventfds(device, index_of(kind), &fds) {
                Ok(()) => return Ok(Interrupts { kind, eventfds }),
                Err(error) => {
                    tracing::warn!(?kind, vectors, %error, "interrupts were refused; trying the next way");
                    refused = Some(DeviceError::os(format!("starting {vectors} interrupts by {kind:?}"), error));
                }
            }
        }
        Err(refused.unwrap_or_else(|| {
            DeviceError::Unsupported(
                "the device has no interrupt that VFIO can deliver: no INTx pin, MSI or MSI-X".into(),
            )
        }))
    }

    /// Ends delivery.
    pub(crate) fn disable(self, device: &File) -> Result<()> {
        sys::set_irq_eventfds(device, index_of(self.kind), &[])
            .map_err(|e| DeviceError::os(format!("ending interrupts by {:?}", self.kind), e))
    }

    /// Returns how many vectors there are.
    pub(crate) fn vectors(&self) -> u32 {
        self.eventfds.len() as u32
    }

    /// Vectors that fired since the last call.
    pub(crate) fn take(&self) -> u32 {
        self.eventfds.iter().enumerate().fold(0, |mask, (bit, fd)| mask | u32::from(fd.take()) << bit)
    }

    pub(crate) fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.eventfds.iter().map(|fd| fd.0.as_raw_fd())
    }
}

/// What the kernel tells about the device itself.
#[derive(Debug)]
pub(crate) struct Notices {
    /// PCIe reported an error that was not corrected.
    error: Option<EventFd>,
    /// The kernel wants the device back: it is being removed or unbound.
    request: Option<EventFd>,
}

impl Notices {
    /// Asks for the notices that exist; conventional PCI devices have no error notice.
    pub(crate) fn enable(device: &File) -> Result<Self> {
        let one = |index: u32| -> io::Result<Option<EventFd>> {
            if !sys::irq_count(device, index).is_ok_and(|count| count > 0) {
                return Ok(None);
            }
            let event = EventFd::new()?;
            sys::set_irq_eventfds(device, index, &[event.as_fd()])?;
            Ok(Some(event))
        };
        let failed = |e| DeviceError::os("asking for error and removal notices", e);
        Ok(Notices {
            error: one(vb::VFIO_PCI_ERR_IRQ_INDEX).map_err(failed)?,
            request: one(vb::VFIO_PCI_REQ_IRQ_INDEX).map_err(failed)?,
        })
    }

    /// Takes what happened, in words.
    pub(crate) fn take(&self) -> Option<&'static str> {
        if self.request.as_ref().is_some_and(EventFd::take) {
            return Some("the kernel wants it back: it is being removed or bound to another driver");
        }
        self.error
            .as_ref()
            .is_some_and(EventFd::take)
            .then_some("PCIe reported an error that could not be corrected; the kernel log (`dmesg`) says which")
    }

    pub(crate) fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.error.iter().chain(&self.request).map(|fd| fd.0.as_raw_fd())
    }

    /// Ends the notices, as far as the device still answers.
    pub(crate) fn disable(&self, device: &File) {
        for (fd, index) in [(&self.error, vb::VFIO_PCI_ERR_IRQ_INDEX), (&self.request, vb::VFIO_PCI_REQ_IRQ_INDEX)] {
            if fd.is_some()
                && let Err(error) = sys::set_irq_eventfds(device, index, &[])
            {
                tracing::debug!(index, %error, "a notice could not be turned off");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_vector_comes_by_msi_and_several_by_msix() {
        let e1000e = [1, 1, 5];
        assert_eq!(candidates(1, e1000e), [(IrqKind::Msi, 1), (IrqKind::MsiX, 1), (IrqKind::Intx, 1)]);
        assert_eq!(candidates(3, e1000e), [(IrqKind::MsiX, 3), (IrqKind::Msi, 1), (IrqKind::Intx, 1)]);
        assert_eq!(candidates(99, [1, 1, 64])[0], (IrqKind::MsiX, 32));
        assert_eq!(candidates(0, [1, 0, 0]), [(IrqKind::Intx, 1)]);
        assert!(candidates(1, [0, 0, 0]).is_empty());
    }

    #[test]
    fn each_vector_has_its_own_bit_and_fires_once() {
        let eventfds = (0..3).map(|_| EventFd::new().unwrap()).collect();
        let interrupts = Interrupts { kind: IrqKind::MsiX, eventfds };
        assert_eq!(interrupts.take(), 0);
        interrupts.eventfds[2].signal();
        interrupts.eventfds[2].signal();
        interrupts.eventfds[0].signal();
        assert_eq!(interrupts.take(), 0b101);
        assert_eq!(interrupts.take(), 0);
    }

    #[test]
    fn a_removal_is_reported_before_an_error() {
        let notices = Notices { error: Some(EventFd::new().unwrap()), request: Some(EventFd::new().unwrap()) };
        assert_eq!(notices.take(), None);
        notices.error.as_ref().unwrap().signal();
        notices.request.as_ref().unwrap().signal();
        assert!(notices.take().unwrap().contains("removed"));
        assert!(notices.take().unwrap().contains("error"));
    }
}
