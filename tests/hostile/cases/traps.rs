//! Drivers that the engine ends.

use nook_abi::Entry;
use nook_abi::Fault::Trap;
use nook_abi::TrapKind;

use crate::case::{Case, Class, Expect, Txn, fault};

const fn trap(entry: Entry, kind: TrapKind) -> Expect {
    fault(Trap { entry, kind })
}

/// See [`super::all`].
pub const CASES: &[Case] = &[
    Case::of(
        "panic_in_probe",
        Class::Stray,
        trap(Entry::Probe, TrapKind::Unreachable),
        &[("probe", "unreachable")],
    ),
    Case::of("panic_in_open", Class::Stray, trap(Entry::Open, TrapKind::Unreachable), &[("open", "unreachable")]),
    Case::of("panic_in_poll", Class::Stray, trap(Entry::Poll, TrapKind::Unreachable), &[("poll", "unreachable")]),
    Case::of("panic_in_irq", Class::Stray, trap(Entry::Irq, TrapKind::Unreachable), &[("irq", "unreachable")]),
    Case::of(
        "panic_in_timer",
        Class::Stray,
        trap(Entry::Timer, TrapKind::Unreachable),
        &[("irq", "(call $timer_set (i64.const 1)) (i32.const 0)"), ("timer", "unreachable")],
    ),
    Case::of(
        "panic_in_work",
        Class::Stray,
        trap(Entry::Work, TrapKind::Unreachable),
        &[("irq", "(call $work_schedule) (i32.const 0)"), ("work", "unreachable")],
    ),
    Case::of("panic_in_stats", Class::Stray, trap(Entry::Stats, TrapKind::Unreachable), &[("stats", "unreachable")]),
    Case::of(
        "panic_in_set_mac",
        Class::Stray,
        trap(Entry::SetMac, TrapKind::Unreachable),
        &[("set_mac", "unreachable")],
    ),
    Case::of(
        "panic_in_set_mtu",
        Class::Stray,
        trap(Entry::SetMtu, TrapKind::Unreachable),
        &[("set_mtu", "unreachable")],
    ),
    Case::of(
        "panic_in_set_rx_mode",
        Class::Stray,
        trap(Entry::SetRxMode, TrapKind::Unreachable),
        &[("set_rx_mode", "unreachable")],
    ),
    Case::of(
        "panic_in_set_loopback",
        Class::Stray,
        trap(Entry::SetLoopback, TrapKind::Unreachable),
        &[("set_loopback", "unreachable")],
    ),
    Case::of("panic_in_stop", Class::Stray, trap(Entry::Stop, TrapKind::Unreachable), &[("stop", "unreachable")]),
    Case::of(
        "panic_in_remove",
        Class::Stray,
        trap(Entry::Remove, TrapKind::Unreachable),
        &[("remove", "unreachable")],
    ),
    Case::of(
        "load_beyond_memory",
        Class::Stray,
        trap(Entry::Poll, TrapKind::MemoryOutOfBounds),
        &[("poll", "(i32.load (i32.const -4))")],
    ),
    Case::of(
        "load_across_the_windows_end",
        Class::Stray,
        trap(Entry::Poll, TrapKind::MemoryOutOfBounds),
        &[("poll", "(i32.load (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 2)))")],
    ),
    Case::of(
        "load_with_the_largest_offset",
        Class::Stray,
        trap(Entry::Poll, TrapKind::MemoryOutOfBounds),
        &[("poll", "(i32.load offset=0xffffffff (i32.const -1))")],
    ),
    Case::of(
        "fill_beyond_memory",
        Class::Stray,
        trap(Entry::Poll, TrapKind::MemoryOutOfBounds),
        &[("poll", "(memory.fill (i32.const 131072) (i32.const 255) (i32.const -1)) (i32.const 0)")],
    ),
    Case::of(
        "copy_across_the_windows_end",
        Class::Stray,
        trap(Entry::Poll, TrapKind::MemoryOutOfBounds),
        &[(
            "poll",
            "(memory.copy (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 8)) (i32.const 1024) (i32.const 9))
             (i32.const 0)",
        )],
    ),
    Case::of(
        "misaligned_atomic",
        Class::Stray,
        trap(Entry::Poll, TrapKind::Misaligned),
        &[("poll", "(i32.atomic.load (i32.const 1025))")],
    ),
    Case::of(
        "division_by_zero",
        Class::Stray,
        trap(Entry::Poll, TrapKind::Arithmetic),
        &[("poll", "(i32.div_u (i32.const 1) (local.get $queue))")],
    ),
    Case::of(
        "conversion_that_does_not_fit",
        Class::Stray,
        trap(Entry::Poll, TrapKind::Arithmetic),
        &[("poll", "(i32.trunc_f32_u (f32.const 1e20))")],
    ),
    Case::of(
        "indirect_call_to_nothing",
        Class::ControlTransfer,
        trap(Entry::Poll, TrapKind::IndirectCall),
        &[("poll", "(drop (call_indirect (type $other) (i64.const 0) (i32.const 1))) (i32.const 0)")],
    ),
    Case::of(
        "indirect_call_with_the_wrong_signature",
        Class::ControlTransfer,
        trap(Entry::Poll, TrapKind::IndirectCall),
        &[("poll", "(drop (call_indirect (type $other) (i64.const 0) (i32.const 0))) (i32.const 0)")],
    ),
    Case::of(
        "indirect_call_beyond_the_table",
        Class::ControlTransfer,
        trap(Entry::Poll, TrapKind::IndirectCall),
        &[("poll", "(drop (call_indirect (type $other) (i64.const 0) (i32.const 9))) (i32.const 0)")],
    ),
    Case::of(
        "recursion_in_poll",
        Class::Hang,
        trap(Entry::Poll, TrapKind::StackOverflow),
        &[("poll", "(drop (call $recurse (i64.const 0))) (i32.const 0)")],
    ),
    Case::of(
        "recursion_in_probe",
        Class::Hang,
        trap(Entry::Probe, TrapKind::StackOverflow),
        &[("probe", "(drop (call $recurse (i64.const 0))) (i32.const 0)")],
    ),
    Case {
        txn: Txn::Refused("memory.atomic.wait: nobody can wake a thread that is alone"),
        ..Case::of(
            "waiting_for_another_thread",
            Class::Hang,
            trap(Entry::Poll, TrapKind::Other),
            &[("poll", "(memory.atomic.wait32 (i32.const 1024) (i32.const 0) (i64.const -1))")],
        )
    },
    Case {
        extra: "(func $deep (param i32) (result i32) (return_call $deep (i32.add (local.get 0) (i32.const 1))))",
        ..Case::of(
            "tail_calls_for_ever",
            Class::Hang,
            fault(nook_abi::Fault::CpuBudget { entry: Entry::Poll, limit_ns: 200_000_000 }),
            &[("poll", "(call $deep (i32.const 0))")],
        )
    },
];
