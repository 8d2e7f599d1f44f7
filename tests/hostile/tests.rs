//! Every case as a test, by the fault that it ends in.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};

use nook_abi::block::BlockFault;
use nook_abi::net::NetFault;
use nook_abi::{Class, ClassFault, ENTRIES, Fault, HOSTCALLS, Hostcall};

use crate::beside;
use crate::case::{Case, Expect, Level, Script};
use crate::cases;
use crate::neighbour::Neighbour;
use crate::stage::play;

/// Cases are played one at a time: what a process holds is counted before and after each.
pub static NEIGHBOUR: LazyLock<Mutex<Neighbour>> = LazyLock::new(|| Mutex::new(Neighbour::new()));

fn play_all(chosen: impl Fn(&Case) -> bool, on_qemu: bool) {
    let (mut played, mut bad) = (0, Vec::new());
    for case in cases::all().filter(|case| chosen(case)) {
        // On QEMU, which is slow, at the level that does more.
        let levels = if on_qemu { &[Level::SfiTxn][..] } else { &Level::ALL };
        for &level in levels {
            let neighbour = NEIGHBOUR.lock().unwrap_or_else(PoisonError::into_inner);
            let outcome = play(case, level, on_qemu, &neighbour);
            bad.extend(outcome.problems.into_iter().map(|problem| format!("{} at {level}: {problem}", case.name)));
            played += 1;
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    assert!(played > 0, "no case");
}

/// A test for each variant of [`Fault`] and of each class's faults, and the names of all of them: a variant that is not
/// listed does not compile.
macro_rules! faults {
    ($($test:ident $variant:ident;)* { $($class:ident $fault:ident { $($of_class:ident $of:ident;)* })* }) => {
        fn variant(fault: &Fault) -> &'static str {
            match fault {
                $(Fault::$variant { .. } => stringify!($variant),)*
                $($(Fault::Class(ClassFault::$class($fault::$of { .. })) => stringify!($of),)*)*
                // tests/misc.rs tries these.
                Fault::Class(ClassFault::Misc(_)) => "of class misc",
                // tests/serial.rs tries these.
                Fault::Class(ClassFault::Serial(_)) => "of class serial",
            }
        }

        $(
            #[test]
            fn $test() {
                play_all(|case| matches!(case.expect, Expect::Fault(Fault::$variant { .. })), false);
            }
        )*

        $($(
            #[test]
            fn $of_class() {
                let expects = |expect| {
                    matches!(expect, Expect::Fault(Fault::Class(ClassFault::$class($fault::$of { .. }))))
                };
                play_all(|case| expects(case.expect), false);
            }
        )*)*
    };
}

faults! {
    fault_trap Trap;
    fault_cpu_budget CpuBudget;
    fault_wall_budget WallBudget;
    fault_out_of_bounds OutOfBounds;
    fault_bad_argument BadArgument;
    fault_register_forbidden RegisterForbidden;
    fault_stale_handle StaleHandle;
    fault_wrong_context WrongContext;
    fault_bad_return BadReturn;
    fault_queue_corrupt QueueCorrupt;
    fault_log_flood LogFlood;
    fault_interrupt_storm InterruptStorm;
    fault_interrupts_masked InterruptsMasked;
    fault_device_gone DeviceGone;
    fault_device_failed DeviceFailed;
    fault_revoked Revoked;
    {
        Net NetFault {
            fault_packet_not_owned PacketNotOwned;
            fault_packet_malformed PacketMalformed;
            fault_transmit_stuck TransmitStuck;
            fault_receive_stuck ReceiveStuck;
            fault_buffers_not_taken BuffersNotTaken;
            fault_transmit_fails TransmitFails;
            fault_switched_off SwitchedOff;
            fault_link_disagrees LinkDisagrees;
            fault_counters_disagree CountersDisagree;
        }
        Block BlockFault {
            fault_not_given NotGiven;
            fault_completion_malformed CompletionMalformed;
            fault_request_stuck RequestStuck;
            fault_requests_fail RequestsFail;
            fault_read_differs ReadDiffers;
            fault_disk_changed DiskChanged;
        }
    }
}

#[test]
fn a_driver_that_harms_itself_only_is_no_fault() {
    play_all(|case| case.expect == Expect::Harmless, false);
}

#[test]
fn what_reaches_a_device_ends_the_same_way_on_a_device_that_we_did_not_write() {
    let registers = |case: &Case| case.entries.iter().any(|(_, body)| body.contains("call $mmio_"));
    let plain = |case: &Case| case.script == Script::Behaves && case.budgets.is_none();
    // QEMU's card does not tell what it did not reach.
    let tells = |case: &Case| case.name != "sends_its_device_outside_the_window";
    // One of each rule is enough: QEMU is slow to start.
    let mut rules = HashSet::new();
    let chosen: HashSet<_> = cases::all()
        .filter(|case| registers(case) && plain(case) && tells(case))
        .filter(|case| match case.expect {
            Expect::Fault(Fault::RegisterForbidden { rule, .. } | Fault::BadArgument { rule, .. }) => {
                rules.insert(rule)
            }
            _ => true,
        })
        .map(|case| case.name)
        .collect();
    play_all(|case| chosen.contains(case.name), true);
}

#[test]
fn every_case_has_its_own_name() {
    let mut names = HashSet::new();
    assert!(cases::all().all(|case| names.insert(case.name)));
    // A fault that no case expects has a test that plays nothing, and fails.
    assert!(cases::all().any(|case| matches!(case.expect, Expect::Fault(fault) if variant(&fault) == "Trap")));
}

/// Calls that take anything, anywhere: there is nothing to break.
const CANNOT_BE_MISUSED: [Hostcall; 4] =
    [Hostcall::MmioFlush, Hostcall::ClockNs, Hostcall::TimerSet, Hostcall::WorkSchedule];

#[test]
fn every_hostcall_is_misused_in_some_case() {
    let has_cases = |class| matches!(class, Class::Net | Class::Block);
    for row in HOSTCALLS.iter().filter(|row| row.class.is_none_or(has_cases)) {
        let named = |case: &&Case| match case.expect {
            Expect::Fault(
                Fault::OutOfBounds { call, .. }
                | Fault::BadArgument { call, .. }
                | Fault::RegisterForbidden { call, .. }
                | Fault::StaleHandle { call, .. }
                | Fault::WrongContext { call, .. },
            ) => call == row.call,
            _ => false,
        };
        // A disk is attached by a helper.
        let call = if row.name == "block_attach" { "call $attach".into() } else { format!("call ${}", row.name) };
        let used = |case: &&Case| case.entries.iter().any(|(_, body)| body.contains(&call));
        let covered = cases::all().any(|case| match CANNOT_BE_MISUSED.contains(&row.call) {
            true => used(&case),
            false => named(&case) && used(&case),
        });
        assert!(covered, "no case misuses {}", row.name);
    }
}

#[test]
fn every_entry_goes_wrong_in_some_case() {
    for row in ENTRIES.iter().filter(|row| row.class.is_none_or(|class| class == Class::Net)) {
        // A case that only passes through the entry, or does no harm there, is none.
        let wrong = |case: &Case| match case.expect {
            Expect::Fault(
                Fault::Trap { entry, .. }
                | Fault::CpuBudget { entry, .. }
                | Fault::WallBudget { entry, .. }
                | Fault::BadReturn { entry, .. },
            ) => entry == row.entry && case.entries.iter().any(|(entry, _)| *entry == row.name),
            _ => false,
        };
        assert!(cases::all().any(wrong), "no case ends in a fault of {}", row.name);
    }
}

#[test]
fn a_neighbour_that_is_offered_half_of_what_it_can_do_alone_loses_nothing_beside_a_hostile_driver() {
    let _alone = NEIGHBOUR.lock().unwrap_or_else(PoisonError::into_inner);
    for level in Level::ALL {
        let results = beside::play(level, 100_000_000, |_| {}).unwrap();
        assert_eq!(results.len(), beside::HOSTILE.len());
        for result in results {
            assert!(result.problems.is_empty(), "{result:?}");
            assert!(result.beside.is_some_and(|stream| stream.offered > 0));
        }
    }
}
