//! Drivers that do not keep to whose packets they have.
//!
//! The first buffer that a driver gets has id 0, the first frame to send lies in buffer 512, both with generation 0.

use nook_abi::ClassFault;
use nook_abi::Fault::{Class as Of, QueueCorrupt};
use nook_abi::net::NetFault::{PacketMalformed, PacketNotOwned};
use nook_abi::net::{NetFault, Owner, Queue};

use crate::case::{Case, Class, Expect, fault};

const fn of_net(it: NetFault) -> Expect {
    fault(Of(ClassFault::Net(it)))
}

const fn not_owned(queue: Queue, id: u32, owner: Owner) -> Expect {
    of_net(PacketNotOwned { queue, id, owner })
}

const fn corrupt(queue: Queue, value: u32, rule: &'static str) -> Expect {
    fault(QueueCorrupt { queue: queue.name(), value, rule })
}

const TOO_MANY: &str = "more was put in than the ring holds";
const TOO_FAR: &str = "more was taken out than had been put in";

/// Takes a receive buffer, does to its entry what `$edit` says, and returns it.
macro_rules! edited {
    ($name:literal, $edit:literal, $field:literal, $value:expr, $rule:expr) => {
        Case::of(
            $name,
            Class::SharedData,
            of_net(PacketMalformed { queue: Queue::RxReturn, id: 0, field: $field, value: $value, rule: $rule }),
            &[(
                "poll",
                concat!(
                    "(local $entry i32) (local.set $entry (call $received (call $take (i32.const 0))))",
                    $edit,
                    "(call $put (i32.const 1) (local.get $entry)) (i32.const 0)"
                ),
            )],
        )
    };
}

/// See [`super::all`].
pub const CASES: &[Case] = &[
    Case::of(
        "buffer_returned_twice_in_a_batch",
        Class::SystemProtocol,
        not_owned(Queue::RxReturn, 0, Owner::Host),
        &[(
            "poll",
            "(local $entry i32) (local.set $entry (call $unused (call $take (i32.const 0))))
             (call $put (i32.const 1) (local.get $entry)) (call $put (i32.const 1) (local.get $entry)) (i32.const 0)",
        )],
    ),
    Case::of(
        "frame_delivered_twice_in_a_batch",
        Class::SystemProtocol,
        not_owned(Queue::RxReturn, 0, Owner::Host),
        &[(
            "poll",
            "(local $entry i32) (local.set $entry (call $received (call $take (i32.const 0))))
             (call $put (i32.const 1) (local.get $entry)) (call $put (i32.const 1) (local.get $entry)) (i32.const 0)",
        )],
    ),
    Case {
        extra: "(global $kept (mut i32) (i32.const 0))",
        ..Case::of(
            "buffer_used_after_its_return",
            Class::SystemProtocol,
            of_net(PacketMalformed {
                queue: Queue::RxReturn,
                id: 0,
                field: "generation",
                value: 0,
                rule: "not the one that it was given with",
            }),
            // The first call returns buffer 0, and the host gives it again before the second, which returns what it
            // kept of the first.
            &[(
                "poll",
                "(if (i32.eqz (global.get $kept)) (then
                     (memory.copy (i32.const 1024) (call $received (call $take (i32.const 0))) (i32.const 16))
                     (global.set $kept (i32.const 1024))))
                 (call $put (i32.const 1) (global.get $kept)) (i32.const 1)",
            )],
        )
    },
    Case::of(
        "buffer_that_was_never_given",
        Class::SystemProtocol,
        not_owned(Queue::RxReturn, 511, Owner::Host),
        &[(
            "poll",
            "(i32.store (i32.const 1024) (i32.const 511)) (i32.store16 offset=12 (i32.const 1024) (i32.const 2))
             (call $put (i32.const 1) (i32.const 1024)) (i32.const 0)",
        )],
    ),
    Case::of(
        "receive_buffer_returned_as_sent",
        Class::SystemProtocol,
        not_owned(Queue::TxReturn, 0, Owner::Driver(Queue::RxProvide)),
        &[("poll", "(call $put (i32.const 3) (call $take (i32.const 0))) (i32.const 0)")],
    ),
    Case::of(
        "frame_to_send_returned_as_received",
        Class::SystemProtocol,
        not_owned(Queue::RxReturn, 512, Owner::Driver(Queue::TxProvide)),
        &[(
            "poll",
            "(local $entry i32) (local.set $entry (call $take (i32.const 2)))
             (if (local.get $entry) (then (call $put (i32.const 1) (local.get $entry)))) (i32.const 0)",
        )],
    ),
    Case::of(
        "sent_twice",
        Class::SystemProtocol,
        not_owned(Queue::TxReturn, 512, Owner::Host),
        &[(
            "poll",
            "(local $entry i32) (local.set $entry (call $take (i32.const 2)))
             (if (local.get $entry) (then
                 (call $put (i32.const 3) (local.get $entry)) (call $put (i32.const 3) (local.get $entry))))
             (i32.const 0)",
        )],
    ),
    edited!(
        "packet_of_another_planet",
        "(i32.store (local.get $entry) (i32.const 0))
         (i32.store16 offset=4 (local.get $entry) (i32.const 0xbeef))",
        "generation",
        0xbeef,
        "not the one that it was given with"
    ),
    edited!(
        "status_that_does_not_exist",
        "(i32.store16 offset=12 (local.get $entry) (i32.const 4))",
        "status",
        4,
        "no such status"
    ),
    edited!(
        "flags_that_do_not_exist",
        "(i32.store16 offset=6 (local.get $entry) (i32.const 16))",
        "flags",
        16,
        "unknown bits are set"
    ),
    edited!(
        "frame_called_right_by_a_device_that_checks_none",
        "(i32.store16 offset=6 (local.get $entry) (i32.const 11))",
        "flags",
        11,
        "the driver did not say that its device checks frames"
    ),
    edited!(
        "offloads_without_a_side_array",
        "(i32.store16 offset=6 (local.get $entry) (i32.const 7))",
        "flags",
        7,
        "the ring has no side array"
    ),
    edited!(
        "frame_longer_than_its_buffer",
        "(i32.store offset=8 (local.get $entry) (i32.const 2049))",
        "len_bytes",
        2049,
        "longer than the buffer"
    ),
    edited!(
        "frame_of_four_gigabytes",
        "(i32.store offset=8 (local.get $entry) (i32.const -1))",
        "len_bytes",
        0xffff_ffff,
        "longer than the buffer"
    ),
    edited!(
        "frame_without_a_header",
        "(i32.store offset=8 (local.get $entry) (i32.const 13))",
        "len_bytes",
        13,
        "shorter than an Ethernet header"
    ),
    edited!(
        "frame_without_an_end",
        "(i32.store16 offset=6 (local.get $entry) (i32.const 1))",
        "flags",
        1,
        "a received frame is in one buffer: first and last"
    ),
    edited!(
        "reserved_bytes_are_set",
        "(i32.store16 offset=14 (local.get $entry) (i32.const 1))",
        "reserved",
        1,
        "must be zero"
    ),
    Case::of(
        "packet_id_beyond_the_pool",
        Class::SharedData,
        of_net(PacketMalformed {
            queue: Queue::TxReturn,
            id: 0xffff_ffff,
            field: "id",
            value: 0xffff_ffff,
            rule: "no such packet",
        }),
        &[(
            "poll",
            "(i32.store (i32.const 1024) (i32.const -1)) (call $put (i32.const 3) (i32.const 1024)) (i32.const 0)",
        )],
    ),
    Case::of(
        "return_counter_jumps_ahead",
        Class::SharedData,
        corrupt(Queue::RxReturn, 257, TOO_MANY),
        &[("poll", "(i32.store (call $ring (i32.const 1)) (i32.const 257)) (i32.const 0)")],
    ),
    Case::of(
        "return_counter_goes_backwards",
        Class::SharedData,
        corrupt(Queue::TxReturn, 0xffff_ffff, TOO_MANY),
        &[("poll", "(i32.store (call $ring (i32.const 3)) (i32.const -1)) (i32.const 0)")],
    ),
    Case::of(
        "provide_counter_jumps_ahead",
        Class::SharedData,
        corrupt(Queue::RxProvide, 257, TOO_FAR),
        &[("poll", "(i32.store offset=4 (call $ring (i32.const 0)) (i32.const 257)) (i32.const 1)")],
    ),
    Case::of(
        "provide_counter_goes_backwards",
        Class::SharedData,
        corrupt(Queue::RxProvide, 0xffff_ffff, TOO_FAR),
        &[("poll", "(i32.store offset=4 (call $ring (i32.const 0)) (i32.const -1)) (i32.const 1)")],
    ),
    Case::of(
        "transmit_counter_jumps_ahead",
        Class::SharedData,
        corrupt(Queue::TxProvide, 0x1000, TOO_FAR),
        &[("poll", "(i32.store offset=4 (call $ring (i32.const 2)) (i32.const 0x1000)) (i32.const 1)")],
    ),
    Case::of(
        "rings_full_of_garbage",
        Class::SharedData,
        corrupt(Queue::RxReturn, 0xffff_ffff, TOO_MANY),
        &[(
            "poll",
            "(memory.fill (call $ring (i32.const 0)) (i32.const 255)
                 (i32.sub (i32.add (call $ring (i32.const 3)) (i32.const 4096)) (call $ring (i32.const 0))))
             (i32.const 0)",
        )],
    ),
];
