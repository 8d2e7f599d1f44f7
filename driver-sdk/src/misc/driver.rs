//! [`MiscDriver`]: what a misc driver is.

use core::marker::PhantomData;

use nook_abi::{ProbeReason, Status};

use crate::raw::Span;
use crate::{Irq, Kernel, Nook, Poll};

/// An operation that the host has asked for, until it is completed.
///
/// There is one for each, and [`Nook::complete`] takes it: nothing is completed twice.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket(pub(super) u32);

/// What an operation is given, where it lies: in the mailbox, until the operation is completed or `invoke` returns.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub(super) span: Span,
    pub(super) call: PhantomData<&'a ()>,
}

impl Input<'_> {
    /// Returns how long it is: at most [`MAILBOX_BYTES`](nook_abi::MAILBOX_BYTES).
    pub fn len_bytes(&self) -> u32 {
        self.span.len_bytes()
    }

    /// Copies out the bytes at `offset`; `Invalid` if there are not as many.
    pub fn read(&self, offset: u32, into: &mut [u8]) -> Result<(), Status> {
        self.span.read_bytes(offset, into)
    }

    /// Returns all of it, if it has this length; `Invalid` otherwise.
    pub fn array<const N: usize>(&self) -> Result<[u8; N], Status> {
        let mut bytes = [0; N];
        if self.len_bytes() as usize != N {
            return Err(Status::Invalid);
        }
        self.read(0, &mut bytes).map(|()| bytes)
    }
}

/// A driver whose device does named operations, generic over what answers its hostcalls. The methods are the entries of
/// the contract's table; the table says in which context each runs. They never overlap.
///
/// An operation that takes time is begun in `invoke` and completed when the device interrupts:
///
/// ```
/// # use nook_sdk::{Input, Irq, Kernel, MiscDriver, Nook, ProbeReason, Regs, Status, Ticket};
/// # nook_regs::registers! {
/// #     /// Registers.
/// #     static MAP = "factorial", bar 0, 0x10 bytes;
/// #     NUMBER: u32 at 0x00, Rw, "1";
/// #     CAUSES: u32 at 0x04, Ro, "2", read(ClearsOr);
/// # }
/// struct Factorial<K: Kernel> {
///     nook: Nook<K>,
///     regs: Regs<K>,
///     open: Option<Ticket>,
/// }
///
/// impl<K: Kernel> MiscDriver<K> for Factorial<K> {
///     const OPERATIONS: &'static str = "factorial 05000000 78000000\n";
///
///     fn invoke(&mut self, ticket: Ticket, _: u32, input: Input<'_>) -> Result<(), Status> {
///         if self.open.is_some() {
///             return Err(Status::Busy);
///         }
///         self.regs.write(NUMBER, u32::from_le_bytes(input.array()?));
///         self.open = Some(ticket);
///         Ok(())
///     }
///
///     fn irq(&mut self, _: u32) -> Irq {
///         if self.regs.read(CAUSES) == 0 {
///             return Irq::NotMine;
///         }
///         if let Some(ticket) = self.open.take() {
///             self.nook.complete(ticket, Ok(&self.regs.read(NUMBER).to_le_bytes()));
///         }
///         Irq::Handled
///     }
///
///     // probe, remove, open …
/// #     fn probe(nook: Nook<K>, _: ProbeReason) -> Result<Self, Status> {
/// #         Ok(Factorial { nook, regs: nook.regs(0), open: None })
/// #     }
/// #     fn remove(self) {}
/// #     fn open(&mut self) -> Result<(), Status> { self.nook.irq_enable(0) }
///
///     fn stop(&mut self) -> Result<(), Status> {
///         if let Some(ticket) = self.open.take() {
///             self.nook.complete(ticket, Err(Status::Busy));
///         }
///         self.nook.irq_disable(0)
///     }
/// }
/// ```
pub trait MiscDriver<K: Kernel>: Sized {
    /// What the device can do, an operation a line: `name`, or `name INPUT OUTPUT` with an example in hexadecimal, `-`
    /// for no bytes. The host calls an operation by the number of its line, from 0.
    const OPERATIONS: &'static str;

    /// Finds out what the device is and brings it to a known state. After [`ProbeReason::Restart`] the device may be in
    /// any state, and DMA is off. The operations are attached when this has succeeded.
    fn probe(nook: Nook<K>, reason: ProbeReason) -> Result<Self, Status>;

    /// Removes the driver. The device must be quiet when this returns; DMA memory that the driver holds is freed
    /// as it is dropped.
    fn remove(self);

    /// Operations may come: interrupts, and DMA if the device needs it.
    fn open(&mut self) -> Result<(), Status>;

    /// Stops the driver: no more operations come. What is open is completed, as [`Status::Busy`] if nothing better is
    /// known; DMA and interrupts stop.
    fn stop(&mut self) -> Result<(), Status>;

    /// Begins operation number `operation`. An error refuses it: [`Status::Busy`] if it should be asked for again
    /// later. Otherwise it is accepted, and [`Nook::complete`] tells what came of it, in this call or a later one.
    fn invoke(&mut self, ticket: Ticket, operation: u32, input: Input<'_>) -> Result<(), Status>;

    /// Handles an interrupt on `vector`, perhaps another device's.
    fn irq(&mut self, _vector: u32) -> Irq {
        Irq::NotMine
    }

    /// Does what [`Nook::poll_schedule`] or `irq` asked for. Must not sleep.
    fn poll(&mut self) -> Poll {
        Poll::Idle
    }

    /// Runs when the time asked for by [`Nook::timer_set`] has come. Must not sleep.
    fn timer(&mut self) {}

    /// Does what [`Nook::work_schedule`] asked for. May sleep.
    fn work(&mut self) {}
}
