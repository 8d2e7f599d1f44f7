//! A call into the driver, from the host's side: how it begins, what its hostcalls ask, how it ends.
#![expect(unsafe_code, reason = "the context is shared with gates and handlers, by pointer")]

use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nook_abi::{Entry, Fault, HOSTCALLS, TrapKind};
use nook_runtime::Host;

use crate::gate::{Context, enter};
use crate::keys;
use crate::late::Late;
use crate::memory::DomainMemory;
use crate::object::Image;
use crate::thread;

/// Where a call was ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// The instruction.
    pub(crate) at: u64,
    /// What it could not reach, if it could not reach something.
    pub(crate) address: Option<u64>,
}

/// What hostcalls of one instance are served with.
pub(crate) struct HostSide {
    pub(crate) host: Host,
    /// Why the call that runs is to end, or has ended.
    pub(crate) fault: Option<Fault>,
    pub(crate) entry: Entry,
    /// Where the call was when it was ended, by what it did or by the clock.
    pub(crate) found: Option<Found>,
    /// The signal whose handler began on the driver's stack.
    pub(crate) late: Option<Late>,
    pub(crate) memory: Option<DomainMemory>,
    pub(crate) image: Arc<Image>,
}

/// A [`Context`] and its [`HostSide`], to both of which gates and handlers point. No boxes: moving a box says that
/// nobody else has a pointer to what is in it.
pub(crate) struct Shared {
    context: NonNull<Context>,
    side: NonNull<HostSide>,
}

// SAFETY: both move between threads with the instance, which is called on one at a time.
unsafe impl Send for Shared {}

impl Shared {
    pub(crate) fn new(host: Host, image: Arc<Image>) -> Shared {
        let side = HostSide { host, fault: None, entry: Entry::Probe, found: None, late: None, memory: None, image };
        let side = NonNull::from(Box::leak(Box::new(side)));
        let context = Box::leak(Box::new(Context::new(side.as_ptr().cast())));
        context.settle();
        let context = NonNull::from(context);
        Shared { context, side }
    }

    pub(crate) fn side(&self) -> &HostSide {
        // SAFETY: it is there until `self` is consumed, and the driver is not being called.
        unsafe { self.side.as_ref() }
    }

    pub(crate) fn side_mut(&mut self) -> &mut HostSide {
        // SAFETY: it is there until `self` is consumed; `self` is borrowed for writing, and the driver is not being
        // called.
        unsafe { self.side.as_mut() }
    }

    /// Returns the context's address, for the instance's gates.
    pub(crate) fn address(&self) -> u64 {
        self.context.as_ptr().expose_provenance() as u64
    }

    /// Gives back the host; the memory goes.
    pub(crate) fn into_host(self) -> Host {
        let HostSide { host, .. } = *ManuallyDrop::new(self).take();
        host
    }

    /// Turns both into boxes again, and drops the context. Called once.
    fn take(&mut self) -> Box<HostSide> {
        // SAFETY: both came out of boxes in `new`; nothing calls the driver any more.
        let (side, _context) = unsafe { (Box::from_raw(self.side.as_ptr()), Box::from_raw(self.context.as_ptr())) };
        side
    }

    /// Runs a function of the driver: the one at this offset in [`NativeEntries`](nook_abi::NativeEntries).
    ///
    /// # Errors
    /// Why it was ended.
    #[inline]
    pub(crate) fn call(&mut self, entry: Entry, function: usize, instance: u64, args: [u64; 3]) -> Result<u64, Fault> {
        let context = self.context.as_ptr();
        let side = self.side_mut();
        side.entry = entry;
        side.host.begin_remote_call(entry, args);
        let Some(memory) = &side.memory else { return Err(Fault::Trap { entry, kind: TrapKind::Ended }) };
        let slot = match thread::enter(context) {
            Ok(slot) => slot,
            Err(error) => {
                tracing::error!("a driver behind a key cannot be called on this thread: {error}");
                return Err(Fault::Trap { entry, kind: TrapKind::Other });
            }
        };
        let function = memory.address(side.image.entries[function / size_of::<u64>()]);
        let outside = keys::rights();
        let (stack, way_out, inside) = (memory.stack_end(), memory.way_out(), memory.key().rights_inside(outside));
        // SAFETY: the context is whole, and nobody else uses it; the thread was made ready, and its slot is there until
        // it ends.
        let answer = unsafe {
            (*context).driver_stack = stack;
            (*context).way_out = way_out;
            (*context).host_rights = outside;
            (*context).domain_rights = inside;
            (*context).ended.store(0, Ordering::Relaxed);
            (*context).tick_is_due.store(0, Ordering::Relaxed);
            let slot = &*slot;
            slot.begin(&(*context).number);
            let [a, b, c] = args;
            let answer = enter(context, function, instance, a, b, c);
            slot.end(&(*context).number);
            thread::left();
            answer
        };
        let side = self.side_mut();
        match side.host.device_is_taken().or(side.fault) {
            None => Ok(answer),
            Some(fault) => Err(fault),
        }
    }
}

impl HostSide {
    /// Takes where the last call was ended, as text.
    pub(crate) fn take_place(&mut self) -> Option<String> {
        let Found { at, address } = self.found.take()?;
        let inside = self.memory.as_ref().and_then(|memory| memory.in_image(at));
        let symbol = inside.and_then(|at| self.image.symbol(at).map(|(name, behind)| format!("{name}+{behind:#x}")));
        let place = symbol.unwrap_or_else(|| "code outside its object".into());
        let address = address.map(|address| format!(", address {address:#x}")).unwrap_or_default();
        Some(format!("{place} (instruction {at:#x}{address})"))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // An instance that nobody has ended, or one that was not launched.
        drop(self.take());
    }
}

/// Serves a hostcall. An error ends the call, when this returns.
pub(crate) extern "C" fn dispatch(context: *mut Context, index: u32, a: u64, b: u64, c: u64) -> u64 {
    // SAFETY: called by a gate of the instance whose context it is; `call` has no reference to either now.
    let (context, side) = unsafe { (&*context, &mut *(*context).host.cast::<HostSide>()) };
    // The first of the table says that the call has panicked, which an object of this kind says by an instruction.
    let call = (index as usize).checked_sub(1).and_then(|index| HOSTCALLS.get(index));
    let outcome = match call {
        Some(row) => side.host.serve(row.call, [a, b, c]),
        None => Err(Fault::Trap { entry: side.entry, kind: TrapKind::Unreachable }),
    };
    let outcome = outcome.and_then(|answer| match context.tick_is_due.swap(0, Ordering::Relaxed) {
        0 => Ok(answer),
        _ => side.host.remote_tick(thread::cpu_ns(), 0).map(|()| answer),
    });
    outcome.unwrap_or_else(|fault| {
        side.fault.get_or_insert(fault);
        context.ended.store(1, Ordering::Relaxed);
        0
    })
}
