//! Drivers that take time that is not theirs.

use nook_abi::Fault::{CpuBudget, InterruptStorm, InterruptsMasked, StaleHandle, Trap, WallBudget};
use nook_abi::net::NetFault;
use nook_abi::{ClassFault, Entry, Fault, Hostcall, TrapKind};
use nook_runtime::Budgets;

use crate::case::{BUDGETS, Case, Class, Expect, HARMLESS, Script, Txn, fault};

const fn cpu(entry: Entry, limit_ns: u64) -> Expect {
    fault(CpuBudget { entry, limit_ns })
}

/// What no single call did.
const BETWEEN: Txn = Txn::Stands("it is found out between calls, and every call was right by itself");

const fn stands(it: NetFault) -> Expect {
    fault(Fault::Class(ClassFault::Net(it)))
}

const fn stuck(packets: u32) -> Expect {
    stands(NetFault::TransmitStuck { packets, limit_ns: 40_000_000 })
}

/// Limits with which what stands still is looked for every 2 ms.
const SOON: Budgets = Budgets { stall_ns: 20_000_000, ..BUDGETS };

/// See [`super::all`].
pub const CASES: &[Case] = &[
    Case::of(
        "probe_never_ends",
        Class::Hang,
        cpu(Entry::Probe, 300_000_000),
        &[("probe", "(call $spin) (i32.const 0)")],
    ),
    Case::of("open_never_ends", Class::Hang, cpu(Entry::Open, 300_000_000), &[("open", "(call $spin) (i32.const 0)")]),
    Case::of("poll_never_ends", Class::Hang, cpu(Entry::Poll, 200_000_000), &[("poll", "(call $spin) (i32.const 0)")]),
    Case::of("irq_never_ends", Class::Hang, cpu(Entry::Irq, 100_000_000), &[("irq", "(call $spin) (i32.const 0)")]),
    Case::of(
        "timer_never_ends",
        Class::Hang,
        cpu(Entry::Timer, 200_000_000),
        &[("irq", "(call $timer_set (i64.const 1)) (i32.const 0)"), ("timer", "(call $spin)")],
    ),
    Case::of(
        "work_never_ends",
        Class::Hang,
        cpu(Entry::Work, 300_000_000),
        &[("irq", "(call $work_schedule) (i32.const 0)"), ("work", "(call $spin)")],
    ),
    Case::of("stats_never_end", Class::Hang, cpu(Entry::Stats, 300_000_000), &[("stats", "(call $spin)")]),
    Case::of("stop_never_ends", Class::Hang, cpu(Entry::Stop, 300_000_000), &[("stop", "(call $spin) (i32.const 0)")]),
    Case::of("remove_never_ends", Class::Hang, cpu(Entry::Remove, 300_000_000), &[("remove", "(call $spin)")]),
    Case::of(
        "a_loop_of_hostcalls",
        Class::Hang,
        cpu(Entry::Poll, 200_000_000),
        &[("poll", "(loop $again (drop (call $clock_ns)) (br $again)) (i32.const 0)")],
    ),
    Case::of(
        "waits_for_a_bit_of_the_device_for_ever",
        Class::DeviceFailure,
        cpu(Entry::Open, 300_000_000),
        // STATUS bit 30 is reserved and reads as 0.
        &[(
            "open",
            "(loop $again
                 (br_if $again (i32.eqz (i32.and
                     (call $mmio_read32 (i32.const 0) (i32.const 8)) (i32.const 0x40000000)))))
             (i32.const 0)",
        )],
    ),
    Case {
        budgets: Some(Budgets { process_total_ns: 50_000_000, ..BUDGETS }),
        ..Case::of(
            "sleeps_for_ever",
            Class::Hang,
            fault(WallBudget { entry: Entry::Work, limit_ns: 50_000_000 }),
            &[
                ("irq", "(call $work_schedule) (i32.const 0)"),
                ("work", "(loop $again (call $sleep_ns (i64.const 1000000)) (br $again))"),
            ],
        )
    },
    Case {
        budgets: Some(Budgets { short_wall_ns: 50_000_000, ..BUDGETS }),
        ..Case::of(
            "delays_for_ever_in_irq",
            Class::Hang,
            fault(WallBudget { entry: Entry::Irq, limit_ns: 50_000_000 }),
            &[("irq", "(loop $again (call $delay_ns (i32.const 1000000)) (br $again)) (i32.const 0)")],
        )
    },
    Case {
        budgets: Some(Budgets { transmit_ns: 40_000_000, ..BUDGETS }),
        txn: BETWEEN,
        ..Case::of("never_takes_what_is_to_be_sent", Class::SystemProtocol, stuck(256), &[("poll", "(i32.const 0)")])
    },
    Case {
        budgets: Some(Budgets { transmit_ns: 40_000_000, ..BUDGETS }),
        txn: BETWEEN,
        ..Case::of(
            "keeps_one_frame_and_sends_the_others",
            Class::Resources,
            stuck(1),
            &[(
                "poll",
                "(local $entry i32)
                 (loop $again
                     (local.set $entry (call $take (i32.const 2)))
                     (if (local.get $entry) (then
                         (if (i32.eqz (call $times (i32.const 1))) (then (call $put (i32.const 3) (local.get $entry))))
                         (br $again))))
                 (i32.const 0)",
            )],
        )
    },
    Case {
        budgets: Some(SOON),
        txn: BETWEEN,
        ..Case::of(
            "counts_frames_and_hands_none_up",
            Class::SystemProtocol,
            stands(NetFault::ReceiveStuck { packets: 16, limit_ns: 8_000_000 }),
            &[
                (
                    "stats",
                    "(drop (call $times (i32.const 0)))
                     (call $count (i64.extend_i32_u (i32.mul (global.get $calls) (i32.const 4))) (i64.const 0))",
                ),
                ("poll", "(loop $again (br_if $again (call $take (i32.const 0)))) (i32.const 0)"),
            ],
        )
    },
    Case {
        budgets: Some(SOON),
        txn: BETWEEN,
        ..Case::of(
            "takes_no_more_buffers_to_receive_into",
            Class::SystemProtocol,
            stands(NetFault::BuffersNotTaken { waiting: 256, limit_ns: 8_000_000 }),
            // Four at first, which it gives back in its second call.
            &[(
                "poll",
                "(local $n i32) (local $kept i32) (local $first i32)
                 (local.set $first (call $times (i32.const 1)))
                 (if (i32.gt_u (global.get $calls) (i32.const 2)) (then (return (i32.const 0))))
                 (loop $again
                     (local.set $kept (i32.add (call $mailbox) (i32.shl (local.get $n) (i32.const 4))))
                     (if (local.get $first)
                         (then (memory.copy (local.get $kept) (call $take (i32.const 0)) (i32.const 16)))
                         (else (call $put (i32.const 1) (call $unused (local.get $kept)))))
                     (local.set $n (i32.add (local.get $n) (i32.const 1)))
                     (br_if $again (i32.lt_u (local.get $n) (i32.const 4))))
                 (local.get $first)",
            )],
        )
    },
    Case {
        budgets: Some(SOON),
        txn: BETWEEN,
        ..Case::of(
            "gives_each_frame_back_as_not_sent",
            Class::SystemProtocol,
            stands(NetFault::TransmitFails { limit_ns: 10_000_000 }),
            &[(
                "poll",
                "(local $entry i32)
                 (loop $again (br_if $again (call $take (i32.const 0))))
                 (call $delay_ns (i32.const 100000))
                 (local.set $entry (call $take (i32.const 2)))
                 (if (local.get $entry) (then
                     (i32.store16 offset=12 (local.get $entry) (i32.const 1))
                     (call $put (i32.const 3) (local.get $entry))))
                 (i32.const 1)",
            )],
        )
    },
    Case {
        budgets: Some(SOON),
        txn: BETWEEN,
        ..Case::of(
            "never_turns_its_receiver_on",
            Class::DeviceProtocol,
            stands(NetFault::SwitchedOff { register: "RCTL", field: "EN", bits: 2, limit_ns: 8_000_000 }),
            &[
                (
                    "open",
                    "(call $net_link (i32.const 1) (i32.const 1000) (i32.const 1))
                     (call $mmio_write32 (i32.const 0) (i32.const 0) (i32.const 0x40))
                     (call $mmio_write32 (i32.const 0) (i32.const 0x400) (i32.const 2))
                     (call $dma_on)",
                ),
                ("poll", "(loop $again (br_if $again (call $take (i32.const 0)))) (i32.const 0)"),
            ],
        )
    },
    Case {
        budgets: Some(SOON),
        txn: BETWEEN,
        ..Case::of(
            "reports_no_link_though_its_device_has_one",
            Class::DeviceProtocol,
            stands(NetFault::LinkDisagrees { register: "STATUS", device_up: true, limit_ns: 118_000_000 }),
            &[
                (
                    "open",
                    "(call $net_link (i32.const 0) (i32.const 0) (i32.const 0))
                     (call $mmio_write32 (i32.const 0) (i32.const 0) (i32.const 0x40))
                     (call $dma_on)",
                ),
                ("poll", "(i32.const 0)"),
            ],
        )
    },
    Case {
        script: Script::Storms,
        txn: BETWEEN,
        ..Case::of(
            "interrupt_that_nobody_clears",
            Class::DeviceFailure,
            fault(InterruptStorm { vector: 0, interrupts: 10_000 }),
            &[("irq", "(i32.const 1)")],
        )
    },
    Case {
        script: Script::Storms,
        txn: BETWEEN,
        ..Case::of(
            "interrupt_that_nobody_claims",
            Class::DeviceFailure,
            fault(InterruptStorm { vector: 0, interrupts: 10_000 }),
            &[("irq", "(i32.const 0)")],
        )
    },
    Case {
        script: Script::Storms,
        txn: BETWEEN,
        ..Case::of(
            "interrupt_that_asks_for_a_poll_each_time",
            Class::DeviceFailure,
            fault(InterruptStorm { vector: 0, interrupts: 10_000 }),
            &[("irq", "(i32.const 3)"), ("poll", "(i32.const 0)")],
        )
    },
    Case {
        script: Script::Silent,
        budgets: Some(Budgets { quiet_ns: 5_000_000, ..BUDGETS }),
        txn: BETWEEN,
        ..Case::of(
            "interrupt_left_masked",
            Class::DeviceProtocol,
            fault(InterruptsMasked { polls: 5 }),
            &[("poll", "(call $put (i32.const 1) (call $received (call $take (i32.const 0)))) (i32.const 0)")],
        )
    },
    Case {
        budgets: Some(Budgets { quiet_ns: 5_000_000, ..BUDGETS }),
        txn: BETWEEN,
        ..Case::of(
            "interrupt_disabled_for_ever",
            Class::SystemProtocol,
            fault(InterruptsMasked { polls: 5 }),
            &[
                ("irq", "(call $work_schedule) (i32.const 0)"),
                ("work", "(drop (call $irq_disable (i32.const 0)))"),
                ("poll", "(call $put (i32.const 1) (call $received (call $take (i32.const 0)))) (i32.const 0)"),
            ],
        )
    },
    Case {
        holds: |nook| nook.counters().throttled_ns > 0,
        name: "uses_most_of_every_budget",
        class: Class::Resources,
        entries: &[(
            "poll",
            "(local $end i64)
             (local.set $end (i64.add (call $clock_ns) (i64.const 150000000)))
             (loop $again (br_if $again (i64.lt_u (call $clock_ns) (local.get $end)))) (i32.const 1)",
        )],
        ..HARMLESS
    },
    Case {
        holds: |nook| nook.counters().throttled_ns > 0,
        name: "schedules_a_poll_in_every_poll",
        class: Class::Resources,
        entries: &[("poll", "(call $poll_schedule (i32.const 0)) (i32.const 0)")],
        ..HARMLESS
    },
    Case {
        txn: Txn::Other(
            StaleHandle { call: Hostcall::DmaFree, handle: 0xffff_ffff },
            "what a call frees is free when the call is final, so the window runs out, and the driver does not look",
        ),
        ..Case::of(
            "allocates_and_frees_for_ever",
            Class::Resources,
            cpu(Entry::Work, 300_000_000),
            &[
                ("irq", "(call $work_schedule) (i32.const 0)"),
                (
                    "work",
                    "(loop $again
                         (call $dma_free (i32.wrap_i64 (i64.shr_u
                             (call $dma_alloc (i32.const 4096) (i32.const 4096)) (i64.const 32))))
                         (br $again))",
                ),
            ],
        )
    },
    Case {
        // More than the log needs to be filled on a busy machine.
        budgets: Some(Budgets { atomic_cpu_ns: 1_000_000_000, ..BUDGETS }),
        txn: Txn::Other(
            Trap { entry: Entry::Poll, kind: TrapKind::UndoLogFull },
            "each store is in the log of what the call overwrites, and the log has an end",
        ),
        ..Case::of(
            "stores_for_ever",
            Class::Hang,
            cpu(Entry::Poll, 1_000_000_000),
            &[(
                "poll",
                "(local $at i32)
                 (loop $again
                     (i32.store (i32.add (i32.const 1024) (i32.and (local.get $at) (i32.const 0xfffc))) (local.get $at))
                     (local.set $at (i32.add (local.get $at) (i32.const 4))) (br $again))
                 (i32.const 0)",
            )],
        )
    },
];
