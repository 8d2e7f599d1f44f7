//! Drivers of a disk that do not keep to what they have, or to what they said.
//!
//! The first request that a driver gets is the write of block 100, with id 0 and generation 1; 15 more follow.

use nook_abi::Fault::{BadArgument, BadReturn, Class as Of, QueueCorrupt, WrongContext};
use nook_abi::block::{BlockFault, BlockQueue, RequestOwner};
use nook_abi::{ClassFault, Context, Entry, Hostcall};
use nook_runtime::Budgets;

use crate::case::{BUDGETS, Case, Class, Expect, Txn, fault};

const fn of_block(it: BlockFault) -> Expect {
    fault(Of(ClassFault::Block(it)))
}

const fn not_given(id: u32, generation: u16, owner: RequestOwner) -> Expect {
    of_block(BlockFault::NotGiven { id, generation, owner })
}

const fn malformed(field: &'static str, value: u64, rule: &'static str) -> Expect {
    of_block(BlockFault::CompletionMalformed { id: 0, field, value, rule })
}

const fn refused(argument: &'static str, value: u64, rule: &'static str) -> Expect {
    fault(BadArgument { call: Hostcall::BlockAttach, argument, value, rule })
}

const fn changed(field: &'static str, before: u64, now: u64) -> Expect {
    of_block(BlockFault::DiskChanged { field, before, now })
}

/// Says of the disk what `$edit` makes of it.
macro_rules! attaches {
    ($name:literal, $edit:literal, $expect:expr) => {
        Case::of_disk(
            $name,
            Class::Argument,
            $expect,
            &[("probe", concat!("(global.set $page (local.get $host_page))", $edit, "(call $attach)"))],
        )
    };
}

/// Takes the first request, and does this with it, at `$entry`; at the second call too.
macro_rules! with_first {
    ($name:literal, $class:expr, $expect:expr, $body:literal) => {
        Case::of_disk(
            $name,
            $class,
            $expect,
            &[(
                "poll",
                concat!(
                    "(local $entry i32) (local.set $entry (call $next))
                     (if (i32.eqz (local.get $entry)) (then (return (i32.const 0))))",
                    $body,
                    "(i32.const 0)"
                ),
            )],
        )
    };
}

/// CRC-32C of what is written to block 100, and of a block of zeros.
const SUM_OF_BLOCK_100: u32 = 0x91dc_10ad;
const SUM_OF_ZEROS: u32 = 0x30fc_edc0;

const NOTICED_LATER: Txn = Txn::Stands("it is noticed when the call that led to it is over");

/// See [`super::all`].
pub const CASES: &[Case] = &[
    Case::of_disk("disk_that_fails_at_all_but_its_first_blocks", Class::DeviceFailure, Expect::Harmless, &[]),
    with_first!(
        "request_completed_twice_in_a_batch",
        Class::SystemProtocol,
        not_given(0, 1, RequestOwner::Nobody),
        "(call $complete (local.get $entry) (i32.const 1)) (call $complete (local.get $entry) (i32.const 1))"
    ),
    Case::of_disk(
        "request_completed_again_in_a_later_call",
        Class::SystemProtocol,
        not_given(0, 1, RequestOwner::Nobody),
        &[(
            "poll",
            "(local $entry i32)
             (if (i64.ne (global.get $saved) (i64.const 0)) (then
                 (call $say (global.get $saved) (i64.const 0)) (return (i32.const 0))))
             (local.set $entry (call $next))
             (global.set $saved (call $ticket (local.get $entry)))
             (call $complete (local.get $entry) (i32.const 1)) (i32.const 1)",
        )],
    ),
    with_first!(
        "request_completed_that_was_never_given",
        Class::SystemProtocol,
        not_given(99, 1, RequestOwner::Nobody),
        "(call $say (i64.const 0x000100000063) (i64.const 0))"
    ),
    with_first!(
        "request_completed_that_cannot_be",
        Class::Argument,
        not_given(u32::MAX, 1, RequestOwner::Nobody),
        "(call $say (i64.const 0x0001ffffffff) (i64.const 0))"
    ),
    with_first!(
        "request_completed_with_another_generation",
        Class::SystemProtocol,
        not_given(0, 2, RequestOwner::Later),
        "(call $say (i64.add (call $ticket (local.get $entry)) (i64.const 0x100000000)) (i64.const 0))"
    ),
    with_first!(
        "request_completed_that_was_not_taken",
        Class::SystemProtocol,
        not_given(1, 1, RequestOwner::Host),
        "(call $complete (call $slot (i32.const 1)) (i32.const 1))"
    ),
    with_first!(
        "request_forged_in_the_ring",
        Class::SharedData,
        not_given(77, 1, RequestOwner::Nobody),
        "(i32.store (local.get $entry) (i32.const 77)) (call $complete (local.get $entry) (i32.const 1))"
    ),
    with_first!(
        "completion_with_no_such_status",
        Class::Argument,
        malformed("status", 3, "no such status"),
        "(call $complete (local.get $entry) (i32.const 3))"
    ),
    with_first!(
        "completion_with_more_than_there_is_to_say",
        Class::Argument,
        malformed("reserved", 7, "not 0"),
        "(call $say (call $ticket (local.get $entry)) (i64.const 0x700000000))"
    ),
    Case {
        txn: NOTICED_LATER,
        ..with_first!(
            "request_returned_unused_in_service",
            Class::SystemProtocol,
            malformed("status", 2, "unused, and the driver is not stopped"),
            "(call $complete (local.get $entry) (i32.const 2))"
        )
    },
    with_first!(
        "more_completions_than_the_ring_holds",
        Class::SharedData,
        fault(QueueCorrupt {
            queue: BlockQueue::Completions.name(),
            value: 300,
            rule: "more was put in than the ring holds"
        }),
        "(i32.store (call $completions) (i32.const 300))"
    ),
    with_first!(
        "more_requests_taken_than_there_are",
        Class::SharedData,
        fault(QueueCorrupt {
            queue: BlockQueue::Requests.name(),
            value: 17,
            rule: "more was taken out than had been put in"
        }),
        "(i32.store offset=4 (call $requests) (i32.const 17))"
    ),
    Case::of_disk(
        "disk_polled_with_an_answer_that_is_none",
        Class::ControlTransfer,
        fault(BadReturn { entry: Entry::Poll, value: 2, rule: "neither idle nor again" }),
        &[("poll", "(i32.const 2)")],
    ),
    Case {
        txn: NOTICED_LATER,
        ..Case::of_disk(
            "write_acknowledged_and_never_made",
            Class::DeviceProtocol,
            of_block(BlockFault::ReadDiffers { block: 100, written: SUM_OF_BLOCK_100, read: SUM_OF_ZEROS }),
            &[("poll", "(call $all (i32.const 0))")],
        )
    },
    Case {
        txn: NOTICED_LATER,
        ..Case::of_disk(
            "every_request_said_to_have_failed",
            Class::DeviceProtocol,
            of_block(BlockFault::RequestsFail { requests: 16 }),
            &[("poll", "(call $all (i32.const 1))")],
        )
    },
    Case {
        budgets: Some(Budgets { transmit_ns: 40_000_000, ..BUDGETS }),
        txn: NOTICED_LATER,
        ..Case::of_disk(
            "request_kept_for_ever",
            Class::Hang,
            of_block(BlockFault::RequestStuck { requests: 16, limit_ns: 40_000_000 }),
            &[("poll", "(loop $more (br_if $more (call $next))) (i32.const 0)")],
        )
    },
    Case::of_disk(
        "requests_kept_when_it_is_stopped",
        Class::SystemProtocol,
        Expect::Harmless,
        &[("poll", "(loop $more (br_if $more (call $next))) (i32.const 0)"), ("stop", "(i32.const 0)")],
    ),
    Case::of_disk(
        "disk_attached_twice",
        Class::SystemProtocol,
        refused("mailbox", 0, "the disk is attached already"),
        &[("probe", "(global.set $page (local.get $host_page)) (drop (call $attach)) (call $attach)")],
    ),
    Case::of_disk(
        "disk_attached_in_open",
        Class::SystemProtocol,
        refused("mailbox", 0, "the disk is attached in `probe`"),
        &[("open", "(call $attach)")],
    ),
    Case::of_disk(
        "disk_attached_in_poll",
        Class::ControlTransfer,
        fault(WrongContext { call: Hostcall::BlockAttach, context: Context::Atomic }),
        &[("poll", "(call $attach)")],
    ),
    Case::of_disk(
        "disk_of_another_length_than_a_disk_has",
        Class::Argument,
        refused("len_bytes", 72, "not the length of a `Disk`"),
        &[("probe", "(global.set $page (local.get $host_page)) (call $block_attach (i32.const 72))")],
    ),
    attaches!(
        "disk_without_blocks",
        "(i64.store (i32.const 512) (i64.const 0))",
        refused("blocks", 0, "a disk without blocks")
    ),
    attaches!(
        "disk_of_absurdly_many_blocks",
        "(i64.store (i32.const 512) (i64.const -1))",
        refused("blocks", u64::MAX, "more bytes than 63 bits count")
    ),
    attaches!(
        "disk_whose_blocks_are_no_power_of_two",
        "(i32.store (i32.const 520) (i32.const 520))",
        refused("block_bytes", 520, "not a power of two from 512 to 65536")
    ),
    attaches!(
        "disk_whose_blocks_are_too_long",
        "(i32.store (i32.const 520) (i32.const 0x80000000))",
        refused("block_bytes", 0x8000_0000, "not a power of two from 512 to 65536")
    ),
    attaches!(
        "disk_that_moves_no_block",
        "(i32.store (i32.const 524) (i32.const 0))",
        refused("max_blocks", 0, "no block fits into a request")
    ),
    attaches!(
        "disk_with_unknown_abilities",
        "(i32.store (i32.const 532) (i32.or (i32.load (i32.const 532)) (i32.const 0x10000)))",
        refused("flags", 0x1_001e, "unknown bits are set")
    ),
    attaches!(
        "disk_whose_serial_number_is_no_text",
        "(i32.store8 (i32.const 536) (i32.const 27))",
        refused("serial", 12, "not printable ASCII filled up with zeros")
    ),
    attaches!(
        "disk_that_grew_at_a_restart",
        "(i64.store (i32.const 512) (i64.const 2049))",
        changed("blocks", 2048, 2049)
    ),
    attaches!(
        "disk_whose_blocks_changed_at_a_restart",
        "(i32.store (i32.const 520) (i32.const 4096))",
        changed("block_bytes", 512, 4096)
    ),
    attaches!(
        "disk_that_lost_its_cache_at_a_restart",
        "(i32.store (i32.const 532) (i32.const 0x18))",
        changed("flags", 0x1e, 0x18)
    ),
    attaches!(
        "disk_with_another_serial_number_at_a_restart",
        "(i32.store8 (i32.const 536) (i32.const 0x4e))",
        changed("serial", u64::from_be_bytes(*b"nook-mod"), u64::from_be_bytes(*b"Nook-mod"))
    ),
];
