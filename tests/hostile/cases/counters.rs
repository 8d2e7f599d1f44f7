//! Drivers that name counters which are none, or report what cannot have been counted.

use nook_abi::Fault::{BadArgument, WrongContext};
use nook_abi::{Context, Hostcall};

use crate::case::{Case, Class, Expect, fault};

const fn named(len_bytes: u64, rule: &'static str) -> Expect {
    fault(BadArgument { call: Hostcall::NetCounters, argument: "len_bytes", value: len_bytes, rule })
}

const fn reported(count: u64, rule: &'static str) -> Expect {
    fault(BadArgument { call: Hostcall::NetCounts, argument: "count", value: count, rule })
}

const NAME: &str = "a name is a lower-case letter, and up to 30 of these, digits and _";

/// Three names, and three others.
const NAMES: &str = r#"(data (i32.const 1024) "rx\ntx\nup\nRx\n\ff\n")"#;
/// Attaches an interface and names three counters.
const NAMES_THREE: (&str, &str) = (
    "probe",
    "(global.set $page (local.get $host_page))
     (drop (call $net_attach (i64.const 2) (i32.const 1500)))
     (call $mail (i32.const 1024) (i32.const 9)) (call $net_counters (i32.const 9)) (i32.const 0)",
);

/// See [`super::all`].
pub const CASES: &[Case] = &[
    Case::of(
        "names_no_counters",
        Class::Argument,
        named(0, "there are 1 to 128 counters"),
        &[("probe", "(call $net_counters (i32.const 0)) (i32.const 0)")],
    ),
    Case {
        extra: r#"(func $name_many (param $count i32) (local $at i32)
            (loop $next
                (i32.store (i32.add (i32.const 1024) (i32.shl (local.get $at) (i32.const 2)))
                    (i32.add (i32.const 0x0a616161)
                        (i32.or (i32.and (local.get $at) (i32.const 15))
                            (i32.shl (i32.shr_u (local.get $at) (i32.const 4)) (i32.const 8)))))
                (local.set $at (i32.add (local.get $at) (i32.const 1)))
                (br_if $next (i32.lt_u (local.get $at) (local.get $count))))
            (call $mail (i32.const 1024) (i32.shl (local.get $count) (i32.const 2)))
            (call $net_counters (i32.shl (local.get $count) (i32.const 2))))"#,
        ..Case::of(
            "names_129_counters",
            Class::Resources,
            named(129 * 4, "there are 1 to 128 counters"),
            &[("probe", "(global.set $page (local.get $host_page)) (call $name_many (i32.const 129)) (i32.const 0)")],
        )
    },
    Case {
        extra: r#"(data (i32.const 1024) "a_name_of_thirty_two_letters_xyz")"#,
        ..Case::of(
            "names_a_counter_at_length",
            Class::Argument,
            named(32, NAME),
            &[(
                "probe",
                "(global.set $page (local.get $host_page))
                 (call $mail (i32.const 1024) (i32.const 32)) (call $net_counters (i32.const 32)) (i32.const 0)",
            )],
        )
    },
    Case {
        extra: NAMES,
        ..Case::of(
            "names_a_counter_with_a_capital",
            Class::Argument,
            named(12, NAME),
            &[(
                "probe",
                "(global.set $page (local.get $host_page))
                 (call $mail (i32.const 1024) (i32.const 12)) (call $net_counters (i32.const 12)) (i32.const 0)",
            )],
        )
    },
    Case {
        extra: NAMES,
        ..Case::of(
            "names_a_counter_in_no_script",
            Class::Argument,
            named(14, "the mailbox holds no ASCII"),
            &[(
                "probe",
                "(global.set $page (local.get $host_page))
                 (call $mail (i32.const 1024) (i32.const 14)) (call $net_counters (i32.const 14)) (i32.const 0)",
            )],
        )
    },
    Case {
        extra: r#"(data (i32.const 1024) "rx\ntx\nrx\n")"#,
        ..Case::of(
            "names_a_counter_twice",
            Class::Argument,
            named(9, "two counters have the same name"),
            &[(
                "probe",
                "(global.set $page (local.get $host_page))
                 (call $mail (i32.const 1024) (i32.const 9)) (call $net_counters (i32.const 9)) (i32.const 0)",
            )],
        )
    },
    Case::of(
        "names_counters_beyond_the_mailbox",
        Class::Argument,
        named(0xffff_ffff, "longer than the mailbox"),
        &[("probe", "(call $net_counters (i32.const -1)) (i32.const 0)")],
    ),
    Case {
        extra: NAMES,
        ..Case::of(
            "names_its_counters_twice",
            Class::SystemProtocol,
            named(6, "they were named already"),
            &[(
                "probe",
                "(global.set $page (local.get $host_page)) (call $mail (i32.const 1024) (i32.const 6))
                 (call $net_counters (i32.const 6)) (call $net_counters (i32.const 6)) (i32.const 0)",
            )],
        )
    },
    Case::of(
        "names_its_counters_too_late",
        Class::SystemProtocol,
        named(6, "counters are named in `probe`"),
        &[("open", "(call $net_counters (i32.const 6)) (i32.const 0)")],
    ),
    Case::of(
        "names_its_counters_in_poll",
        Class::ControlTransfer,
        fault(WrongContext { call: Hostcall::NetCounters, context: Context::Atomic }),
        &[("poll", "(call $net_counters (i32.const 6)) (i32.const 0)")],
    ),
    Case {
        extra: NAMES,
        ..Case::of(
            "reports_fewer_counts_than_it_named",
            Class::Argument,
            reported(2, "not as many as were named"),
            &[NAMES_THREE, ("stats", "(call $net_counts (i32.const 2))")],
        )
    },
    Case {
        extra: NAMES,
        ..Case::of(
            "reports_more_counts_than_there_can_be",
            Class::Argument,
            reported(0xffff_ffff, "not as many as were named"),
            &[NAMES_THREE, ("stats", "(call $net_counts (i32.const -1))")],
        )
    },
    Case::of(
        "reports_counts_of_nothing",
        Class::SystemProtocol,
        reported(0, "not as many as were named"),
        &[("stats", "(call $net_counts (i32.const 0))")],
    ),
    Case {
        extra: NAMES,
        ..Case::of(
            "reports_counts_unasked",
            Class::SystemProtocol,
            reported(3, "counts are reported in `stats`"),
            &[NAMES_THREE, ("set_mac", "(call $net_counts (i32.const 3)) (i32.const 0)")],
        )
    },
    Case {
        extra: NAMES,
        ..Case::of(
            "reports_counts_in_poll",
            Class::ControlTransfer,
            fault(WrongContext { call: Hostcall::NetCounts, context: Context::Atomic }),
            &[NAMES_THREE, ("poll", "(call $net_counts (i32.const 3)) (i32.const 0)")],
        )
    },
    Case {
        extra: NAMES,
        ..Case::of(
            "reports_a_count_that_went_down",
            Class::DeviceFailure,
            reported(3, "a counter went down"),
            &[
                NAMES_THREE,
                (
                    "stats",
                    "(i64.store (call $mailbox) (i64.const -1)) (call $net_counts (i32.const 3))
                     (i64.store (call $mailbox) (i64.const 7)) (call $net_counts (i32.const 3))",
                ),
            ],
        )
    },
    Case {
        extra: NAMES,
        holds: |nook| nook.named_counters().iter().all(|(_, count)| *count == u64::MAX),
        ..Case::of(
            "reports_as_much_as_there_is",
            Class::DeviceFailure,
            Expect::Harmless,
            &[
                NAMES_THREE,
                (
                    "stats",
                    "(memory.fill (call $mailbox) (i32.const 0xff) (i32.const 2048)) (call $net_counts (i32.const 3))",
                ),
            ],
        )
    },
];
