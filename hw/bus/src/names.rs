//! What registers, and values of them, are called in logs, traces and reports.

use std::fmt::Write;

use nook_regs::{RegisterInfo, RegisterMap};

/// Returns what a register is called: as the map has it, with its index if it is one of several (`TSD[3]`), or
/// `BAR 0 0x1c` if no register of the map begins there.
pub fn register_name(map: &RegisterMap, bar: u8, offset: u32) -> String {
    match map.find(bar, offset) {
        Some((info, _)) if info.count == 1 => info.name.to_owned(),
        Some((info, index)) => format!("{}[{index}]", info.name),
        None => format!("BAR {bar} {offset:#x}"),
    }
}

/// Returns the fields of a value that are not zero, as `SPEED=0x2 RST`: the name alone of one that has one bit. Empty
/// if there are none.
pub fn field_names(info: &RegisterInfo, value: u64) -> String {
    let mut names = String::new();
    for field in info.fields {
        let part = field.get(value);
        if part == 0 {
            continue;
        }
        let before = if names.is_empty() { "" } else { " " };
        let _ = match field.bits {
            1 => write!(names, "{before}{}", field.name),
            _ => write!(names, "{before}{}={part:#x}", field.name),
        };
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    nook_regs::registers! {
        /// A few.
        static MAP = "sample", bar 0, 0x100 bytes;
        /// With fields.
        CTRL: u32 at 0x00, Rw, "1" {
            /// A number.
            SPEED = 8..=9,
            /// A bit.
            RST = 26,
        }
        /// Several.
        TABLE: [u32; 8; 4] at 0x40, Rw, "2";
    }

    #[test]
    fn registers_are_called_by_their_names() {
        assert_eq!(register_name(&MAP, 0, CTRL.offset()), "CTRL");
        assert_eq!(register_name(&MAP, 0, TABLE.get(5).offset()), "TABLE[5]");
        assert_eq!(register_name(&MAP, 0, 0x4), "BAR 0 0x4");
        assert_eq!(register_name(&MAP, 1, 0), "BAR 1 0x0");
    }

    #[test]
    fn fields_that_are_not_zero_are_named() {
        let info = MAP.named("CTRL").unwrap();
        assert_eq!(field_names(info, 0x0400_0200), "SPEED=0x2 RST");
        assert_eq!(field_names(info, 1), "");
    }
}
