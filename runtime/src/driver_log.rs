//! A driver's messages: bounded in rate, cleaned of what could confuse a terminal, and marked with its name.

use nook_abi::{Fault, is_printable, log_level};
use tracing::Level;

use crate::PerSecond;

/// Messages that a driver may send in one second.
pub(crate) const LIMIT_PER_S: u32 = 1000;

/// Where a driver's messages go, and how many came lately.
pub struct DriverLog {
    driver: String,
    messages: PerSecond,
}

impl DriverLog {
    /// Returns the log of the driver with this name.
    pub fn new(driver: String) -> Self {
        DriverLog { driver, messages: PerSecond::default() }
    }

    /// Begins a new instance, which does not answer for what the last one logged.
    pub(crate) fn begin(&mut self) {
        self.messages = PerSecond::default();
    }

    /// Returns the level with this number.
    pub(crate) fn level(level: u32) -> Option<Level> {
        Some(match level {
            log_level::ERROR => Level::ERROR,
            log_level::WARN => Level::WARN,
            log_level::INFO => Level::INFO,
            log_level::DEBUG => Level::DEBUG,
            _ => return None,
        })
    }

    /// Writes one line, and returns it. Characters that a terminal might obey are replaced.
    ///
    /// # Errors
    /// [`Fault::LogFlood`] if the driver has sent too many in the second of `now_ns`.
    pub fn message(&mut self, level: Level, text: &[u8], now_ns: u64) -> Result<String, Fault> {
        if self.messages.count(now_ns) > LIMIT_PER_S {
            return Err(Fault::LogFlood { limit_per_s: LIMIT_PER_S });
        }
        let driver = self.driver.as_str();
        let text = clean(text);
        match level {
            Level::ERROR => tracing::error!(target: "driver", driver, "{text}"),
            Level::WARN => tracing::warn!(target: "driver", driver, "{text}"),
            Level::INFO => tracing::info!(target: "driver", driver, "{text}"),
            _ => tracing::debug!(target: "driver", driver, "{text}"),
        }
        Ok(text)
    }
}

/// Returns one printable line: other characters would let a driver write over other lines of a terminal, or say
/// something else than it seems to.
fn clean(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().map(|c| if is_printable(c) { c } else { '\u{fffd}' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_move_a_terminals_cursor_or_mislead_a_reader_is_taken_out() {
        assert_eq!(clean(b"link\x1b[2Jup\nroot:"), "link\u{fffd}[2Jup\u{fffd}root:");
        assert_eq!(clean(&[0xff, b'a']), "\u{fffd}a");
        assert_eq!(clean("no \u{202e}link\u{200b}".as_bytes()), "no \u{fffd}link\u{fffd}");
    }

    #[test]
    fn a_flood_is_a_fault_and_the_next_second_begins_again() {
        let mut log = DriverLog::new("test".into());
        for _ in 0..LIMIT_PER_S {
            log.message(Level::DEBUG, b"x", 5).unwrap();
        }
        assert_eq!(log.message(Level::DEBUG, b"x", 6), Err(Fault::LogFlood { limit_per_s: LIMIT_PER_S }));
        log.message(Level::DEBUG, b"x", 1_000_000_000).unwrap();
    }

    #[test]
    fn a_new_instance_is_not_blamed_for_what_the_last_one_said() {
        let mut log = DriverLog::new("test".into());
        while log.message(Level::DEBUG, b"x", 5).is_ok() {}
        log.begin();
        log.message(Level::DEBUG, b"x", 6).unwrap();
    }
}
