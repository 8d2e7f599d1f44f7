//! Drivers whose received frames come in several buffers, and are none.
//!
//! The driver may hand up frames of 1518 bytes. It gets buffers 0, 1, 2 … first, each with generation 0.

use nook_abi::ClassFault;
use nook_abi::Fault::Class as Of;
use nook_abi::net::NetFault::PacketMalformed;
use nook_abi::net::Queue;

use crate::case::{Case, Class, Expect, fault};

const fn malformed(id: u32, field: &'static str, value: u64, rule: &'static str) -> Expect {
    fault(Of(ClassFault::Net(PacketMalformed { queue: Queue::RxReturn, id, field, value, rule })))
}

/// Returns parts of received frames: the body of `poll` names flags and length of each.
macro_rules! returned {
    ($name:literal, $expect:expr, $($part:literal),+) => {
        Case {
            extra: "(func $part (param $flags i32) (param $len i32) (local $entry i32)
                        (local.set $entry (call $take (i32.const 0)))
                        (i32.store16 offset=6 (local.get $entry) (local.get $flags))
                        (i32.store offset=8 (local.get $entry) (local.get $len))
                        (call $put (i32.const 1) (local.get $entry)))",
            ..Case::of(
                $name,
                Class::SharedData,
                $expect,
                &[
                    (
                        "probe",
                        "(global.set $page (local.get $host_page))
                         (drop (call $net_attach (i64.const 0x563412005452) (i32.const 1500)))
                         (call $net_offloads (i32.const 48)) (i32.const 0)",
                    ),
                    ("poll", concat!($("(call $part ", $part, ")",)+ "(i32.const 0)")),
                ],
            )
        }
    };
}

/// See [`super::all`].
pub const CASES: &[Case] = &[
    returned!(
        "frame_in_parts_that_does_not_end",
        malformed(1, "flags", 0, "a received frame is returned by one call, to its last entry"),
        "(i32.const 1) (i32.const 1000)",
        "(i32.const 0) (i32.const 100)"
    ),
    returned!(
        "frame_in_parts_that_does_not_begin",
        malformed(0, "flags", 2, "no frame was begun"),
        "(i32.const 2) (i32.const 1000)"
    ),
    returned!(
        "frame_in_parts_of_which_there_is_only_the_middle",
        malformed(0, "flags", 0, "no frame was begun"),
        "(i32.const 0) (i32.const 1000)"
    ),
    returned!(
        "frame_in_parts_that_begins_twice",
        malformed(1, "flags", 1, "a frame begins within another"),
        "(i32.const 1) (i32.const 1000)",
        "(i32.const 1) (i32.const 1000)",
        "(i32.const 2) (i32.const 100)"
    ),
    returned!(
        "whole_frame_within_another",
        malformed(1, "flags", 3, "the frame that the entries before it are of has no end"),
        "(i32.const 1) (i32.const 1000)",
        "(i32.const 3) (i32.const 60)",
        "(i32.const 2) (i32.const 100)"
    ),
    returned!(
        "frame_in_parts_that_is_longer_than_was_said",
        malformed(1, "len_bytes", 1519, "the frame is longer than the driver's longest"),
        "(i32.const 1) (i32.const 1000)",
        "(i32.const 2) (i32.const 519)"
    ),
    returned!(
        "frame_in_parts_with_an_empty_one",
        malformed(1, "len_bytes", 0, "a part of a frame is not empty"),
        "(i32.const 1) (i32.const 1000)",
        "(i32.const 0) (i32.const 0)",
        "(i32.const 2) (i32.const 100)"
    ),
    returned!(
        "frame_in_parts_without_a_header",
        malformed(1, "len_bytes", 13, "shorter than an Ethernet header"),
        "(i32.const 1) (i32.const 6)",
        "(i32.const 2) (i32.const 7)"
    ),
    returned!(
        "part_of_a_frame_that_is_longer_than_its_buffer",
        malformed(1, "len_bytes", 2049, "longer than the buffer"),
        "(i32.const 1) (i32.const 100)",
        "(i32.const 2) (i32.const 2049)"
    ),
    returned!(
        "frame_in_parts_whose_end_was_checked",
        malformed(1, "flags", 10, "a frame's first entry says that it was checked"),
        "(i32.const 1) (i32.const 100)",
        "(i32.const 10) (i32.const 100)"
    ),
    returned!(
        "frame_in_parts_and_then_the_same_part_again",
        malformed(2, "flags", 2, "no frame was begun"),
        "(i32.const 1) (i32.const 100)",
        "(i32.const 2) (i32.const 100)",
        "(i32.const 2) (i32.const 100)"
    ),
];
