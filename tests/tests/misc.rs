//! The misc class: what a driver may do and may not, and that every operation is answered however its driver ends.

use std::sync::Arc;

use nook_abi::misc::{MOST_OPEN, MiscFault};
use nook_abi::{Class, ClassFault, ENTRIES, Entry, Fault, HOSTCALLS, Hostcall, MAILBOX_BYTES, Status};
use nook_qemu::{QemuConfig, QemuDevice, QemuNet};
use nook_runtime::{
    Answer, AskError, Budgets, DriverModule, Failure, Misc, Mmio, ModuleCache, Nook, NookBuilder, NookError,
    RollbackMethod, WasmLauncher, now_ns,
};
use nook_tests::{BareDevice, wat_class_driver};

/// Returns a misc driver as text: `add 0102 03` and `nap`. Operation 0 answers the sum of its input's bytes at once;
/// operation 1 is accepted, and answered in the next `poll`. A body may be replaced.
fn driver(bodies: &[(&str, &str)]) -> DriverModule {
    driver_of(bodies, "8086:100e", "e1000")
}

/// The same of another device, with its register map.
fn driver_of(bodies: &[(&str, &str)], pci: &str, registers: &str) -> DriverModule {
    let own = [
        ("probe", "(global.set $page (local.get $host_page)) (call $attach)"),
        (
            "invoke",
            "(if (i32.eqz (local.get $operation)) (then (call $add (local.get $ticket) (local.get $len_bytes))
                 (return (i32.const 0))))
             (global.set $waits (i32.add (local.get $ticket) (i32.const 1))) (call $poll_schedule (i32.const 0))
             (i32.const 0)",
        ),
        (
            "poll",
            "(if (global.get $waits) (then
                 (call $misc_complete (i32.sub (global.get $waits) (i32.const 1)) (i32.const 0) (i32.const 0))
                 (global.set $waits (i32.const 0))))
             (i32.const 0)",
        ),
    ];
    let helpers = r#"
        (memory (export "memory") 2)
        (data (i32.const 2048) "add 0102 03\nnap")
        (global $page (mut i32) (i32.const 0))
        (global $waits (mut i32) (i32.const 0))
        (global $polls (mut i32) (i32.const 0))
        (func $mailbox (result i32) (i32.wrap_i64 (i64.load offset=48 (global.get $page))))
        (func $say (param $text i32) (param $len i32)
            (memory.copy (call $mailbox) (local.get $text) (local.get $len)))
        (func $attach (result i32)
            (call $say (i32.const 2048) (i32.const 15)) (call $misc_attach (i32.const 15)))
        (func $idle (drop (call $mmio_read64 (i32.const 0) (i32.const 0x98))))
        (func $put (param $offset i32) (param $value i64)
            (call $mmio_write64 (i32.const 0) (local.get $offset) (local.get $value)))
        (func $window (result i64) (i64.load offset=24 (global.get $page)))
        (func $prepare (param $source i64) (param $destination i64) (param $count i64)
            (call $put (i32.const 0x80) (local.get $source)) (call $put (i32.const 0x88) (local.get $destination))
            (call $put (i32.const 0x90) (local.get $count)))
        (func $add (param $ticket i32) (param $len i32) (local $sum i32)
            (loop $again
                (if (local.get $len) (then
                    (local.set $len (i32.sub (local.get $len) (i32.const 1)))
                    (local.set $sum (i32.add (local.get $sum)
                        (i32.load8_u (i32.add (call $mailbox) (local.get $len)))))
                    (br $again))))
            (i32.store8 (call $mailbox) (local.get $sum))
            (call $misc_complete (local.get $ticket) (i32.const 0) (i32.const 1)))
    "#;
    let bodies: Vec<_> = bodies.iter().chain(&own).copied().collect();
    wat_class_driver(Class::Misc, helpers, &bodies, pci, registers)
}

fn nook_with(bodies: &[(&str, &str)], budgets: Budgets) -> Nook<Misc> {
    let module = driver(bodies);
    let host =
        NookBuilder::of(&module, &[&e1000_regs::MAP]).budgets(budgets).host(Box::new(BareDevice::new().0)).unwrap();
    let launcher = WasmLauncher::new(module.into(), &ModuleCache::none(), Mmio::Emulated).unwrap();
    Nook::misc(host, Box::new(launcher))
}

fn nook(bodies: &[(&str, &str)]) -> Nook<Misc> {
    nook_with(bodies, Budgets::default())
}

fn started(bodies: &[(&str, &str)]) -> Nook<Misc> {
    let mut nook = nook(bodies);
    nook.start().unwrap();
    nook
}

/// Turns until there are answers, or the driver did something wrong.
fn answers(nook: &mut Nook<Misc>) -> Result<Vec<Answer>, NookError> {
    let end = now_ns() + 60_000_000_000;
    while now_ns() < end {
        nook.turn(now_ns() + 10_000_000)?;
        let answers = nook.answers();
        if !answers.is_empty() {
            return Ok(answers);
        }
    }
    panic!("no answer: {:?}", nook.misc_counters());
}

fn fault(error: NookError) -> Fault {
    match error {
        NookError::Fault { fault, .. } => fault,
        other => panic!("{other}"),
    }
}

/// Returns what comes of a driver with this body of `invoke`, which is asked for a sum.
fn invoked(body: &str) -> Fault {
    let mut nook = started(&[("invoke", body)]);
    nook.ask("add", vec![1]).unwrap();
    fault(answers(&mut nook).unwrap_err())
}

/// Returns what comes of a driver with this body of `probe`.
fn attached(body: &str) -> Fault {
    let body = format!("(global.set $page (local.get $host_page)) {body}");
    fault(nook(&[("probe", &body)]).start().unwrap_err())
}

#[test]
fn operations_are_done_at_once_or_later_and_in_order() {
    let mut nook = started(&[]);
    let names: Vec<&str> = nook.operations().iter().map(|operation| operation.name.as_str()).collect();
    assert_eq!(names, ["add", "nap"]);
    assert_eq!(
        (nook.operations()[0].input.as_deref(), nook.operations()[0].output.as_deref()),
        (Some(&[1, 2][..]), Some(&[3][..]))
    );
    let sum = nook.ask("add", vec![1, 2, 3]).unwrap();
    assert_eq!(answers(&mut nook).unwrap(), [Answer { ticket: sum, outcome: Ok(vec![6]) }]);
    let nap = nook.ask("nap", vec![]).unwrap();
    assert_eq!(answers(&mut nook).unwrap(), [Answer { ticket: nap, outcome: Ok(vec![]) }]);
    let long = nook.ask("add", vec![1; MAILBOX_BYTES]).unwrap();
    assert_eq!(answers(&mut nook).unwrap(), [Answer { ticket: long, outcome: Ok(vec![0]) }]);
}

#[test]
fn what_no_driver_can_do_is_not_asked_of_one() {
    let mut nook = started(&[]);
    assert!(matches!(nook.ask("sub", vec![]), Err(AskError::NoOperation { have, .. }) if have == "add, nap"));
    let len_bytes = MAILBOX_BYTES + 1;
    assert_eq!(nook.ask("add", vec![0; len_bytes]), Err(AskError::TooLong { len_bytes }));
}

#[test]
fn a_driver_that_can_do_no_more_is_asked_again_later() {
    // Every other time it is busy.
    let body = "(global.set $waits (i32.xor (global.get $waits) (i32.const 1)))
                (if (global.get $waits) (then (return (i32.const -7))))
                (call $add (local.get $ticket) (local.get $len_bytes)) (i32.const 0)";
    let mut nook = started(&[("invoke", body), ("poll", "(i32.const 0)")]);
    let tickets = [1u8, 2, 3].map(|byte| nook.ask("add", vec![byte]).unwrap());
    let mut all = Vec::new();
    while all.len() < 3 {
        all.extend(answers(&mut nook).unwrap());
    }
    let expected = tickets.into_iter().zip([1, 2, 3]).map(|(ticket, sum)| Answer { ticket, outcome: Ok(vec![sum]) });
    assert!(all.into_iter().eq(expected));
}

#[test]
fn a_refusal_and_a_failure_are_answers() {
    let mut nook = started(&[("invoke", "(i32.const -6)")]);
    nook.ask("add", vec![]).unwrap();
    assert_eq!(answers(&mut nook).unwrap()[0].outcome, Err(Failure::Refused(Status::Invalid)));
    let body = "(call $misc_complete (local.get $ticket) (i32.const -3) (i32.const 0)) (i32.const 0)";
    let mut nook = started(&[("invoke", body)]);
    nook.ask("add", vec![]).unwrap();
    assert_eq!(answers(&mut nook).unwrap()[0].outcome, Err(Failure::Refused(Status::Timeout)));
}

#[test]
fn no_more_are_open_than_the_contract_says() {
    let mut nook = started(&[("invoke", "(i32.const 0)")]);
    for _ in 0..3 * MOST_OPEN {
        nook.ask("add", vec![]).unwrap();
    }
    for _ in 0..100 {
        nook.turn(now_ns() + 1_000_000).unwrap();
    }
    // With the driver they go, and are not asked for again; the others are given up when nobody is to come.
    nook.end().unwrap();
    let lost = nook.answers().iter().filter(|answer| answer.outcome == Err(Failure::Lost)).count();
    assert_eq!(lost, MOST_OPEN);
}

#[test]
fn a_nook_whose_driver_can_take_no_more_waits_until_something_happens() {
    let mut nook = started(&[("invoke", "(i32.const 0)")]);
    for _ in 0..=MOST_OPEN {
        nook.ask("add", vec![]).unwrap();
    }
    let (end, mut turns) = (now_ns() + 200_000_000, 0);
    while now_ns() < end {
        nook.turn(now_ns() + 10_000_000).unwrap();
        turns += 1;
    }
    // One for each that was asked for, and one for each wait.
    assert!(turns < 1000, "{turns} turns");
}

/// A driver whose timer always comes again, and completes the first operation once register 8 is not zero.
const COMPLETES_THE_FIRST: [(&str, &str); 2] = [
    ("open", "(call $timer_set (i64.const 1)) (i32.const 0)"),
    (
        "timer",
        "(call $timer_set (i64.const 1))
         (if (call $mmio_read32 (i32.const 0) (i32.const 8))
             (then (call $misc_complete (i32.const 0) (i32.const 0) (i32.const 0))))",
    ),
];

#[test]
fn an_operation_is_not_open_once_the_call_that_asked_for_it_was_rolled_back() {
    let [open, timer] = COMPLETES_THE_FIRST;
    let module = driver(&[open, timer, ("invoke", "(unreachable)")]);
    let (device, handle) = BareDevice::new();
    let host = NookBuilder::of(&module, &[&e1000_regs::MAP]).host(Box::new(device)).unwrap();
    let launcher = WasmLauncher::with_rollback(&module, &ModuleCache::none(), Arc::new(RollbackMethod::Log)).unwrap();
    let mut nook = Nook::misc(host, Box::new(launcher));
    nook.start().unwrap();
    nook.ask("add", vec![1]).unwrap();
    let error = answers(&mut nook).unwrap_err();
    assert_eq!(nook.roll_back(&error).map(|call| call.entry), Some(Entry::Invoke));
    handle.set_register(8, 1);
    let not_open = Fault::Class(ClassFault::Misc(MiscFault::NotOpen { ticket: 0 }));
    assert_eq!(fault(answers(&mut nook).unwrap_err()), not_open);
}

#[test]
fn what_a_call_completed_counts_although_the_next_one_ends_the_driver_and_what_that_one_completed_does_not() {
    let complete = "(call $misc_complete (i32.const 0) (i32.const 0) (i32.const 0))";
    let invoke = ("invoke", "(call $timer_set (i64.const 1)) (call $work_schedule) (i32.const 0)");
    for (timer, work, outcome) in [(complete, "", Ok(vec![])), ("", complete, Err(Failure::Lost))] {
        let work = format!("{work} (unreachable)");
        let mut nook = started(&[invoke, ("timer", timer), ("work", &work)]);
        let ticket = nook.ask("nap", vec![]).unwrap();
        assert!(matches!(fault(answers(&mut nook).unwrap_err()), Fault::Trap { entry: Entry::Work, .. }));
        nook.restart().unwrap();
        assert_eq!(nook.answers(), [Answer { ticket, outcome }]);
    }
}

#[test]
fn operations_that_only_a_look_of_the_host_finds_completed_are_found_to_be_unannounced() {
    let late = "(if (global.get $waits) (then
                    (if (global.get $polls) (then
                        (call $misc_complete (i32.sub (global.get $waits) (i32.const 1)) (i32.const 0) (i32.const 0))
                        (global.set $waits (i32.const 0)) (global.set $polls (i32.const 0)))
                    (else (global.set $polls (i32.const 1))))))
                (i32.const 0)";
    let accept = "(global.set $waits (i32.add (local.get $ticket) (i32.const 1))) (i32.const 0)";
    let open = "(call $irq_enable (i32.const 0))";
    let budgets = Budgets { quiet_ns: 5_000_000, ..Budgets::default() };
    let mut nook = nook_with(&[("open", open), ("invoke", accept), ("poll", late)], budgets);
    nook.start().unwrap();
    let error = (0..10).find_map(|_| {
        nook.ask("nap", vec![]).unwrap();
        answers(&mut nook).err()
    });
    assert_eq!(error.map(fault), Some(Fault::InterruptsMasked { polls: 5 }));
}

#[test]
fn what_a_driver_had_not_accepted_is_asked_of_its_successor_once() {
    let mut nook = started(&[("invoke", "(unreachable)")]);
    let ticket = nook.ask("add", vec![1]).unwrap();
    assert!(answers(&mut nook).is_err());
    nook.restart().unwrap();
    assert_eq!(nook.answers(), []);
    assert!(answers(&mut nook).is_err());
    nook.restart().unwrap();
    assert_eq!(nook.answers(), [Answer { ticket, outcome: Err(Failure::GivenUp) }]);
    assert_eq!(nook.misc_counters().lost, 1);
}

#[test]
fn fault_not_open() {
    let not_open = |ticket| Fault::Class(ClassFault::Misc(MiscFault::NotOpen { ticket }));
    let once = "(call $misc_complete (local.get $ticket) (i32.const 0) (i32.const 0))";
    assert_eq!(invoked(&format!("{once} {once} (i32.const 0)")), not_open(0));
    assert_eq!(invoked("(call $misc_complete (i32.const 99) (i32.const 0) (i32.const 0)) (i32.const 0)"), not_open(99));
}

#[test]
fn fault_not_completed() {
    let budgets = Budgets { transmit_ns: 20_000_000, ..Budgets::default() };
    let mut nook = nook_with(&[("invoke", "(i32.const 0)")], budgets);
    nook.start().unwrap();
    nook.ask("add", vec![]).unwrap();
    let expected = MiscFault::NotCompleted { operations: 1, limit_ns: 20_000_000 };
    let error = answers(&mut nook).unwrap_err();
    assert!(error.to_string().ends_with("(`add`: `irq_enable` was never called, so no interrupt can come)"), "{error}");
    assert_eq!(fault(error), Fault::Class(ClassFault::Misc(expected)));
}

/// Returns what is said of a driver of QEMU's edu that has its interrupts on and these bodies, and never completes what
/// it is asked for.
fn said_of_edu(invoke: &str, irq: &str) -> String {
    let open = "(drop (call $irq_enable (i32.const 0))) (i32.const 0)";
    let budgets = Budgets { transmit_ns: 200_000_000, ..Budgets::default() };
    let mut nook = edu(&[("open", open), ("invoke", invoke), ("irq", irq)], budgets);
    nook.start().unwrap();
    nook.ask("add", vec![]).unwrap();
    answers(&mut nook).unwrap_err().to_string()
}

#[test]
fn what_the_host_saw_of_the_interrupts_is_said_with_the_operation() {
    const RAISE: &str = "(call $mmio_write32 (i32.const 0) (i32.const 0x60) (i32.const 1)) (i32.const 0)";
    const ACKNOWLEDGE: &str = "(call $mmio_write32 (i32.const 0) (i32.const 0x64) (i32.const 1))";
    let (handled, not_mine) = (format!("{ACKNOWLEDGE} (i32.const 1)"), format!("{ACKNOWLEDGE} (i32.const 0)"));
    for (invoke, irq, says) in [
        ("(i32.const 0)", "(i32.const 0)", "(`add`: no interrupt came since:"),
        (RAISE, &*handled, " came since, and none of the calls completed it)"),
        (RAISE, &*not_mine, " came since, and `irq` said of each that it was not its own)"),
        // The line stays up.
        (RAISE, "(i32.const 1)", "(`irq` said that it handled them, and the device raises them still: acknowledge"),
        (RAISE, "(i32.const 0)", "(`irq` said of each that it was not its own, and so left it raised"),
    ] {
        let said = said_of_edu(invoke, irq);
        assert!(said.contains(says), "{invoke} {irq}: {said}");
    }
}

/// Returns what comes of a driver of QEMU's edu that does this once it may use DMA.
fn of_edu(body: &str) -> Option<Fault> {
    // A driver without atomics may not turn DMA on.
    let open = format!("(atomic.fence) (drop (call $dma_enable)) {body} (i32.const 0)");
    edu(&[("open", &open)], Budgets::default()).start().err().map(fault)
}

/// Returns a nook of QEMU's edu and a driver with these bodies.
fn edu(bodies: &[(&str, &str)], budgets: Budgets) -> Nook<Misc> {
    let module = driver_of(bodies, "1234:11e8", "edu");
    let maps = [&edu_regs::MAP];
    let mut builder = NookBuilder::of(&module, &maps);
    let window = builder.window().unwrap();
    let config = QemuConfig::new("edu".parse().unwrap(), QemuNet::User { restrict: true });
    let device = QemuDevice::start(config, window).unwrap();
    let host = builder.budgets(budgets).host(Box::new(device)).unwrap();
    let launcher = WasmLauncher::new(module.into(), &ModuleCache::none(), Mmio::Emulated).unwrap();
    Nook::misc(host, Box::new(launcher))
}

/// Each of these would have the device touch memory outside the window, or end QEMU's process, if it reached it.
#[test]
fn a_transfer_that_leads_astray_never_reaches_the_device() {
    const WINDOW: &str = "a transfer would leave the driver's window";
    const DEVICE: &str = "a transfer would leave the memory that the device has for it";
    const BUSY: &str = "a transfer may be under way: the register that starts it must be read as idle first";
    const START: &str = "(call $put (i32.const 0x98) (i64.const 1))";
    const START_TO_MEMORY: &str = "(call $put (i32.const 0x98) (i64.const 3))";
    const ITS_MEMORY: &str = "(i64.const 0x40000)";
    let idle = |then: &str| format!("(call $idle) {then}");
    let moves = |source: &str, destination: &str, count: &str, start: &str| {
        idle(&format!("(call $prepare {source} {destination} (i64.const {count})) {start}"))
    };
    let good = moves("(call $window)", ITS_MEMORY, "4", START);
    assert_eq!(of_edu(&good), None);
    for (body, value, rule) in [
        (moves("(i64.const 0xdead0000)", ITS_MEMORY, "4", START), 1, WINDOW),
        (moves("(i64.sub (call $window) (i64.const 1))", ITS_MEMORY, "4", START), 1, WINDOW),
        (moves("(i64.add (call $window) (i64.const 0x1ffffe))", ITS_MEMORY, "4", START), 1, WINDOW),
        (moves("(i64.const -2)", ITS_MEMORY, "4", START), 1, WINDOW),
        (moves(ITS_MEMORY, "(i64.const 0x1000)", "4", START_TO_MEMORY), 3, WINDOW),
        // Which of the two is in memory, the last register says.
        (moves("(call $window)", ITS_MEMORY, "4", START_TO_MEMORY), 3, DEVICE),
        (moves(ITS_MEMORY, "(call $window)", "4", START), 1, WINDOW),
        (moves("(call $window)", ITS_MEMORY, "4096", START), 1, DEVICE),
        (moves("(call $window)", "(i64.const 0x40ffe)", "2", START), 1, DEVICE),
        (moves("(call $window)", "(i64.const -2)", "4", START), 1, DEVICE),
        (moves("(call $window)", ITS_MEMORY, "-1", START), 1, WINDOW),
        (moves("(call $window)", ITS_MEMORY, "0", START), 1, "a transfer of 0 bytes"),
        (idle(START), 1, "a transfer is started before all that it goes by was written"),
        ("(call $prepare (call $window) (call $window) (i64.const 4))".into(), 0, BUSY),
        // Changed, or started again, while the device is at it.
        (format!("{good} (call $put (i32.const 0x80) (i64.const 7))"), 7, BUSY),
        (format!("{good} {START}"), 1, BUSY),
        (format!("{good} (call $idle) {START_TO_MEMORY}"), 3, BUSY),
    ] {
        let call = Hostcall::MmioWrite64;
        let found = of_edu(&body);
        let Some(Fault::BadArgument { value: refused, .. }) = found else { panic!("{body}: {found:?}") };
        let value = if value == 0 { refused } else { value };
        assert_eq!(found, Some(Fault::BadArgument { call, argument: "value", value, rule }), "{body}");
    }
}

#[test]
fn every_argument_is_checked() {
    let bad = |call, argument, value, rule| Fault::BadArgument { call, argument, value, rule };
    let complete = |status: i32, len: u32| {
        invoked(&format!(
            "(call $misc_complete (local.get $ticket) (i32.const {status}) (i32.const {len})) (i32.const 0)"
        ))
    };
    let too_long = MAILBOX_BYTES as u32 + 1;
    let call = Hostcall::MiscComplete;
    assert_eq!(complete(0, too_long), bad(call, "len_bytes", too_long.into(), "longer than the mailbox"));
    assert_eq!(complete(-3, 1), bad(call, "len_bytes", 1, "output of an operation that failed"));
    assert_eq!(complete(7, 0), bad(call, "status", 7, "neither 0 nor a status"));
    let call = Hostcall::MiscAttach;
    let attach = |len: u32| attached(&format!("(call $misc_attach (i32.const {len}))"));
    assert_eq!(attach(too_long), bad(call, "len_bytes", too_long.into(), "longer than the mailbox"));
    assert_eq!(attach(0), bad(call, "len_bytes", 0, "there are 1 to 64 operations"));
    assert_eq!(attach(8), bad(call, "len_bytes", 8, "a name is 1 to 32 lower-case letters, digits, - and _"));
    assert_eq!(
        attached("(drop (call $attach)) (call $attach)"),
        bad(call, "len_bytes", 15, "operations are attached already")
    );
    let late = fault(nook(&[("open", "(call $attach)")]).start().unwrap_err());
    assert_eq!(late, bad(call, "len_bytes", 15, "operations are attached in `probe`"));
}

#[test]
fn what_an_entry_cannot_return_is_a_fault() {
    let bad = |value, rule| Fault::BadReturn { entry: Entry::Invoke, value, rule };
    assert_eq!(invoked("(i32.const 1)"), bad(1, "neither 0 nor a status"));
    let both = "(call $misc_complete (local.get $ticket) (i32.const 0) (i32.const 0)) (i32.const -6)";
    assert_eq!(invoked(both), bad(-6i32 as u32 as u64, "an operation was refused and completed"));
}

#[test]
fn every_row_of_the_class_goes_wrong_above() {
    let rows: Vec<&str> = HOSTCALLS
        .iter()
        .filter(|row| row.class == Some(Class::Misc))
        .map(|row| row.name)
        .chain(ENTRIES.iter().filter(|row| row.class == Some(Class::Misc)).map(|row| row.name))
        .collect();
    assert_eq!(rows, ["misc_attach", "misc_complete", "invoke"]);
}

#[test]
fn a_driver_that_attaches_nothing_is_refused() {
    let error = nook(&[("probe", "(i32.const 0)")]).start().unwrap_err();
    assert!(matches!(error, NookError::AttachedNothing), "{error}");
}
