//! Drivers that leave the host doorbells that it must not ring.

use e1000_regs::{IMS, RDT, TDBAL};
use nook_abi::Fault::{QueueCorrupt, RegisterForbidden};
use nook_abi::Hostcall;

use crate::case::{Case, Class, Expect, fault};

const fn forbidden(bar: u32, offset: u32, rule: &'static str) -> Expect {
    fault(RegisterForbidden { call: Hostcall::MmioWrite32, bar, offset, rule })
}

const fn too_many(value: u32) -> Expect {
    fault(QueueCorrupt { queue: "doorbells", value, rule: "more were left than there is room for" })
}

const NO_DOORBELL: &str = "only a doorbell can be left to the host to write";

/// The offsets in the texts below, and how many doorbells there is room for.
const _: () = assert!(RDT.offset() == 0x2818 && TDBAL.offset() == 0x3800 && IMS.offset() == 0xd0);
const _: () = assert!(nook_abi::DOORBELLS == 14);

/// See [`super::all`].
pub const CASES: &[Case] = &[
    Case::of(
        "more_doorbells_than_there_are_numbers_for",
        Class::SharedData,
        too_many(u32::MAX),
        &[("poll", "(call $leave_many (i32.const -1)) (i32.const 0)")],
    ),
    Case::of(
        "one_doorbell_more_than_there_is_room_for",
        Class::SharedData,
        too_many(15),
        &[("irq", "(call $leave_many (i32.const 15)) (i32.const 1)")],
    ),
    Case::of(
        "too_many_doorbells_before_a_read",
        Class::SharedData,
        too_many(0x8000_0000),
        &[(
            "poll",
            "(call $leave_many (i32.const 0x80000000)) (drop (call $mmio_read32 (i32.const 0) (i32.const 8)))
             (unreachable)",
        )],
    ),
    Case::of(
        "a_doorbell_where_no_register_is",
        Class::SharedData,
        forbidden(0, 0x7f00, "no register of the map begins there"),
        &[("poll", "(call $leave (i32.const 0) (i32.const 0x7f00) (i32.const 1)) (i32.const 0)")],
    ),
    Case::of(
        "a_doorbell_beyond_the_bar",
        Class::SharedData,
        forbidden(0, 0xff_fffc, "the offset is outside the BAR"),
        &[("poll", "(call $leave (i32.const 0) (i32.const 0xfffffc) (i32.const 1)) (i32.const 0)")],
    ),
    Case::of(
        "a_doorbell_in_another_bar",
        Class::SharedData,
        forbidden(255, 0x2818, "this BAR is not one that the register map describes"),
        &[("poll", "(call $leave (i32.const 255) (i32.const 0x2818) (i32.const 1)) (i32.const 0)")],
    ),
    Case::of(
        "a_register_that_is_no_doorbell_is_left_to_the_host",
        Class::SharedData,
        forbidden(0, 0xd0, NO_DOORBELL),
        &[("poll", "(call $leave (i32.const 0) (i32.const 0xd0) (i32.const 4)) (i32.const 0)")],
    ),
    Case::of(
        "an_address_is_left_to_the_host",
        Class::SharedData,
        forbidden(0, 0x3800, NO_DOORBELL),
        &[
            ("timer", "(call $leave (i32.const 0) (i32.const 0x3800) (i32.const 0))"),
            ("irq", "(call $timer_set (i64.const 1)) (i32.const 1)"),
        ],
    ),
    Case::of(
        "flash_access_is_left_to_the_host",
        Class::SharedData,
        forbidden(0, 0x1c, "the register is not a driver's to touch"),
        &[(
            "poll",
            "(call $leave (i32.const 0) (i32.const 0x2818) (i32.const 0))
             (call $leave (i32.const 0) (i32.const 0x1c) (i32.const 1)) (i32.const 0)",
        )],
    ),
];
