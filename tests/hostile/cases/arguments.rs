//! Drivers that call the host with what it does not take, or answer it with what they cannot mean.

use nook_abi::Fault::{BadArgument, BadReturn, LogFlood, OutOfBounds, StaleHandle, WrongContext};
use nook_abi::{Context, Entry, Hostcall};

use crate::case::{Case, Class, Expect, fault};

const fn bad(call: Hostcall, argument: &'static str, value: u64, rule: &'static str) -> Expect {
    fault(BadArgument { call, argument, value, rule })
}

const fn wrong(call: Hostcall, context: Context) -> Expect {
    fault(WrongContext { call, context })
}

/// See [`super::all`].
pub const CASES: &[Case] = &[
    Case::of(
        "log_from_beyond_memory",
        Class::Argument,
        fault(OutOfBounds { call: Hostcall::Log, argument: "text", addr: 0xffff_fff0, len_bytes: 64 }),
        &[("poll", "(call $log (i32.const 3) (i32.const 0xfffffff0) (i32.const 64)) (i32.const 0)")],
    ),
    Case::of(
        "log_at_no_level",
        Class::Argument,
        bad(Hostcall::Log, "level", 0, "not 1 (error) to 4 (debug)"),
        &[("poll", "(call $log (i32.const 0) (i32.const 1024) (i32.const 1)) (i32.const 0)")],
    ),
    Case::of(
        "log_of_a_novel",
        Class::Argument,
        bad(Hostcall::Log, "len_bytes", 513, "longer than 512"),
        &[("poll", "(call $log (i32.const 3) (i32.const 1024) (i32.const 513)) (i32.const 0)")],
    ),
    Case::of(
        "log_flood",
        Class::Resources,
        fault(LogFlood { limit_per_s: 1000 }),
        &[
            ("work", "(loop $again (call $log (i32.const 4) (i32.const 1024) (i32.const 1)) (br $again))"),
            ("open", "(call $work_schedule) (i32.const 0)"),
        ],
    ),
    Case::of(
        "filter_asked_for_a_third_direction",
        Class::Argument,
        bad(Hostcall::NetFilter, "direction", 2, "not 0 or 1"),
        &[("poll", "(drop (call $net_filter (i32.const 2) (i32.const 0) (i32.const 60))) (i32.const 0)")],
    ),
    Case::of(
        "filter_asked_about_what_is_not_in_the_window",
        Class::Argument,
        fault(OutOfBounds { call: Hostcall::NetFilter, argument: "offset", addr: 0xffff_ffff, len_bytes: 60 }),
        &[("poll", "(drop (call $net_filter (i32.const 0) (i32.const -1) (i32.const 60))) (i32.const 0)")],
    ),
    Case::of(
        "dma_alloc_of_nothing",
        Class::Argument,
        bad(Hostcall::DmaAlloc, "len_bytes", 0, "an empty region"),
        &[("open", "(drop (call $dma_alloc (i32.const 0) (i32.const 16))) (i32.const 0)")],
    ),
    Case::of(
        "dma_alloc_with_odd_alignment",
        Class::Argument,
        bad(Hostcall::DmaAlloc, "align_bytes", 24, "not a power of two up to 4096"),
        &[("open", "(drop (call $dma_alloc (i32.const 64) (i32.const 24))) (i32.const 0)")],
    ),
    Case::of(
        "dma_alloc_with_huge_alignment",
        Class::Argument,
        bad(Hostcall::DmaAlloc, "align_bytes", 8192, "not a power of two up to 4096"),
        &[("open", "(drop (call $dma_alloc (i32.const 64) (i32.const 8192))) (i32.const 0)")],
    ),
    Case::of(
        "dma_free_twice",
        Class::SystemProtocol,
        fault(StaleHandle { call: Hostcall::DmaFree, handle: 0 }),
        &[(
            "open",
            "(local $region i32)
             (local.set $region (i32.wrap_i64 (i64.shr_u
                 (call $dma_alloc (i32.const 64) (i32.const 16)) (i64.const 32))))
             (call $dma_free (local.get $region)) (call $dma_free (local.get $region)) (i32.const 0)",
        )],
    ),
    Case::of(
        "dma_free_of_what_another_has_now",
        Class::SystemProtocol,
        fault(StaleHandle { call: Hostcall::DmaFree, handle: 0 }),
        &[(
            "open",
            "(drop (call $dma_alloc (i32.const 64) (i32.const 16))) (call $dma_free (i32.const 0))
             (drop (call $dma_alloc (i32.const 64) (i32.const 16))) (call $dma_free (i32.const 0)) (i32.const 0)",
        )],
    ),
    Case::of(
        "dma_free_of_a_forged_handle",
        Class::Argument,
        fault(StaleHandle { call: Hostcall::DmaFree, handle: 0x8000_0000 }),
        &[(
            "open",
            "(drop (call $dma_alloc (i32.const 64) (i32.const 16))) (call $dma_free (i32.const 0x80000000))
             (i32.const 0)",
        )],
    ),
    Case::of(
        "irq_enable_of_no_vector",
        Class::Argument,
        bad(Hostcall::IrqEnable, "vector", 2, "not below the manifest's irq_vectors"),
        &[("open", "(call $irq_enable (i32.const 2))")],
    ),
    Case::of(
        "irq_disable_of_no_vector",
        Class::Argument,
        bad(Hostcall::IrqDisable, "vector", 32, "not below the manifest's irq_vectors"),
        &[("open", "(call $irq_disable (i32.const 32))")],
    ),
    Case::of(
        "delay_of_seconds",
        Class::Argument,
        bad(Hostcall::DelayNs, "ns", 0xffff_ffff, "longer than 10 ms: sleep instead"),
        &[("poll", "(call $delay_ns (i32.const -1)) (i32.const 0)")],
    ),
    Case::of(
        "sleep_of_years",
        Class::Argument,
        bad(Hostcall::SleepNs, "ns", u64::MAX, "longer than 1 s"),
        &[("open", "(call $sleep_ns (i64.const -1)) (i32.const 0)")],
    ),
    Case::of(
        "net_attach_with_a_long_address",
        Class::Argument,
        bad(Hostcall::NetAttach, "mac", 1 << 48, "bits above 47 are set"),
        &[("probe", "(call $net_attach (i64.const 0x1000000000000) (i32.const 1500))")],
    ),
    Case::of(
        "net_attach_with_a_tiny_mtu",
        Class::Argument,
        bad(Hostcall::NetAttach, "max_mtu", 67, "not between 68 and 65535"),
        &[("probe", "(call $net_attach (i64.const 2) (i32.const 67))")],
    ),
    Case::of(
        "net_attach_twice",
        Class::SystemProtocol,
        bad(Hostcall::NetAttach, "mac", 2, "the interface is attached already"),
        &[(
            "probe",
            "(drop (call $net_attach (i64.const 2) (i32.const 1500)))
             (call $net_attach (i64.const 2) (i32.const 1500))",
        )],
    ),
    Case::of(
        "net_attach_too_late",
        Class::SystemProtocol,
        bad(Hostcall::NetAttach, "mac", 2, "the interface is attached in `probe`"),
        &[("open", "(call $net_attach (i64.const 2) (i32.const 1500))")],
    ),
    Case::of(
        "net_offloads_that_do_not_exist",
        Class::Argument,
        bad(Hostcall::NetOffloads, "offloads", 64, "unknown bits are set"),
        &[(
            "probe",
            "(drop (call $net_attach (i64.const 2) (i32.const 1500))) (call $net_offloads (i32.const 64)) (i32.const 0)",
        )],
    ),
    Case::of(
        "net_offloads_that_segment_and_sum_nothing_up",
        Class::Argument,
        bad(
            Hostcall::NetOffloads,
            "offloads",
            10,
            "who segments completes checksums, and takes frames in several buffers",
        ),
        &[(
            "probe",
            "(drop (call $net_attach (i64.const 2) (i32.const 1500))) (call $net_offloads (i32.const 10)) (i32.const 0)",
        )],
    ),
    Case::of(
        "net_offloads_that_segment_into_one_buffer",
        Class::Argument,
        bad(
            Hostcall::NetOffloads,
            "offloads",
            5,
            "who segments completes checksums, and takes frames in several buffers",
        ),
        &[(
            "probe",
            "(drop (call $net_attach (i64.const 2) (i32.const 1500))) (call $net_offloads (i32.const 5)) (i32.const 0)",
        )],
    ),
    Case::of(
        "net_offloads_of_no_interface",
        Class::SystemProtocol,
        bad(Hostcall::NetOffloads, "offloads", 1, "no interface is attached"),
        &[("probe", "(call $net_offloads (i32.const 1)) (i32.const 0)")],
    ),
    Case::of(
        "net_offloads_twice",
        Class::SystemProtocol,
        bad(Hostcall::NetOffloads, "offloads", 1, "they were said already"),
        &[(
            "probe",
            "(drop (call $net_attach (i64.const 2) (i32.const 1500)))
             (call $net_offloads (i32.const 1)) (call $net_offloads (i32.const 1)) (i32.const 0)",
        )],
    ),
    Case::of(
        "net_offloads_too_late",
        Class::SystemProtocol,
        bad(Hostcall::NetOffloads, "offloads", 1, "offloads are said in `probe`"),
        &[("open", "(call $net_offloads (i32.const 1)) (i32.const 0)")],
    ),
    Case::of(
        "net_link_that_is_half_up",
        Class::Argument,
        bad(Hostcall::NetLink, "up", 2, "not 0 or 1"),
        &[("poll", "(call $net_link (i32.const 2) (i32.const 1000) (i32.const 1)) (i32.const 0)")],
    ),
    Case::of(
        "net_link_with_odd_duplex",
        Class::Argument,
        bad(Hostcall::NetLink, "full_duplex", 0xffff_ffff, "not 0 or 1"),
        &[("poll", "(call $net_link (i32.const 1) (i32.const 1000) (i32.const -1)) (i32.const 0)")],
    ),
    Case::of(
        "poll_schedule_of_no_queue",
        Class::Argument,
        bad(Hostcall::PollSchedule, "queue", 1, "not below the number of queues"),
        &[("irq", "(call $poll_schedule (i32.const 1)) (i32.const 0)")],
    ),
    Case::of(
        "sleep_in_poll",
        Class::ControlTransfer,
        wrong(Hostcall::SleepNs, Context::Atomic),
        &[("poll", "(call $sleep_ns (i64.const 1)) (i32.const 0)")],
    ),
    Case::of(
        "sleep_in_timer",
        Class::ControlTransfer,
        wrong(Hostcall::SleepNs, Context::Atomic),
        &[("irq", "(call $timer_set (i64.const 1)) (i32.const 0)"), ("timer", "(call $sleep_ns (i64.const 1))")],
    ),
    Case::of(
        "sleep_in_irq",
        Class::ControlTransfer,
        wrong(Hostcall::SleepNs, Context::Interrupt),
        &[("irq", "(call $sleep_ns (i64.const 1)) (i32.const 0)")],
    ),
    Case::of(
        "dma_alloc_in_irq",
        Class::ControlTransfer,
        wrong(Hostcall::DmaAlloc, Context::Interrupt),
        &[("irq", "(drop (call $dma_alloc (i32.const 64) (i32.const 16))) (i32.const 0)")],
    ),
    Case::of(
        "dma_free_in_poll",
        Class::ControlTransfer,
        wrong(Hostcall::DmaFree, Context::Atomic),
        &[("poll", "(call $dma_free (i32.const 0)) (i32.const 0)")],
    ),
    Case::of(
        "dma_enable_in_irq",
        Class::ControlTransfer,
        wrong(Hostcall::DmaEnable, Context::Interrupt),
        &[("irq", "(atomic.fence) (call $dma_enable)")],
    ),
    Case::of(
        "dma_disable_in_poll",
        Class::ControlTransfer,
        wrong(Hostcall::DmaDisable, Context::Atomic),
        &[("poll", "(call $dma_disable)")],
    ),
    Case::of(
        "irq_enable_in_poll",
        Class::ControlTransfer,
        wrong(Hostcall::IrqEnable, Context::Atomic),
        &[("poll", "(call $irq_enable (i32.const 0))")],
    ),
    Case::of(
        "irq_disable_in_irq",
        Class::ControlTransfer,
        wrong(Hostcall::IrqDisable, Context::Interrupt),
        &[("irq", "(call $irq_disable (i32.const 0))")],
    ),
    Case::of(
        "net_attach_in_poll",
        Class::ControlTransfer,
        wrong(Hostcall::NetAttach, Context::Atomic),
        &[("poll", "(call $net_attach (i64.const 2) (i32.const 1500))")],
    ),
    Case::of(
        "probe_returns_garbage",
        Class::ControlTransfer,
        fault(BadReturn { entry: Entry::Probe, value: 7, rule: "neither 0 nor a status" }),
        &[("probe", "(i32.const 7)")],
    ),
    Case::of(
        "open_returns_no_status",
        Class::ControlTransfer,
        fault(BadReturn { entry: Entry::Open, value: 0x8000_0000, rule: "neither 0 nor a status" }),
        &[("open", "(i32.const 0x80000000)")],
    ),
    Case::of(
        "set_mtu_returns_garbage",
        Class::ControlTransfer,
        fault(BadReturn { entry: Entry::SetMtu, value: 1, rule: "neither 0 nor a status" }),
        &[("set_mtu", "(i32.const 1)")],
    ),
    Case::of(
        "poll_returns_garbage",
        Class::ControlTransfer,
        fault(BadReturn { entry: Entry::Poll, value: 2, rule: "neither idle nor again" }),
        &[("poll", "(i32.const 2)")],
    ),
    Case::of(
        "irq_returns_unknown_bits",
        Class::ControlTransfer,
        fault(BadReturn { entry: Entry::Irq, value: 0xffff_ffff, rule: "unknown bits are set" }),
        &[("irq", "(i32.const -1)")],
    ),
];
