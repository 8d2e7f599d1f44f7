//! Messages for people, formatted into a fixed buffer: logging never allocates.

use core::fmt;

use nook_abi::log_level;

/// How important a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum LogLevel {
    /// Something failed and a person should look.
    Error = log_level::ERROR,
    /// Something odd that the driver coped with.
    Warn = log_level::WARN,
    /// What an operator wants to see once.
    Info = log_level::INFO,
    /// For the driver's author.
    Debug = log_level::DEBUG,
}

/// A message being formatted; what does not fit is cut off between two characters.
pub(crate) struct Line {
    bytes: [u8; log_level::MAX_BYTES as usize],
    len: usize,
}

impl Line {
    pub(crate) fn format(text: fmt::Arguments<'_>) -> Line {
        let mut line = Line { bytes: [0; log_level::MAX_BYTES as usize], len: 0 };
        // The only error is the one that ends formatting when the buffer is full.
        let _ = fmt::write(&mut line, text);
        line
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.len() - self.len;
        let fits = text.floor_char_boundary(room);
        self.bytes[self.len..self.len + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.len += fits;
        if fits == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// Logs at [`LogLevel::Error`]: `error!(nook, "format", arguments)`.
#[macro_export]
macro_rules! error {
    ($nook:expr, $($text:tt)+) => { $nook.log($crate::LogLevel::Error, ::core::format_args!($($text)+)) };
}

/// Logs at [`LogLevel::Warn`]: `warn!(nook, "format", arguments)`.
#[macro_export]
macro_rules! warn {
    ($nook:expr, $($text:tt)+) => { $nook.log($crate::LogLevel::Warn, ::core::format_args!($($text)+)) };
}

/// Logs at [`LogLevel::Info`]: `info!(nook, "format", arguments)`.
#[macro_export]
macro_rules! info {
    ($nook:expr, $($text:tt)+) => { $nook.log($crate::LogLevel::Info, ::core::format_args!($($text)+)) };
}

/// Logs at [`LogLevel::Debug`]: `debug!(nook, "format", arguments)`.
#[macro_export]
macro_rules! debug {
    ($nook:expr, $($text:tt)+) => { $nook.log($crate::LogLevel::Debug, ::core::format_args!($($text)+)) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    #[test]
    fn a_message_that_is_too_long_ends_between_two_characters() {
        let text: String = core::iter::once('x').chain(core::iter::repeat_n('ß', 400)).collect();
        let line = Line::format(format_args!("{text}"));
        assert_eq!(line.as_bytes().len(), 511);
        assert_eq!(core::str::from_utf8(line.as_bytes()).unwrap(), &text[..511]);
    }

    #[test]
    fn pieces_of_a_message_are_joined() {
        assert_eq!(Line::format(format_args!("RCTL {:#x}, {} Mb/s", 2, 1000)).as_bytes(), b"RCTL 0x2, 1000 Mb/s");
    }
}
