//! The hostcalls of the class.

use nook_abi::misc::{MiscFault, operations};
use nook_abi::{Entry, Fault, Hostcall, MAILBOX_BYTES, Status};

use super::{OperationInfo, Port};
use crate::Host;
use crate::serve::bad;

/// Serves them; see [`Services`](crate::Services).
pub(crate) struct Hostcalls;

/// Copies what is in the mailbox.
fn mailed(host: &Host, call: Hostcall, len_bytes: u32) -> Result<Vec<u8>, Fault> {
    if len_bytes as usize > MAILBOX_BYTES {
        return Err(bad(call, "len_bytes", len_bytes.into(), "longer than the mailbox"));
    }
    Ok(host.mailed(len_bytes as usize))
}

impl Hostcalls {
    pub(crate) fn misc_attach(host: &mut Host, len_bytes: u32) -> Result<i32, Fault> {
        let call = Hostcall::MiscAttach;
        if host.call.budget.entry() != Entry::Probe {
            return Err(bad(call, "len_bytes", len_bytes.into(), "operations are attached in `probe`"));
        }
        let bytes = mailed(host, call, len_bytes)?;
        let refused = |rule| bad(call, "len_bytes", len_bytes.into(), rule);
        let text = std::str::from_utf8(&bytes).map_err(|_| refused("the mailbox holds no UTF-8"))?;
        let operations = operations(text).map_err(|error| refused(error.rule()))?;
        let port = Port::of(host, call)?;
        if port.operations.is_some() {
            return Err(refused("operations are attached already"));
        }
        port.operations = Some(operations.map(OperationInfo::from).collect());
        Ok(0)
    }

    pub(crate) fn misc_complete(host: &mut Host, ticket: u32, status: i32, len_bytes: u32) -> Result<(), Fault> {
        let call = Hostcall::MiscComplete;
        let outcome = match (status, Status::from_code(status)) {
            (0, _) => Ok(mailed(host, call, len_bytes)?),
            (_, Some(_)) if len_bytes != 0 => {
                return Err(bad(call, "len_bytes", len_bytes.into(), "output of an operation that failed"));
            }
            (_, Some(status)) => Err(status),
            (_, None) => return Err(bad(call, "status", status as u32 as u64, "neither 0 nor a status")),
        };
        let port = Port::of(host, call)?;
        if !port.is_open(ticket) {
            return Err(MiscFault::NotOpen { ticket }.into());
        }
        port.complete(ticket, outcome);
        Ok(())
    }
}
