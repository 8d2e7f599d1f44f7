//! The serial class's options.

use std::path::PathBuf;

use nook_abi::serial::{LineSettings, Parity};

/// Parses `115200` or `115200,7e2`.
fn line(text: &str) -> Result<LineSettings, String> {
    const FORM: &str = "it should be like 115200 or 9600,7e2: a rate in baud, then data bits (5 to 8), parity (n, o, e, m \
                        or s) and stop bits (1 or 2)";
    let (baud, format) = text.split_once(',').unwrap_or((text, "8n1"));
    let baud = baud.parse().ok().filter(|&baud: &u32| baud > 0).ok_or(FORM)?;
    let [data_bits, parity, stop_bits] = *format.as_bytes() else { return Err(FORM.into()) };
    let parity = Parity::ALL.into_iter().find(|it| it.letter() == char::from(parity)).ok_or(FORM)?;
    let digit =
        |byte: u8, range: std::ops::RangeInclusive<u8>| Some(byte.wrapping_sub(b'0')).filter(|n| range.contains(n));
    let (data_bits, stop_bits) = digit(data_bits, 5..=8).zip(digit(stop_bits, 1..=2)).ok_or(FORM)?;
    Ok(LineSettings { baud, data_bits, parity, stop_bits })
}

/// Of a run.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Makes the serial line a pseudo-terminal that terminal programs open: this path is a link to it while the run
    /// lasts. See docs/serial.md.
    #[arg(long, value_name = "PATH", conflicts_with = "exercise")]
    pub pty: Option<PathBuf>,

    /// How the serial line is set until a program sets it: a rate in baud, and perhaps data bits, parity and stop bits,
    /// such as 9600,7e2. Data bits and parity stay, for a pseudo-terminal does not say them.
    #[arg(long, value_name = "BAUD[,FORMAT]", default_value = LINE, value_parser = line)]
    pub line: LineSettings,
}

const LINE: &str = "115200,8n1";

impl Args {
    /// Returns the first option of the serial class that was given.
    pub fn given(&self) -> Option<&'static str> {
        let Args { pty, line: set } = self;
        let all = [(pty.is_some(), "--pty"), (line(LINE).as_ref() != Ok(set), "--line")];
        all.into_iter().find_map(|(given, option)| given.then_some(option))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_rate_and_perhaps_a_format() {
        let of = |baud, data_bits, parity, stop_bits| Ok(LineSettings { baud, data_bits, parity, stop_bits });
        assert_eq!(line("300"), of(300, 8, Parity::None, 1));
        assert_eq!(line("115200,7e2"), of(115_200, 7, Parity::Even, 2));
        assert_eq!(line("1,5s1"), of(1, 5, Parity::Space, 1));
        for wrong in ["", "0", "9600,", "9600,8n", "9600,9n1", "9600,8x1", "9600,8n3", "9600,8n1,", "-1", "9600,/n1"] {
            assert!(line(wrong).is_err(), "{wrong}");
        }
    }
}
