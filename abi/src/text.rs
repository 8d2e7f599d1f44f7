//! Text for people: what came out of a driver, and bytes.

use core::fmt::{self, Write};

/// Returns whether a terminal shows the character as what it is. Control characters move its cursor; others turn the
/// direction of what follows, join it, or are not to be seen at all.
pub fn is_printable(c: char) -> bool {
    // What Rust's own debug output escapes, but for what it only quotes.
    matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1
}

/// Shows a text with everything escaped that [is not plain](is_printable).
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .chars()
            .try_for_each(|c| if is_printable(c) { f.write_char(c) } else { write!(f, "{}", c.escape_debug()) })
    }
}

/// Shows bytes as two lower-case hexadecimal digits each: a hash, an address.
#[derive(Clone, Copy, Debug)]
pub struct Hex<'a> {
    bytes: &'a [u8],
    between: &'static str,
}

impl<'a> Hex<'a> {
    /// Shows the bytes one after the other: `0a1b`.
    pub const fn of(bytes: &'a [u8]) -> Self {
        Hex { bytes, between: "" }
    }

    /// Shows the bytes with colons between them, as network addresses are written: `0a:1b`.
    pub const fn colons(bytes: &'a [u8]) -> Self {
        Hex { bytes, between: ":" }
    }
}

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.iter().enumerate().try_for_each(|(at, byte)| {
            let between = if at == 0 { "" } else { self.between };
            write!(f, "{between}{byte:02x}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn bytes_are_shown_with_their_leading_zeros() {
        assert_eq!(Hex::of(&[0, 0x0a, 0xff]).to_string(), "000aff");
        assert_eq!(Hex::colons(&[0x52, 0, 0xfe]).to_string(), "52:00:fe");
        assert_eq!(Hex::colons(&[]).to_string(), "");
    }

    #[test]
    fn what_is_to_be_read_stays_and_what_tricks_the_reader_is_escaped() {
        let plain = "Gerät \"0\" ist 'bereit' \\ 準備完了";
        assert_eq!(Printable(plain).to_string(), plain);
        for trick in ['\x1b', '\n', '\u{7f}', '\u{9b}', '\u{200b}', '\u{200f}', '\u{202e}', '\u{2066}', '\u{feff}'] {
            let shown = Printable(&std::format!("a{trick}b")).to_string();
            assert!(shown.starts_with("a\\") && shown.ends_with('b') && shown.chars().all(is_printable), "{shown}");
        }
    }
}
