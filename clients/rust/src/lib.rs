//! Calls the operations of a misc driver that `nook-run DRIVER --serve PATH` serves, over the Unix socket at PATH.
//!
//! It is the protocol (docs/calls.md) and a client that waits, in one file and without dependencies. What serves the
//! calls is the command, which takes the protocol's words from here. It knows no driver and no device.
//!
//! ```no_run
//! # fn main() -> Result<(), nook_client::CallError> {
//! let mut edu = nook_client::Client::connect("/run/edu.sock")?;
//! assert_eq!(edu.call("factorial", &5u32.to_le_bytes())?, 120u32.to_le_bytes());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// The longest line of the protocol, with its end.
pub const MOST_LINE_BYTES: usize = 8192;

/// Why a call has no output, as the protocol's first word says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The call itself is wrong: there is no such operation, or its input is too long or no bytes.
    Invalid,
    /// The driver refused it, or could not do it.
    Refused,
    /// The driver ended after it had accepted the call: whether it was done is not known.
    Lost,
    /// Several drivers ended as they were asked for it.
    GivenUp,
    /// The run ends, or its driver is in quarantine.
    Ended,
}

const REASONS: [(Reason, &str); 5] = [
    (Reason::Invalid, "invalid"),
    (Reason::Refused, "refused"),
    (Reason::Lost, "lost"),
    (Reason::GivenUp, "given-up"),
    (Reason::Ended, "ended"),
];
/// The word before output.
const DONE: &str = "done";

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = REASONS.iter().find(|(reason, _)| reason == self);
        f.write_str(word.map_or("", |(_, word)| word))
    }
}

/// What comes of a call: output, or why there is none, and what to say of it.
pub type Outcome = Result<Vec<u8>, (Reason, String)>;

/// Why a call has no output.
#[derive(Debug)]
pub enum CallError {
    /// Nobody serves calls there.
    NotServed(PathBuf, io::Error),
    /// The connection failed.
    Connection(io::Error),
    /// The connection was closed before the answer came.
    Closed,
    /// What came is no answer.
    NoAnswer(String),
    /// The answer.
    Answered(Reason, String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::NotServed(path, error) => {
                let path = path.display();
                write!(
                    f,
                    "nothing serves calls at {path} ({error}): start `nook-run DRIVER --serve {path}`, and wait for it"
                )
            }
            CallError::Connection(error) => {
                write!(f, "the connection failed: {error}; whether the call was done is not known")
            }
            CallError::Closed => {
                f.write_str("the nook closed the connection before it answered; whether the call was done is not known")
            }
            CallError::NoAnswer(line) => write!(f, "what came is no answer: {line:?}; is that a nook's socket?"),
            CallError::Answered(reason, why) => write!(f, "{reason}: {why}"),
        }
    }
}

impl std::error::Error for CallError {}

/// A connection to a nook. Calls on it are done one after the other.
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the nook that serves calls at `path`.
    ///
    /// # Errors
    /// If nobody serves calls there.
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, CallError> {
        let path = path.as_ref();
        let stream = UnixStream::connect(path).map_err(|error| CallError::NotServed(path.to_owned(), error))?;
        Ok(Client { stream: BufReader::new(stream) })
    }

    /// Does `operation` with this input, and waits for its output.
    ///
    /// # Errors
    /// Why there is none.
    pub fn call(&mut self, operation: &str, input: &[u8]) -> Result<Vec<u8>, CallError> {
        // A line must stay one.
        if operation.is_empty() || operation.contains(|c: char| c.is_whitespace() || c.is_control()) {
            let why = format!("{operation:?} is no name of an operation");
            return Err(CallError::Answered(Reason::Invalid, why));
        }
        let call = format!("{operation} {}\n", hex(input));
        // A nook that refuses what comes closes the connection, and has said why before.
        let sent = self.stream.get_mut().write_all(call.as_bytes());
        let mut line = String::new();
        let read = (&mut self.stream).take(MOST_LINE_BYTES as u64).read_line(&mut line);
        match (read, sent) {
            (Ok(1..), _) => {}
            (Err(error), _) | (_, Err(error)) => return Err(CallError::Connection(error)),
            (Ok(0), Ok(())) => return Err(CallError::Closed),
        }
        let outcome = outcome(&line).ok_or_else(|| CallError::NoAnswer(line.trim_end().chars().take(100).collect()))?;
        outcome.map_err(|(reason, why)| CallError::Answered(reason, why))
    }
}

/// Writes bytes as the protocol has them: two digits each, or `-` for none.
pub fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() { "-".into() } else { bytes.iter().map(|byte| format!("{byte:02x}")).collect() }
}

/// Reads bytes as [`hex`] writes them; `None` if they are none.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if text == "-" {
        return Some(Vec::new());
    }
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    (!pairs.is_empty() && rest.is_empty()).then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// Returns the line that answers a call, with its end.
pub fn line(outcome: &Outcome) -> String {
    match outcome {
        Ok(output) => format!("{DONE} {}\n", hex(output)),
        Err((reason, why)) => format!("{reason} {}\n", why.replace(char::is_control, " ")),
    }
}

/// Reads the line that answers a call; `None` if it is none, or not whole.
fn outcome(line: &str) -> Option<Outcome> {
    let (word, rest) = line.strip_suffix('\n')?.split_once(' ')?;
    if word == DONE {
        return unhex(rest).map(Ok);
    }
    let (reason, _) = REASONS.iter().find(|(_, known)| *known == word)?;
    Some(Err((*reason, rest.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_and_read_as_they_were() {
        for bytes in [&b""[..], b"\0", b"\x05\xff\x10"] {
            assert_eq!(unhex(&hex(bytes)).as_deref(), Some(bytes));
        }
        assert_eq!(unhex("0F"), Some(vec![15]));
        for wrong in ["", "0", "0g", "--", "000", "+1", "é0"] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_answer_is_one_line_and_read_as_it_was() {
        let failed = REASONS.map(|(reason, _)| Err((reason, "it did\tnot".to_owned())));
        for answer in failed.into_iter().chain([Ok(vec![]), Ok(vec![1, 2])]) {
            let line = line(&answer);
            assert_eq!(line.matches('\n').count(), 1);
            let expected = answer.map_err(|(reason, why)| (reason, why.replace('\t', " ")));
            assert_eq!(outcome(&line), Some(expected));
        }
        for wrong in ["", "done\n", "done 0\n", "done 00", "HTTP/1.1 400\n"] {
            assert_eq!(outcome(wrong), None, "{wrong:?}");
        }
    }
}
