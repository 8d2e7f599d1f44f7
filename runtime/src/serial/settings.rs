//! How a line is set, and how that reaches the driver.

use nook_abi::serial::{LineSettings, control, modem};
use nook_abi::{Entry, Status};
use nook_serial_api::PortSettings;

use super::{SerialCounters, SerialPort};
use crate::{Driver, Host, NookError, class};

/// What is wanted, and what the driver has set.
#[derive(Debug)]
pub(super) struct Settings {
    wanted: PortSettings,
    /// What the driver has taken last; before it has taken any, what was wanted at first.
    line: LineSettings,
    control: Option<u32>,
    /// The rate, and after how many more bytes that are sent, it is to be as wanted.
    change: Option<u64>,
    /// There is no room for what is received: the other side is to stop.
    is_full: bool,
    attached: Option<SerialPort>,
}

impl Settings {
    pub(super) fn new(wanted: PortSettings) -> Self {
        Settings { wanted, line: wanted.line, control: None, change: None, is_full: false, attached: None }
    }

    /// Returns how the line is set.
    pub(super) fn line(&self) -> LineSettings {
        self.line
    }

    pub(super) fn attached(&mut self, port: SerialPort) {
        self.attached = Some(port);
    }

    /// Takes what is wanted of the lines beside the data.
    pub(super) fn want_lines(&mut self, wanted: PortSettings) {
        self.wanted = PortSettings { line: self.wanted.line, ..wanted };
    }

    /// Takes what is wanted. Says whether bytes are to look different from now on.
    pub(super) fn want(&mut self, wanted: PortSettings) -> bool {
        let changes = wanted.line != self.wanted.line;
        self.wanted = wanted;
        changes
    }

    /// Changes them once this many more bytes have been sent.
    pub(super) fn change_after(&mut self, bytes: u64) {
        self.change = Some(bytes);
    }

    pub(super) fn are_changing(&self) -> bool {
        self.change.is_some()
    }

    /// Notes that bytes were sent.
    pub(super) fn sent(&mut self, bytes: u64) {
        if let Some(left) = &mut self.change {
            *left = left.saturating_sub(bytes);
        }
    }

    /// Returns whether the other side takes bytes, by the lines from it.
    pub(super) fn is_clear(&self, lines: u32) -> bool {
        !self.wanted.flow || lines & modem::CTS != 0
    }

    /// Has the other side stop while there is little room, and go on when there is enough.
    pub(super) fn make_room(&mut self, room: usize, of: usize) {
        self.is_full = if self.is_full { room < of / 2 } else { room < of / 4 };
    }

    /// Returns how long it may take until the driver takes something.
    pub(super) fn limit_ns(&self, host: &Host) -> u64 {
        let bits = u64::from(self.line.bits_per_byte()) * self.attached.map_or(1, |port| port.fifo_bytes.into());
        let drained_ns = bits * 1_000_000_000 / u64::from(self.line.baud.max(1));
        host.call.budget.limits().transmit_ns.saturating_add(2 * drained_ns)
    }

    fn control(&self) -> u32 {
        let holds = self.is_full && self.wanted.flow;
        self.wanted.control & if holds { !control::RTS } else { control::ALL }
    }

    /// Tells a fresh instance everything.
    pub(super) fn tell_all(&mut self, driver: &mut dyn Driver, counters: &mut SerialCounters) -> Result<(), NookError> {
        self.control = None;
        self.tell_line(driver, counters, self.line)?;
        self.tell_control(driver, counters)
    }

    /// Tells the driver what has changed.
    pub(super) fn tell_changes(
        &mut self,
        driver: &mut dyn Driver,
        counters: &mut SerialCounters,
    ) -> Result<(), NookError> {
        if self.change == Some(0) {
            self.tell_line(driver, counters, self.wanted.line)?;
            self.change = None;
        }
        if self.control == Some(self.control()) { Ok(()) } else { self.tell_control(driver, counters) }
    }

    /// Has bytes look like this; what the driver refuses is warned about, and the line stays as it is.
    fn tell_line(
        &mut self,
        driver: &mut dyn Driver,
        counters: &mut SerialCounters,
        line: LineSettings,
    ) -> Result<(), NookError> {
        let told = tell(driver, counters, Entry::SetLine, &line.to_string(), |driver| {
            driver.set_line(line.baud, line.format())
        })?;
        if told {
            self.line = line;
        }
        Ok(())
    }

    fn tell_control(&mut self, driver: &mut dyn Driver, counters: &mut SerialCounters) -> Result<(), NookError> {
        let lines = self.control();
        self.control = Some(lines);
        let what = format!("control lines {lines:#x}");
        tell(driver, counters, Entry::SetControl, &what, |driver| driver.set_control(lines)).map(drop)
    }
}

/// Calls an entry for a setting. Says whether the driver took it.
fn tell(
    driver: &mut dyn Driver,
    counters: &mut SerialCounters,
    entry: Entry,
    what: &str,
    call: impl FnOnce(&mut dyn Driver) -> Result<i32, nook_abi::Fault>,
) -> Result<bool, NookError> {
    match class::call(driver, entry, call) {
        Ok(()) => {
            counters.settings += 1;
            tracing::debug!("the serial line is set to {what}");
            Ok(true)
        }
        Err(NookError::Refused { status: status @ (Status::Unsupported | Status::Invalid), .. }) => {
            counters.settings_refused += 1;
            tracing::warn!("the driver does not set the serial line to {what} ({status}): it stays as it is");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
