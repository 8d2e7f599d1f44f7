//! [`registers!`](crate::registers): the declaration.

/// Declares a chip's registers once, for its driver and for what watches the driver.
///
/// ```
/// nook_regs::registers! {
///     /// The registers of a clock.
///     pub static MAP = "clock", bar 0, 0x100 bytes;
///
///     /// What the clock does.
///     CTRL: u32 at 0x00, Rw, "2.1", write(Reset(CTRL::RST)) {
///         /// Starts again from midnight.
///         RST = 31,
///         /// How fast, in ticks a second.
///         RATE = 0..=3,
///     }
///     /// Which alarms rang; reading it clears it.
///     RANG: u32 at 0x04, Ro, "2.2", read(ClearsOr);
///     /// When they ring.
///     ALARM: [u16; 8; 4] at 0x40, Rw, "2.3";
/// }
///
/// assert_eq!(CTRL.offset(), 0);
/// assert_eq!(CTRL::RATE.put(5) | CTRL::RST, 0x8000_0005);
/// assert_eq!(ALARM.get(2).offset(), 0x48);
/// assert_eq!(MAP.find(0, 0x48).map(|(info, index)| (info.name, index)), Some(("ALARM", 2)));
/// ```
///
/// A BAR in I/O space has `ports` and not `bytes`: `bar 0, 8 ports`.
///
/// After the map's name may follow `for` with the [`PciId`](crate::PciId)s of the devices that it describes, and then
/// `classes` with each [`PciClass`](crate::PciClass) of which it describes every device.
///
/// One register is `NAME: type at offset, access, "section of the manual"`, where the type is `u8`, `u16`, `u32` or
/// `u64`, or `[type; count; stride in bytes]` for an array, and the access is an [`Access`](crate::Access). After it
/// may follow, in any order, `read(…)` with a [`ReadEffect`](crate::ReadEffect), `write(…)` with a
/// [`WriteEffect`](crate::WriteEffect), `restore(…)` with a [`Restore`](crate::Restore), `posts_only()`, `ready(…)`
/// with a [`Ready`](crate::Ready), `held_up(…)` with [bits](crate::RegisterInfo::held_up), `needs(…)` with what must be
/// [set](crate::Needs), `link(…)` with what says that there is a [link](crate::LinkBits), `guard(…)` with a
/// [`Guard`](crate::Guard), `transfer(…)` with a [`Transfer`](crate::Transfer), and `fields(OTHER::FIELDS)` for a
/// register that has the same bits as another. It ends with its fields in braces, `NAME = bit` or
/// `NAME = lowest..=highest`, or with a semicolon.
///
/// What comes out: a [`Register`](crate::Register) (or [`RegisterArray`](crate::RegisterArray)) constant `NAME`; a
/// module `NAME` with a mask of the register's type for each single bit and a [`Field`](crate::Field) for each wider
/// one; and the static [`RegisterMap`](crate::RegisterMap). The compiler refuses a map that makes no sense, and says
/// which register breaks which [`Rule`](crate::Rule).
#[macro_export]
macro_rules! registers {
    (
        $(#[$map_doc:meta])*
        $vis:vis static $map:ident = $map_name:literal $(for $devices:expr)?, $(classes $classes:expr,)? bar $bar:literal, $len:literal $bytes:ident;
        $(
            $(#[$doc:meta])*
            $name:ident : $kind:tt at $offset:literal, $access:ident, $section:literal $(, $option:ident $argument:tt)*
            $({
                $( $(#[$field_doc:meta])* $field:ident = $low:literal $(..= $high:literal)? ),* $(,)?
            })?
            $(;)?
        )*
    ) => {
        $(
            $(#[$doc])*
            pub const $name: $crate::registers!(@type $kind) =
                $crate::registers!(@effect ($crate::registers!(@value $kind, $offset)) $($option $argument)*);

            $(
                #[doc = concat!("Bits and fields of `", stringify!($name), "`.")]
                #[allow(non_snake_case)]
                pub mod $name {
                    $( $(#[$field_doc])* pub const $field: $crate::registers!(@field_type $kind $(, $high)?) =
                        $crate::registers!(@field $low $(, $high)?); )*
                    /// All of them, for the map.
                    pub const FIELDS: &[$crate::FieldInfo] = &[
                        $(
                            $crate::FieldInfo {
                                name: stringify!($field),
                                shift: $low,
                                bits: $crate::registers!(@bits $low $(, $high)?),
                            },
                        )*
                    ];
                }
            )?
        )*

        $(#[$map_doc])*
        $vis static $map: $crate::RegisterMap = {
            #[allow(unused_imports)]
            use $crate::{ReadEffect::*, Restore::*, WriteEffect::*};
            $crate::RegisterMap::checked($map_name, &[$crate::registers!(@bar $bytes $bar, $len)], const { &[
                $(
                    $crate::registers!(@with (
                        $crate::registers!(@info $kind, stringify!($name), $offset, $access, $section)
                        .in_bar($bar)
                        $( .fields($crate::registers!(@first $name::FIELDS $(, $field)*)) )?
                    ) $($option $argument)*),
                )*
            ] })
            $( .for_devices($devices) )?
            $( .for_classes($classes) )?
        };
    };

    (@bar bytes $bar:literal, $len:literal) => { $crate::Bar::memory($bar, $len) };
    (@bar ports $bar:literal, $len:literal) => { $crate::Bar::io($bar, $len) };
    (@type [$value:ident; $count:literal; $stride:literal]) => { $crate::RegisterArray<$value> };
    (@type $value:ident) => { $crate::Register<$value> };
    (@value [$value:ident; $count:literal; $stride:literal], $offset:literal) => {
        $crate::RegisterArray::at($offset, $stride, $count)
    };
    (@value $value:ident, $offset:literal) => { $crate::Register::at($offset) };
    (@info [$value:ident; $count:literal; $stride:literal], $name:expr, $offset:literal, $access:ident,
        $section:literal) => {
        $crate::RegisterInfo::declared(
            $name, $offset, <$value as $crate::Value>::WIDTH, $count, $stride, $crate::Access::$access, $section
        )
    };
    (@info $value:ident, $name:expr, $offset:literal, $access:ident, $section:literal) => {
        $crate::RegisterInfo::declared(
            $name, $offset, <$value as $crate::Value>::WIDTH, 1, 0, $crate::Access::$access, $section
        )
    };
    (@first $fields:expr $(, $field:ident)*) => { $fields };
    // A register's constant with the one option that a driver's own code goes by.
    (@effect ($value:expr)) => { $value };
    (@effect ($value:expr) write (Doorbell) $($rest:tt)*) => {
        $value.with_effect($crate::WriteEffect::Doorbell)
    };
    (@effect ($value:expr) $option:ident $argument:tt $($rest:tt)*) => {
        $crate::registers!(@effect ($value) $($rest)*)
    };
    // A register with its options. Bits are as wide as the register, and the table has them all as u64.
    (@with ($info:expr)) => { $info };
    (@with ($info:expr) write (Reset($bits:expr)) $($rest:tt)*) => {
        $crate::registers!(@with ($info.write(Reset($bits as u64))) $($rest)*)
    };
    (@with ($info:expr) held_up ($bits:expr) $($rest:tt)*) => {
        $crate::registers!(@with ($info.held_up($bits as u64)) $($rest)*)
    };
    (@with ($info:expr) needs ($when:ident($bits:expr)) $($rest:tt)*) => {
        $crate::registers!(@with ($info.needs($crate::Needs::$when($bits as u64))) $($rest)*)
    };
    (@with ($info:expr) link ($how:ident($bits:expr)) $($rest:tt)*) => {
        $crate::registers!(@with ($info.link($crate::LinkBits::$how($bits as u64))) $($rest)*)
    };
    (@with ($info:expr) restore (ResetBy($bits:expr)) $($rest:tt)*) => {
        $crate::registers!(@with ($info.restore(ResetBy($bits as u64))) $($rest)*)
    };
    (@with ($info:expr) $option:ident $argument:tt $($rest:tt)*) => {
        $crate::registers!(@with ($info.$option $argument) $($rest)*)
    };
    (@field_type [$value:ident; $count:literal; $stride:literal] $(, $high:literal)?) => {
        $crate::registers!(@field_type $value $(, $high)?)
    };
    (@field_type $value:ident) => { $value };
    (@field_type $value:ident, $high:literal) => { $crate::Field<$value> };
    (@field $low:literal) => { 1 << $low };
    (@field $low:literal, $high:literal) => { $crate::Field::new($low, $high - $low + 1) };
    (@bits $low:literal) => { 1 };
    (@bits $low:literal, $high:literal) => { $high - $low + 1 };
}

#[cfg(test)]
mod tests {
    use crate::{Access, Bar, Field, LinkBits, Needs, PciId, ReadEffect, Restore, Width, WriteEffect};

    registers! {
        /// A chip that has one of everything.
        pub static MAP = "sample" for &[PciId { vendor: 0x1234, device: 0x5678 }], bar 2, 0x100 bytes;

        /// Control.
        CTRL: u32 at 0x00, Rw, "1.1", write(Reset(CTRL::RST)), restore(ResetBy(CTRL::RST)) {
            /// Reset.
            RST = 26,
            /// Speed.
            SPEED = 8..=9,
        }
        /// Status.
        STATUS: u8 at 0x08, Ro, "1.2", posts_only(), read(ClearsOr) {
            /// Link is up.
            LU = 1,
            /// How fast.
            SPEED = 2..=3,
        }
        /// Low halves.
        LOW: [u32; 4; 8] at 0x40, Rw, "1.3";
        /// Has the bits of control.
        CTRL_DUP: u32 at 0x04, Rw, "1.1", fields(CTRL::FIELDS);
        /// High halves, between the low ones.
        HIGH: [u32; 4; 8] at 0x44, Rw, "1.3", write(DmaBase);
        /// As wide as there is.
        WIDE: [u64; 2; 8] at 0xa0, Rw, "1.5", write(Reset(WIDE::TOP)) {
            /// The highest bit.
            TOP = 63,
            /// The others.
            REST = 0..=62,
        }
        /// Rings.
        RING: u32 at 0x80, Rw, "1.6", posts_only(), write(Doorbell);
        /// Must be on.
        ON: u8 at 0x90, Rw, "1.7", needs(Link(ON::RX)), link(Clear(ON::LOST)) {
            /// Has no link.
            LOST = 0,
            /// Receives.
            RX = 1,
        }
        /// Ring, too.
        RINGS: [u32; 2; 4] at 0x84, Wo, "1.6", write(Doorbell);
        /// Never to be touched.
        FLASH: u16 at 0xfe, Forbidden, "1.4";
    }

    #[test]
    fn a_declaration_gives_typed_constants() {
        assert_eq!(CTRL.offset(), 0);
        assert_eq!(CTRL::RST, 1 << 26);
        assert_eq!(CTRL::SPEED, Field::new(8, 2));
        assert_eq!(STATUS.width(), Width::B1);
        assert_eq!((STATUS::LU, STATUS::SPEED), (2u8, Field::<u8>::new(2, 2)));
        assert_eq!((WIDE.get(1).offset(), WIDE::TOP, WIDE::REST.mask()), (0xa8, 1 << 63, u64::MAX >> 1));
        assert_eq!(HIGH.get(3).offset(), 0x5c);
        assert_eq!((LOW.offset(), LOW.stride(), LOW.count()), (0x40, 8, 4));
        assert_eq!(CTRL_DUP.offset(), 4);
        assert_eq!((LAST.width(), ON.width()), (Width::B8, Width::B1));
        assert_eq!(FLASH.width(), Width::B2);
    }

    #[test]
    fn a_constant_says_whether_it_is_a_doorbell() {
        const { assert!(RING.is_doorbell() && RINGS.get(1).is_doorbell() && RINGS.get(9).is_doorbell()) };
        const { assert!(!CTRL.is_doorbell() && !HIGH.get(0).is_doorbell() && !STATUS.is_doorbell()) };
    }

    #[test]
    fn the_map_says_what_the_declaration_said() {
        let (ctrl, _) = MAP.find(2, 0).unwrap();
        assert_eq!((ctrl.name, ctrl.section, ctrl.access), ("CTRL", "1.1", Access::Rw));
        assert_eq!(ctrl.write, WriteEffect::Reset(u64::from(CTRL::RST)));
        assert_eq!((ctrl.restore, MAP.named("LOW").unwrap().restore), (Restore::ResetBy(1 << 26), Restore::Nothing));
        assert_eq!(ctrl.fields[1].name, "SPEED");
        assert_eq!((ctrl.fields[1].shift, ctrl.fields[1].bits), (8, 2));
        assert_eq!(MAP.named("CTRL_DUP").unwrap().fields, ctrl.fields);
        let status = MAP.named("STATUS").unwrap();
        assert!(status.posts_only);
        assert_eq!((status.read, status.width), (ReadEffect::ClearsOr, Width::B1));
        let on = MAP.named("ON").unwrap();
        assert_eq!((on.needs, on.link), (Needs::Link(ON::RX.into()), LinkBits::Clear(ON::LOST.into())));
        assert_eq!((MAP.name(), MAP.bars(), MAP.registers().len()), ("sample", &[BAR2][..], 10));
        assert_eq!((MAP.len_bytes(2), MAP.len_bytes(0)), (Some(0x100), None));
        assert!(MAP.is_for(0x1234, 0x5678, 0) && !MAP.is_for(0x1234, 0x5679, 0) && !MAP.is_for(0x1235, 0x5678, 0));
        assert!(OTHER_BAR.is_for(0, 0, 0), "declared without devices");
    }

    #[test]
    fn parts_are_joined_into_one_map() {
        static ALL: [crate::RegisterInfo; 12] = crate::RegisterMap::joined([&MAP, &OTHER_PART, &OTHER_BAR]);
        const BARS: [Bar; 2] = [BAR2, Bar::memory(3, 8)];
        let map = crate::RegisterMap::checked("whole", &BARS, &ALL);
        assert_eq!(map.find(2, 0xf0).map(|(info, _)| info.name), Some("LAST"));
        assert_eq!(map.find(2, 0).map(|(info, _)| info.name), Some("CTRL"));
        assert_eq!(map.find(3, ELSEWHERE.offset()).map(|(info, _)| info.name), Some("ELSEWHERE"));
        assert!(map.find(0, 0).is_none());
    }

    const BAR2: Bar = Bar::memory(2, 0x100);

    registers! {
        /// What the chip has in another BAR.
        static OTHER_BAR = "sample", bar 3, 8 bytes;
        /// Lies where CTRL lies in its own.
        ELSEWHERE: u32 at 0, Rw, "9.10";
    }

    registers! {
        /// A part of the chip.
        static OTHER_PART = "sample", bar 2, 0x100 bytes;
        /// The last one.
        LAST: u64 at 0xf0, Ro, "9.9", read(Pops);
    }

    #[test]
    fn interleaved_arrays_are_distinguished() {
        assert_eq!(MAP.find(2, 0x58).map(|(info, index)| (info.name, index)), Some(("LOW", 3)));
        assert_eq!(MAP.find(2, 0x5c).map(|(info, index)| (info.name, index)), Some(("HIGH", 3)));
        assert!(MAP.find(2, 0x60).is_none());
        assert!(MAP.find(2, 0x42).is_none());
    }
}
