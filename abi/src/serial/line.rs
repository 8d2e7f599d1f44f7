//! How a line is set, and what is said of it.

use core::fmt;

/// How bytes look on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LineSettings {
    /// Bits each second, start and stop bits among them. Not 0.
    pub baud: u32,
    /// Of each byte: 5 to 8.
    pub data_bits: u8,
    /// The bit after them.
    pub parity: Parity,
    /// 1 or 2: with 5 data bits, 2 means one and a half.
    pub stop_bits: u8,
}

/// Whether a bit follows the data bits, and which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Parity {
    /// There is none.
    #[default]
    None = 0,
    /// It makes the number of ones odd.
    Odd = 1,
    /// It makes the number of ones even.
    Even = 2,
    /// It is 1.
    Mark = 3,
    /// It is 0.
    Space = 4,
}

impl Parity {
    /// Every one.
    pub const ALL: [Parity; 5] = [Parity::None, Parity::Odd, Parity::Even, Parity::Mark, Parity::Space];

    /// Returns the letter by which it is written: `n`, `o`, `e`, `m`, `s`.
    pub const fn letter(self) -> char {
        match self {
            Parity::None => 'n',
            Parity::Odd => 'o',
            Parity::Even => 'e',
            Parity::Mark => 'm',
            Parity::Space => 's',
        }
    }
}

impl Default for LineSettings {
    /// 9600 baud, 8 data bits, no parity, 1 stop bit: what a terminal of Linux begins with.
    fn default() -> Self {
        LineSettings { baud: 9600, data_bits: 8, parity: Parity::None, stop_bits: 1 }
    }
}

impl LineSettings {
    /// Returns the second word of `set_line`: data bits in bits 0 to 7, parity in 8 to 15, stop bits in 16 to 23.
    pub const fn format(&self) -> u32 {
        self.data_bits as u32 | (self.parity as u32) << 8 | (self.stop_bits as u32) << 16
    }

    /// Returns what the two words of `set_line` say; `None` if that is nothing.
    pub fn from_words(baud: u32, format: u32) -> Option<Self> {
        let [data_bits, parity, stop_bits, rest] = format.to_le_bytes();
        let parity = Parity::ALL.get(usize::from(parity)).copied()?;
        let fits = baud > 0 && (5..=8).contains(&data_bits) && (1..=2).contains(&stop_bits) && rest == 0;
        fits.then_some(LineSettings { baud, data_bits, parity, stop_bits })
    }

    /// Returns how many bits there are on the line for each byte.
    pub const fn bits_per_byte(&self) -> u32 {
        1 + self.data_bits as u32 + !matches!(self.parity, Parity::None) as u32 + self.stop_bits as u32
    }
}

impl fmt::Display for LineSettings {
    /// As in `115200,8n1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LineSettings { baud, data_bits, parity, stop_bits } = *self;
        write!(f, "{baud},{data_bits}{}{stop_bits}", parity.letter())
    }
}

/// Lines towards the other side, and what else `set_control` turns on and off.
pub mod control {
    /// Data terminal ready.
    pub const DTR: u32 = 1 << 0;
    /// Request to send.
    pub const RTS: u32 = 1 << 1;
    /// The line is held at a break.
    pub const BREAK: u32 = 1 << 2;
    /// What is sent is received, inside the device. A driver that cannot do that answers `Unsupported`.
    pub const LOOPBACK: u32 = 1 << 3;
    /// Every bit that may be set.
    pub const ALL: u32 = DTR | RTS | BREAK | LOOPBACK;
}

/// Lines from the other side, as `serial_modem` reports them.
pub mod modem {
    /// Clear to send.
    pub const CTS: u32 = 1 << 0;
    /// Data set ready.
    pub const DSR: u32 = 1 << 1;
    /// It rings.
    pub const RING: u32 = 1 << 2;
    /// Carrier detected.
    pub const CARRIER: u32 = 1 << 3;
    /// Every bit that may be set.
    pub const ALL: u32 = CTS | DSR | RING | CARRIER;
}

/// What `serial_received` says of a byte, above its 8 bits.
pub mod received {
    /// Bytes before it were lost, because nobody took them in time.
    pub const OVERRUN: u32 = 1 << 8;
    /// Its parity is wrong.
    pub const PARITY: u32 = 1 << 9;
    /// It has no stop bit.
    pub const FRAMING: u32 = 1 << 10;
    /// It is no byte but a break: the 8 bits are 0.
    pub const BREAK: u32 = 1 << 11;
    /// Every bit that may be set.
    pub const ALL: u32 = OVERRUN | PARITY | FRAMING | BREAK;
}

/// Bits of the flags of [`Entry::Poll`](crate::Entry::Poll) for a serial driver.
pub mod serial_poll {
    /// There is something to be sent: `serial_next` has it.
    pub const SEND: u32 = 1 << 0;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn settings_survive_being_words() {
        for parity in Parity::ALL {
            let settings = LineSettings { baud: 57_600, data_bits: 7, parity, stop_bits: 2 };
            assert_eq!(LineSettings::from_words(57_600, settings.format()), Some(settings));
        }
        assert_eq!(LineSettings::from_words(9600, 0x1_0008), Some(LineSettings::default()));
    }

    #[test]
    fn words_that_are_no_settings_are_refused() {
        for (baud, format) in [(0, 0x1_0008), (1, 0x1_0004), (1, 0x1_0009), (1, 0x1_0508), (1, 8), (1, 0x3_0008)] {
            assert_eq!(LineSettings::from_words(baud, format), None, "{baud} {format:#x}");
        }
        assert_eq!(LineSettings::from_words(1, 0x0101_0008), None);
    }

    #[test]
    fn settings_are_written_as_usual() {
        assert_eq!(LineSettings::default().to_string(), "9600,8n1");
        let settings = LineSettings { baud: 300, data_bits: 7, parity: Parity::Even, stop_bits: 2 };
        assert_eq!((settings.to_string().as_str(), settings.bits_per_byte()), ("300,7e2", 11));
    }
}
