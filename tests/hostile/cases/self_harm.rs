//! Drivers that harm themselves only: no fault is due, and nobody else notices.

use nook_abi::Fault::QueueCorrupt;
use nook_runtime::{Net, Nook};
use nook_tests::FrameQueues;

use crate::case::{Case, Class, Expect, HARMLESS, fault};

const fn harmless(name: &'static str, class: Class, entries: &'static [(&str, &str)]) -> Case {
    Case { name, class, entries, expect: Expect::Harmless, ..HARMLESS }
}

/// A `poll` that gives everything back as sent.
const SENDS: &str = "(local $entry i32)
    (loop $again
        (local.set $entry (call $take (i32.const 2)))
        (if (local.get $entry) (then (call $put (i32.const 3) (local.get $entry)) (br $again))))
    (i32.const 0)";

fn everything_was_sent(nook: &Nook<Net<FrameQueues>>) -> bool {
    nook.net_counters().tx_done == u64::from(crate::stage::FRAMES) && nook.counters().entries > 250
}

/// Returns whether a driver that always asks to be called again was called more and more slowly.
fn was_throttled(nook: &Nook<Net<FrameQueues>>) -> bool {
    nook.counters().throttled_ns > 0
}

/// See [`super::all`].
pub const CASES: &[Case] = &[
    HARMLESS,
    // Among the garbage is that it has left doorbells.
    Case {
        expect: fault(QueueCorrupt {
            queue: "doorbells",
            value: u32::MAX,
            rule: "more were left than there is room for",
        }),
        ..harmless(
            "host_page_full_of_garbage",
            Class::SharedData,
            &[(
                "open",
                "(memory.fill (global.get $page) (i32.const 255) (i32.const 4096))
                 (call $net_link (i32.const 1) (i32.const 1000) (i32.const 1)) (i32.const 0)",
            )],
        )
    },
    harmless(
        "host_page_full_of_garbage_but_for_doorbells",
        Class::SharedData,
        &[(
            "open",
            "(memory.fill (global.get $page) (i32.const 255) (i32.const 4096)) (call $leave_many (i32.const 0))
             (call $net_link (i32.const 1) (i32.const 1000) (i32.const 1)) (i32.const 0)",
        )],
    ),
    harmless(
        "window_full_of_garbage",
        Class::SharedData,
        &[(
            "poll",
            "(local $window i32) (local.set $window (i32.wrap_i64 (i64.load offset=8 (global.get $page))))
             (memory.fill (local.get $window) (i32.const 255)
                 (i32.sub (i32.shl (memory.size) (i32.const 16)) (local.get $window))) (i32.const 1)",
        )],
    ),
    // A driver that asks for ever gets one call in each round, and the frames are sent all the same.
    Case {
        holds: |nook| everything_was_sent(nook) && was_throttled(nook),
        ..harmless(
            "timer_for_ever",
            Class::Resources,
            &[
                ("irq", "(call $timer_set (i64.const 1)) (i32.const 0)"),
                ("timer", "(call $timer_set (i64.const 1))"),
                ("poll", SENDS),
            ],
        )
    },
    Case {
        holds: |nook| everything_was_sent(nook) && was_throttled(nook),
        ..harmless(
            "work_for_ever",
            Class::Resources,
            &[("irq", "(call $work_schedule) (i32.const 0)"), ("work", "(call $work_schedule)"), ("poll", SENDS)],
        )
    },
    Case { holds: was_throttled, ..harmless("poll_for_ever", Class::Resources, &[("poll", "(i32.const 1)")]) },
    harmless(
        "link_goes_up_and_down_for_ever",
        Class::SystemProtocol,
        &[(
            "poll",
            "(call $net_link (i32.and (global.get $calls) (i32.const 1)) (i32.const 0) (i32.const 0))
                    (drop (call $times (i32.const 0))) (i32.const 1)",
        )],
    ),
    harmless(
        "takes_every_packet_and_keeps_it",
        Class::Resources,
        &[(
            "poll",
            "(loop $again (br_if $again (call $take (i32.const 0)))) (drop (call $take (i32.const 2)))
                    (i32.const 1)",
        )],
    ),
    harmless(
        "allocates_all_dma_memory",
        Class::Resources,
        &[(
            "open",
            "(loop $again (br_if $again (i64.ge_s (call $dma_alloc (i32.const 64) (i32.const 1)) (i64.const 0))))
             (call $net_link (i32.const 1) (i32.const 1000) (i32.const 1)) (i32.const 0)",
        )],
    ),
];
