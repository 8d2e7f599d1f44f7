//! Text that came out of a driver, for people.

use core::fmt::{self, Write};

/// Whether a terminal shows the character as what it is. Control characters move its cursor; others turn the direction
/// of what follows, join it, or are not to be seen at all.
pub fn is_plain(c: char) -> bool {
    // What Rust's own debug output escapes, but for what it only quotes.
    matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1
}

/// Shows a text with everything escaped that [is not plain](is_plain).
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a>(pub &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| if is_plain(c) { f.write_char(c) } else { write!(f, "{}", c.escape_debug()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn what_is_to_be_read_stays_and_what_tricks_the_reader_is_escaped() {
        let plain = "Gerät \"0\" ist 'bereit' \\ 準備完了";
        assert_eq!(Plain(plain).to_string(), plain);
        for trick in ['\x1b', '\n', '\u{7f}', '\u{9b}', '\u{200b}', '\u{200f}', '\u{202e}', '\u{2066}', '\u{feff}'] {
            let shown = Plain(&std::format!("a{trick}b")).to_string();
            assert!(shown.starts_with("a\\") && shown.ends_with('b') && shown.chars().all(is_plain), "{shown}");
        }
    }
}
