//! What a misc driver asks of its host.

use nook_abi::Status;

use crate::nook::status;
use crate::{Kernel, Nook, Ticket};

impl<K: Kernel> Nook<K> {
    /// Says what the device can do.
    pub(super) fn attach(&self, operations: &str) -> Result<(), Status> {
        self.page().mailbox().write_bytes(0, operations.as_bytes())?;
        status(self.calls().misc_attach(operations.len() as u32))
    }

    /// Completes an operation with its output, or with why there is none. Output that is longer than the mailbox
    /// ([`MAILBOX_BYTES`](nook_abi::MAILBOX_BYTES)) completes it with [`Status::NoMemory`]. The input is gone
    /// afterwards: it lay there too.
    pub fn complete(&self, ticket: Ticket, outcome: Result<&[u8], Status>) {
        let outcome = outcome.and_then(|output| {
            let written = self.page().mailbox().write_bytes(0, output);
            written.map(|()| output.len() as u32).map_err(|_| Status::NoMemory)
        });
        let (code, len_bytes) = outcome.map_or_else(|status| (status.code(), 0), |len_bytes| (0, len_bytes));
        self.calls().misc_complete(ticket.0, code, len_bytes);
    }
}
