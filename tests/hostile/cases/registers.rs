//! Drivers that touch what of the device is not theirs.

use e1000_regs::{CTRL, EECD, RDBAL, STATUS};
use nook_abi::Fault::{BadArgument, RegisterForbidden};
use nook_abi::Hostcall;

use crate::case::{Case, Class, Expect, fault};

const fn forbidden(call: Hostcall, bar: u32, offset: u32, rule: &'static str) -> Expect {
    fault(RegisterForbidden { call, bar, offset, rule })
}

const fn bad(call: Hostcall, argument: &'static str, value: u64, rule: &'static str) -> Expect {
    fault(BadArgument { call, argument, value, rule })
}

const NOT_YOURS: &str = "the register is not a driver's to touch";
const NO_REGISTER: &str = "no register of the map begins there";
const MISALIGNED: &str = "the offset is not a multiple of the width";

/// The offsets in the texts below.
const _: () = assert!(CTRL.offset() == 0 && STATUS.offset() == 8 && EECD.offset() == 0x10 && RDBAL.offset() == 0x2800);

/// Asks for the EEPROM's pins, selects the chip, and begins a write: 1, 0.
const EEPROM_WRITE: &str = "(call $mmio_write32 (i32.const 0) (i32.const 0x10) (i32.const 0x40))
    (call $mmio_write32 (i32.const 0) (i32.const 0x10) (i32.const 0x46))
    (call $mmio_write32 (i32.const 0) (i32.const 0x10) (i32.const 0x47))
    (call $mmio_write32 (i32.const 0) (i32.const 0x10) (i32.const 0x42))
    (call $mmio_write32 (i32.const 0) (i32.const 0x10) (i32.const 0x43)) (i32.const 0)";

/// See [`super::all`].
pub const CASES: &[Case] = &[
    Case::of(
        "flash_writes_are_turned_on",
        Class::DeviceProtocol,
        bad(Hostcall::MmioWrite32, "value", 0x20, "it would let the flash be written"),
        &[("open", "(call $mmio_write32 (i32.const 0) (i32.const 0x10) (i32.const 0x20)) (i32.const 0)")],
    ),
    Case::of(
        "an_eeprom_write_is_played_on_the_pins",
        Class::DeviceProtocol,
        bad(Hostcall::MmioWrite32, "value", 0x43, "a command to the EEPROM that is not a read"),
        &[("open", EEPROM_WRITE)],
    ),
    Case::of(
        "flash_is_read",
        Class::DeviceProtocol,
        forbidden(Hostcall::MmioRead32, 0, 0x1c, NOT_YOURS),
        &[("open", "(drop (call $mmio_read32 (i32.const 0) (i32.const 0x1c))) (i32.const 0)")],
    ),
    Case::of(
        "a_read_only_register_is_written",
        Class::DeviceProtocol,
        forbidden(Hostcall::MmioWrite32, 0, 8, "the register is read-only"),
        &[("poll", "(call $mmio_write32 (i32.const 0) (i32.const 8) (i32.const 0)) (i32.const 0)")],
    ),
    Case::of(
        "a_write_only_register_is_read",
        Class::DeviceProtocol,
        forbidden(Hostcall::MmioRead32, 0, 0xd8, "the register is write-only"),
        &[("poll", "(call $mmio_read32 (i32.const 0) (i32.const 0xd8)) (drop) (i32.const 0)")],
    ),
    Case::of(
        "an_unknown_register_is_written",
        Class::DeviceProtocol,
        forbidden(Hostcall::MmioWrite32, 0, 0x7f00, NO_REGISTER),
        &[("poll", "(call $mmio_write32 (i32.const 0) (i32.const 0x7f00) (i32.const 1)) (i32.const 0)")],
    ),
    Case::of(
        "another_bar_is_read",
        Class::DeviceProtocol,
        forbidden(Hostcall::MmioRead32, 2, 0, "this BAR is not one that the register map describes"),
        &[("poll", "(call $mmio_read32 (i32.const 2) (i32.const 0))")],
    ),
    Case::of(
        "a_bar_number_beyond_a_byte",
        Class::Argument,
        forbidden(Hostcall::MmioRead32, 256, 8, "this BAR is not one that the register map describes"),
        &[("poll", "(call $mmio_read32 (i32.const 256) (i32.const 8))")],
    ),
    Case::of(
        "a_register_beyond_the_bar",
        Class::Argument,
        forbidden(Hostcall::MmioRead32, 0, 0xffff_fffc, "the offset is outside the BAR"),
        &[("irq", "(call $mmio_read32 (i32.const 0) (i32.const -4))")],
    ),
    Case::of(
        "a_misaligned_register",
        Class::DeviceProtocol,
        forbidden(Hostcall::MmioRead32, 0, 2, MISALIGNED),
        &[("poll", "(call $mmio_read32 (i32.const 0) (i32.const 2))")],
    ),
    Case::of(
        "a_byte_of_a_register_is_read",
        Class::DeviceProtocol,
        forbidden(Hostcall::MmioRead8, 0, 8, "the register has 32 bits, and the access 8"),
        &[("poll", "(call $mmio_read8 (i32.const 0) (i32.const 8))")],
    ),
    Case::of(
        "half_of_a_register_is_read",
        Class::DeviceProtocol,
        forbidden(Hostcall::MmioRead16, 0, 8, "the register has 32 bits, and the access 16"),
        &[("poll", "(call $mmio_read16 (i32.const 0) (i32.const 8))")],
    ),
    Case::of(
        "two_registers_are_read_as_one",
        Class::DeviceProtocol,
        forbidden(Hostcall::MmioRead64, 0, 8, "the register has 32 bits, and the access 64"),
        &[("poll", "(drop (call $mmio_read64 (i32.const 0) (i32.const 8))) (i32.const 0)")],
    ),
    Case::of(
        "a_byte_of_a_register_is_written",
        Class::DeviceProtocol,
        forbidden(Hostcall::MmioWrite8, 0, 1, NO_REGISTER),
        &[("poll", "(call $mmio_write8 (i32.const 0) (i32.const 1) (i32.const 1)) (i32.const 0)")],
    ),
    Case::of(
        "half_of_a_register_is_written",
        Class::DeviceProtocol,
        forbidden(Hostcall::MmioWrite16, 0, 1, MISALIGNED),
        &[("poll", "(call $mmio_write16 (i32.const 0) (i32.const 1) (i32.const 1)) (i32.const 0)")],
    ),
    Case::of(
        "two_registers_are_written_as_one",
        Class::DeviceProtocol,
        forbidden(Hostcall::MmioWrite64, 0, 0x2800, "the register has 32 bits, and the access 64"),
        &[("poll", "(call $mmio_write64 (i32.const 0) (i32.const 0x2800) (i64.const 0)) (i32.const 0)")],
    ),
    Case::of(
        "a_value_wider_than_a_byte",
        Class::Argument,
        bad(Hostcall::MmioWrite8, "value", 0x100, "bits above the register's width are set"),
        &[("poll", "(call $mmio_write8 (i32.const 0) (i32.const 0) (i32.const 0x100)) (i32.const 0)")],
    ),
    Case::of(
        "a_value_wider_than_a_half",
        Class::Argument,
        bad(Hostcall::MmioWrite16, "value", 0xffff_ffff, "bits above the register's width are set"),
        &[("poll", "(call $mmio_write16 (i32.const 0) (i32.const 0) (i32.const -1)) (i32.const 0)")],
    ),
    Case::of(
        "a_ring_outside_the_window",
        Class::DeviceProtocol,
        bad(Hostcall::MmioWrite32, "value", 0xdead_0000, "the device would use an address outside the driver's window"),
        &[("open", "(call $mmio_write32 (i32.const 0) (i32.const 0x2800) (i32.const 0xdead0000)) (i32.const 0)")],
    ),
    Case::of(
        "a_ring_whose_upper_half_lies_elsewhere",
        Class::DeviceProtocol,
        bad(Hostcall::MmioWrite32, "value", 0x7fff_ffff, "the device would use an address outside the driver's window"),
        &[(
            "open",
            "(call $mmio_write32 (i32.const 0) (i32.const 0x2800) (i32.load offset=24 (global.get $page)))
             (call $mmio_write32 (i32.const 0) (i32.const 0x2804) (i32.const 0x7fffffff)) (i32.const 0)",
        )],
    ),
    Case::of(
        "a_ring_at_address_zero",
        Class::DeviceProtocol,
        bad(Hostcall::MmioWrite32, "value", 0, "the device would use an address outside the driver's window"),
        &[("open", "(call $mmio_write32 (i32.const 0) (i32.const 0x3800) (i32.const 0)) (i32.const 0)")],
    ),
    Case::of(
        "configuration_space_beyond_its_end",
        Class::Argument,
        bad(Hostcall::ConfigRead8, "offset", 256, "outside configuration space (256 bytes)"),
        &[("probe", "(call $config_read8 (i32.const 256))")],
    ),
    Case::of(
        "misaligned_half_of_configuration_space",
        Class::Argument,
        bad(Hostcall::ConfigRead16, "offset", 3, "not a multiple of the width"),
        &[("probe", "(call $config_read16 (i32.const 3))")],
    ),
    Case::of(
        "misaligned_word_of_configuration_space",
        Class::Argument,
        bad(Hostcall::ConfigRead32, "offset", 0xffff_ffff, "not a multiple of the width"),
        &[("probe", "(call $config_read32 (i32.const -1))")],
    ),
];
