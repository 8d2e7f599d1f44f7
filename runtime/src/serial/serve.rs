//! The hostcalls of the class.

use nook_abi::serial::{modem, received};
use nook_abi::{Entry, Fault, Hostcall};

use super::{Port, SerialPort};
use crate::Host;
use crate::serve::bad;

/// Serves them; see [`Services`](crate::Services).
pub(crate) struct Hostcalls;

/// The most that a chip is believed to hold.
pub(super) const MOST_FIFO_BYTES: u32 = 65_536;

/// Checks that the driver is in this entry.
fn in_entry(host: &Host, entry: Entry, call: Hostcall, rule: &'static str) -> Result<(), Fault> {
    let found = host.call.budget.entry();
    if found == entry { Ok(()) } else { Err(bad(call, "entry", found as u64, rule)) }
}

impl Hostcalls {
    pub(crate) fn serial_attach(host: &mut Host, fifo_bytes: u32, most_baud: u32) -> Result<i32, Fault> {
        let call = Hostcall::SerialAttach;
        in_entry(host, Entry::Probe, call, "the port is attached in `probe`")?;
        if !(1..=MOST_FIFO_BYTES).contains(&fifo_bytes) {
            return Err(bad(call, "fifo_bytes", fifo_bytes.into(), "not 1 to 65536"));
        }
        if most_baud == 0 {
            return Err(bad(call, "most_baud", 0, "a port has a rate"));
        }
        let port = Port::of(host, call)?;
        if port.attached.is_some() {
            return Err(bad(call, "fifo_bytes", fifo_bytes.into(), "the port is attached already"));
        }
        port.attached = Some(SerialPort { fifo_bytes, most_baud });
        Ok(0)
    }

    pub(crate) fn serial_next(host: &mut Host) -> Result<u32, Fault> {
        let call = Hostcall::SerialNext;
        in_entry(host, Entry::Poll, call, "bytes are sent in `poll`")?;
        Ok(Port::of(host, call)?.take_next())
    }

    pub(crate) fn serial_received(host: &mut Host, value: u32) -> Result<(), Fault> {
        let call = Hostcall::SerialReceived;
        in_entry(host, Entry::Poll, call, "bytes are received in `poll`")?;
        if value & !(received::ALL | 0xff) != 0 {
            return Err(bad(call, "value", value.into(), "unknown bits are set"));
        }
        if value & received::BREAK != 0 && value & 0xff != 0 {
            return Err(bad(call, "value", value.into(), "a break is no byte"));
        }
        Port::of(host, call)?.receive(value)
    }

    pub(crate) fn serial_modem(host: &mut Host, lines: u32) -> Result<(), Fault> {
        let call = Hostcall::SerialModem;
        if lines & !modem::ALL != 0 {
            return Err(bad(call, "lines", lines.into(), "unknown bits are set"));
        }
        Port::of(host, call)?.modem = lines;
        Ok(())
    }
}
