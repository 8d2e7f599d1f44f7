//! The host page, and what its addresses name.

use nook_abi::{Addr, HOST_PAGE_MAGIC, HostPage, MAILBOX_BYTES, Status};

use super::Span;

/// The host page, by its address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page(*mut HostPage);

impl Page {
    /// Creates it; `Invalid` if there is no host page.
    ///
    /// # Safety
    /// `addr` is the address of a [`HostPage`] that the host keeps filled in as its documentation says: it names window
    /// and mailbox, in memory that is valid for reads and writes for as long as a copy of the result, or what it made,
    /// is used. The host writes to page and mailbox only between calls into this module, and to the doorbells in
    /// hostcalls; calls are made on one thread, on which the result and all that is made of it stay.
    pub(crate) unsafe fn new(addr: Addr) -> Result<Self, Status> {
        let page = Page(addr as *mut HostPage);
        if page.get().magic == HOST_PAGE_MAGIC { Ok(page) } else { Err(Status::Invalid) }
    }

    /// Copies it.
    #[inline(always)]
    pub(crate) fn get(self) -> HostPage {
        // SAFETY: the page is valid (`new`), and the host writes it only between calls.
        unsafe { self.0.read() }
    }

    /// Returns its clock.
    #[inline(always)]
    pub(crate) fn now_ns(self) -> u64 {
        // SAFETY: the page is valid (`new`), and the host writes it only between calls.
        unsafe { (&raw const (*self.0).now_ns).read() }
    }

    /// Leaves a doorbell with the host. Returns whether there was room.
    #[inline(always)]
    pub(crate) fn leave_doorbell(self, word: u64) -> bool {
        // SAFETY: the page is valid (`new`), the host writes it only between calls and in hostcalls, and says that
        // there is no more room than the array has: so what is below that lies in it.
        unsafe {
            let count = (&raw const (*self.0).doorbell_count).read();
            if count >= (&raw const (*self.0).doorbell_room).read() {
                return false;
            }
            (&raw mut (*self.0).doorbells).cast::<u64>().add(count as usize).write(word);
            (&raw mut (*self.0).doorbell_count).write(count + 1);
        }
        true
    }

    /// Has `change` write to it what the host reads after this call.
    pub(crate) fn change(self, change: impl FnOnce(&mut HostPage)) {
        // SAFETY: the page is valid (`new`); the host neither reads nor writes it before this call into the module has
        // ended, and no other reference to it is ever made.
        change(unsafe { &mut *self.0 });
    }

    /// Returns a range of the window, and where the device sees it; `Invalid` if it is not inside.
    #[inline]
    pub(crate) fn window(self, offset: u32, len_bytes: u32) -> Result<(Span, u64), Status> {
        let page = self.get();
        if u64::from(offset) + u64::from(len_bytes) > page.window_len_bytes {
            return Err(Status::Invalid);
        }
        // SAFETY: the window is where the page says and as long, and is valid (`new`); what is asked for lies in it.
        // The host and this crate make no references to it.
        let span = unsafe { Span::new(page.window_addr as Addr + offset as usize, len_bytes) };
        Ok((span, page.window_iova + u64::from(offset)))
    }

    /// Returns the mailbox. Not while [`with_mail`](Self::with_mail) reads it: what writes there is of a class that
    /// does not use that, or runs in other entries.
    pub(crate) fn mailbox(self) -> Span {
        // SAFETY: the mailbox is where the page says and so long, and is valid (`new`); no reference to it exists
        // meanwhile, as its users keep.
        unsafe { Span::new(self.get().mailbox_addr as Addr, MAILBOX_BYTES as u32) }
    }

    /// Has `read` look at the first `len` bytes of the mailbox; `Invalid` if it is shorter.
    pub(crate) fn with_mail<R>(self, len: usize, read: impl FnOnce(&[u8]) -> R) -> Result<R, Status> {
        if len > MAILBOX_BYTES {
            return Err(Status::Invalid);
        }
        // SAFETY: the mailbox is where the page says and so long, and is valid (`new`). Nobody writes to it before this
        // call into the module has ended, which the reference does not outlive.
        let mail = unsafe { core::slice::from_raw_parts(self.get().mailbox_addr as Addr as *const u8, len) };
        Ok(read(mail))
    }
}
