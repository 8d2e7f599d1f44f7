//! What the command says to people. Nothing here panics, whatever has become of the terminal.

use std::io::{self, Write};

use anyhow::{Context, Error, Result};

/// Writes a text to standard output. A reader that has gone away has read enough.
///
/// # Errors
/// If it cannot be written, as on a full disk.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(printable(text).as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("cannot write to standard output"),
    }
}

/// Writes to standard error what an error that follows is about, if anybody can read it.
pub fn tell(text: &str) {
    let _ = write!(io::stderr(), "{}", printable(text));
}

/// Writes an error with its causes to standard error, if anybody can read it.
pub fn complain(error: &Error) {
    let _ = writeln!(io::stderr(), "nook-run: {}", printable(&chain(error)));
}

/// Lists each cause once: some errors quote theirs.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Names in a driver's file and the words of other programs could move a terminal's cursor; lines may end.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_was_quoted_is_not_said_twice() {
        let error = Error::msg("disk full").context("cannot write /a: disk full").context("--pcap");
        assert_eq!(chain(&error), "--pcap: cannot write /a: disk full");
        assert_eq!(chain(&Error::msg("disk full").context("--json")), "--json: disk full");
    }

    #[test]
    fn lines_stay_and_what_moves_the_cursor_does_not() {
        assert_eq!(printable("imports `\x1b[2J`\nroot:\r"), "imports `\u{fffd}[2J`\nroot:\u{fffd}");
    }
}
