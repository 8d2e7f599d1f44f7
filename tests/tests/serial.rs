//! The serial class: what a driver may do and may not, and where each byte is however its driver ends.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use nook_abi::serial::{LineSettings, SerialFault, control, modem, received};
use nook_abi::{Class, ClassFault, ENTRIES, Fault, HOSTCALLS, Hostcall, Status};
use nook_qemu::{QemuConfig, QemuDevice, QemuNet};
use nook_runtime::{
    Budgets, DriverModule, Mmio, ModuleCache, Nook, NookBuilder, NookError, RollbackMethod, Serial, WasmLauncher,
    now_ns,
};
use nook_serial_api::{PortSettings, Received, SerialBackend};
use nook_tests::{BareDevice, BareDeviceHandle, wat_class_driver};

/// What the line is plugged into, as a test sees it.
#[derive(Default)]
struct Ends {
    to_send: VecDeque<u8>,
    received: Vec<Received>,
    wanted: PortSettings,
    modem: u32,
    /// It takes nothing.
    full: bool,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Ends>>);

impl Shared {
    fn with<T>(&self, of: impl FnOnce(&mut Ends) -> T) -> T {
        of(&mut self.0.lock().unwrap())
    }

    fn bytes(&self) -> Vec<u8> {
        self.with(|ends| ends.received.iter().map(|received| received.byte).collect())
    }
}

impl SerialBackend for Shared {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.with(|ends| {
            let len = into.len().min(ends.to_send.len());
            into.iter_mut().zip(ends.to_send.drain(..len)).for_each(|(into, byte)| *into = byte);
            Ok(len)
        })
    }

    fn write(&mut self, received: &[Received]) -> io::Result<usize> {
        self.with(|ends| {
            let taken = if ends.full { 0 } else { received.len() };
            ends.received.extend(&received[..taken]);
            Ok(taken)
        })
    }

    fn wanted(&self) -> PortSettings {
        self.with(|ends| ends.wanted)
    }

    fn modem(&mut self, lines: u32) -> io::Result<()> {
        self.with(|ends| ends.modem = lines);
        Ok(())
    }
}

/// Returns a driver of class serial as text that hands over each byte that it fetches. A body may be replaced.
fn driver_of(bodies: &[(&str, &str)], pci: &str, registers: &str) -> DriverModule {
    let own = [
        ("probe", "(call $serial_attach (i32.const 16) (i32.const 115200))"),
        (
            "poll",
            "(local $byte i32)
             (loop $more
                (if (local.get $budget) (then
                    (local.set $byte (call $serial_next))
                    (if (i32.lt_u (local.get $byte) (i32.const 256)) (then
                        (call $serial_received (local.get $byte))
                        (local.set $budget (i32.sub (local.get $budget) (i32.const 1)))
                        (br $more))))))
             (i32.eqz (local.get $budget))",
        ),
    ];
    let helpers = "(memory (export \"memory\") 2)
        (global $calls (mut i32) (i32.const 0))
        (func $times (param $most i32) (result i32)
            (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
            (i32.le_u (global.get $calls) (local.get $most)))\n";
    let bodies: Vec<_> = bodies.iter().chain(&own).copied().collect();
    wat_class_driver(Class::Serial, helpers, &bodies, pci, registers)
}

/// A register that bodies look at, which reads as 0 at first.
const STATUS: u64 = 0x8;
/// A body that ends in a trap as long as that is 0.
const OR_TRAP: &str = "(if (i32.eqz (call $mmio_read32 (i32.const 0) (i32.const 8))) (then (unreachable)))";

/// A body of `poll` that fetches a byte, hands one over, and ends in a trap.
const DIES: &str = "(drop (call $serial_next)) (call $serial_received (i32.const 1)) (unreachable)";

/// Returns a nook whose driver has died like that where nothing that a call does is held back.
fn died_unheld(ends: &Shared) -> Nook<Serial<Shared>> {
    let module = driver_of(&[("poll", DIES)], "8086:100e", "e1000");
    let host = NookBuilder::of(&module, &[&e1000_regs::MAP]).host(Box::new(BareDevice::new().0)).unwrap();
    let launcher = WasmLauncher::new(module.into(), &ModuleCache::none(), Mmio::Emulated).unwrap();
    let mut nook = Nook::serial(host, Box::new(launcher), ends.clone());
    nook.start().unwrap();
    turn_until(&mut nook, |_| false).unwrap_err();
    nook
}

fn nook_with(bodies: &[(&str, &str)], ends: &Shared, budgets: Budgets) -> Nook<Serial<Shared>> {
    nook_of(bodies, ends, budgets).0
}

/// Returns the device too.
fn nook_of(bodies: &[(&str, &str)], ends: &Shared, budgets: Budgets) -> (Nook<Serial<Shared>>, BareDeviceHandle) {
    let module = driver_of(bodies, "8086:100e", "e1000");
    let (device, handle) = BareDevice::new();
    let host = NookBuilder::of(&module, &[&e1000_regs::MAP]).budgets(budgets).host(Box::new(device)).unwrap();
    let method = Arc::new(RollbackMethod::Log);
    let launcher = WasmLauncher::with_rollback(&module, &ModuleCache::none(), method).unwrap();
    (Nook::serial(host, Box::new(launcher), ends.clone()), handle)
}

fn nook(bodies: &[(&str, &str)], ends: &Shared) -> Nook<Serial<Shared>> {
    nook_with(bodies, ends, Budgets::default())
}

fn started(bodies: &[(&str, &str)], ends: &Shared) -> Nook<Serial<Shared>> {
    let mut nook = nook(bodies, ends);
    nook.start().unwrap();
    nook
}

/// Turns until something holds, or the driver did something wrong.
fn turn_until(
    nook: &mut Nook<Serial<Shared>>,
    mut holds: impl FnMut(&Nook<Serial<Shared>>) -> bool,
) -> Result<(), NookError> {
    let end = now_ns() + 60_000_000_000;
    while !holds(nook) {
        assert!(now_ns() < end, "it never came: {:?}", nook.serial_counters());
        nook.turn(now_ns() + 10_000_000)?;
    }
    Ok(())
}

fn fault(error: NookError) -> Fault {
    match error {
        NookError::Fault { fault, .. } => fault,
        other => panic!("{other}"),
    }
}

/// Returns what comes of a driver with this body of an entry, which is given something to send.
fn of(entry: &str, body: &str) -> Fault {
    let ends = Shared::default();
    ends.with(|ends| ends.to_send.extend(b"abc"));
    let mut nook = nook(&[(entry, body)], &ends);
    fault(nook.start().and_then(|()| turn_until(&mut nook, |_| false)).unwrap_err())
}

fn bad(call: Hostcall, argument: &'static str, value: u64, rule: &'static str) -> Fault {
    Fault::BadArgument { call, argument, value, rule }
}

#[test]
fn what_is_to_be_sent_is_fetched_in_order_and_what_was_received_is_passed_on() {
    let ends = Shared::default();
    let mut nook = started(&[], &ends);
    let all: Vec<u8> = (0..30_000u32).map(|n| (n % 251) as u8).collect();
    ends.with(|ends| ends.to_send.extend(&all));
    turn_until(&mut nook, |_| ends.bytes().len() == all.len()).unwrap();
    assert_eq!(ends.bytes(), all);
    let counters = nook.serial_counters();
    assert_eq!((counters.sent, counters.received), (30_000, 30_000));
}

#[test]
fn a_backend_that_takes_nothing_holds_the_driver_back_and_loses_nothing() {
    let ends = Shared::default();
    let mut nook = started(&[], &ends);
    let all: Vec<u8> = (0..40_000u32).map(|n| (n % 241) as u8).collect();
    ends.with(|ends| {
        ends.full = true;
        ends.to_send.extend(&all);
    });
    turn_until(&mut nook, |nook| nook.serial_counters().received == 16_384).unwrap();
    for _ in 0..5 {
        nook.turn(now_ns() + 1_000_000).unwrap();
    }
    assert_eq!(nook.serial_counters().received, 16_384, "there is no room for more");
    ends.with(|ends| ends.full = false);
    turn_until(&mut nook, |_| ends.bytes().len() == all.len()).unwrap();
    assert_eq!(ends.bytes(), all);
}

#[test]
fn what_is_wrong_with_a_byte_is_passed_on_and_counted() {
    let ends = Shared::default();
    let all = received::OVERRUN | received::PARITY | received::FRAMING;
    let says = format!("(call $serial_received (i32.const {}))", all | 0x41);
    let breaks = format!("(call $serial_received (i32.const {}))", received::BREAK | received::FRAMING);
    let body = format!("(if (call $times (i32.const 1)) (then {says} {breaks})) (i32.const 0)");
    let mut nook = started(&[("poll", &body)], &ends);
    turn_until(&mut nook, |nook| nook.serial_counters().received == 2).unwrap();
    let got = ends.with(|ends| ends.received.clone());
    assert_eq!(got[0], Received { byte: 0x41, errors: all });
    let counters = nook.serial_counters();
    let counts = (counters.overruns, counters.parity_errors, counters.framing_errors, counters.breaks);
    assert_eq!(counts, (1, 1, 1, 1));
}

#[test]
fn a_call_that_is_rolled_back_has_sent_and_received_nothing() {
    let ends = Shared::default();
    ends.with(|ends| ends.to_send.extend(b"abcd"));
    let two = "(call $serial_received (call $serial_next)) (call $serial_received (call $serial_next))";
    let body = format!("{two} {OR_TRAP} {two} (i32.const 0)");
    let (mut nook, device) = nook_of(&[("poll", &body)], &ends, Budgets::default());
    nook.start().unwrap();
    for _ in 0..3 {
        let error = turn_until(&mut nook, |_| false).unwrap_err();
        assert!(nook.roll_back(&error).is_some(), "{error}");
        assert_eq!((nook.to_send(), ends.bytes()), (4, vec![]));
    }
    device.set_register(STATUS, 1);
    turn_until(&mut nook, |nook| nook.serial_counters().sent == 4).unwrap();
    assert_eq!(ends.bytes(), b"abcd");
}

#[test]
fn what_the_chip_held_when_a_driver_began_is_counted_until_it_is_read() {
    let ends = Shared::default();
    ends.with(|ends| ends.to_send.extend(b"a"));
    let two = "(call $serial_received (i32.const 1)) (call $serial_received (i32.const 2))";
    let first = format!("(if (call $times (i32.const 1)) (then {two} (call $poll_schedule (i32.const 0))");
    let body = format!("{OR_TRAP} {first}) (else (call $serial_received (i32.const 3)))) (i32.const 0)");
    let (mut nook, device) = nook_of(&[("poll", &body)], &ends, Budgets::default());
    nook.start().unwrap();
    turn_until(&mut nook, |_| false).unwrap_err();
    nook.end().unwrap();
    device.set_register(STATUS, 1);
    nook.restart().unwrap();
    turn_until(&mut nook, |_| ends.bytes().starts_with(&[1, 2, 3])).unwrap();
    assert_eq!(nook.serial_counters().held_by_chip, 2);
}

#[test]
fn what_is_left_when_the_port_is_shut_is_counted() {
    let ends = Shared::default();
    ends.with(|ends| {
        ends.full = true;
        ends.to_send.extend(b"abcd");
    });
    let mut nook = died_unheld(&ends);
    nook.shut().unwrap();
    let counters = *nook.serial_counters();
    assert_eq!((counters.in_doubt, counters.not_sent, counters.received, counters.not_passed_on), (1, 3, 1, 1));
}

#[test]
fn a_driver_that_is_restarted_fetches_again_what_had_not_reached_the_chip() {
    let ends = Shared::default();
    ends.with(|ends| ends.to_send.extend(b"abcd"));
    let mut nook = started(&[("poll", DIES)], &ends);
    turn_until(&mut nook, |_| false).unwrap_err();
    nook.end().unwrap();
    assert_eq!(nook.to_send(), 3);
    nook.restart().unwrap();
    assert_eq!((nook.to_send(), nook.serial_counters().in_doubt, ends.bytes()), (4, 0, vec![]));
}

#[test]
fn where_nothing_is_held_back_what_a_call_had_fetched_is_in_doubt_and_what_it_handed_over_counts() {
    let ends = Shared::default();
    ends.with(|ends| ends.to_send.extend(b"abcd"));
    let mut nook = died_unheld(&ends);
    nook.restart().unwrap();
    let counters = *nook.serial_counters();
    assert_eq!((nook.to_send(), counters.in_doubt, counters.sent, counters.received), (3, 1, 1, 1));
    assert_eq!(counters.held_by_chip, 0, "the chip had nothing");
}

#[test]
fn settings_are_set_before_the_driver_is_opened_and_again_after_a_restart() {
    let ends = Shared::default();
    let line = LineSettings { baud: 300, ..LineSettings::default() };
    ends.with(|ends| ends.wanted = PortSettings { line, control: control::DTR, flow: false });
    let told = "(call $serial_modem (i32.and (local.get $lines) (i32.const 15))) (i32.const 0)";
    let mut nook = started(&[("set_control", told)], &ends);
    assert_eq!(nook.line_settings(), line);
    turn_until(&mut nook, |_| ends.with(|ends| ends.modem == control::DTR)).unwrap();
    ends.with(|ends| ends.wanted.control = control::DTR | control::RTS);
    turn_until(&mut nook, |_| ends.with(|ends| ends.modem == control::DTR | control::RTS)).unwrap();
    nook.restart().unwrap();
    turn_until(&mut nook, |_| ends.with(|ends| ends.modem == control::DTR | control::RTS)).unwrap();
}

#[test]
fn what_the_driver_refuses_is_not_said_to_be_set_after_a_restart_either() {
    let ends = Shared::default();
    let refused = format!(
        "(if (i32.eq (local.get $baud) (i32.const 600)) (then (return (i32.const {})))) (i32.const 0)",
        Status::Unsupported.code()
    );
    let mut nook = started(&[("set_line", &refused)], &ends);
    let before = nook.line_settings();
    ends.with(|ends| ends.wanted.line.baud = 600);
    turn_until(&mut nook, |nook| nook.serial_counters().settings_refused == 1).unwrap();
    nook.restart().unwrap();
    turn_until(&mut nook, |nook| nook.serial_counters().settings == 4).unwrap();
    assert_eq!((nook.line_settings(), nook.serial_counters().settings_refused), (before, 1));
}

#[test]
fn a_change_at_which_the_driver_ends_is_made_by_the_next_one() {
    let ends = Shared::default();
    let set = format!("(if (i32.eq (local.get $baud) (i32.const 600)) (then {OR_TRAP})) (i32.const 0)");
    let (mut nook, device) = nook_of(&[("set_line", &set)], &ends, Budgets::default());
    nook.start().unwrap();
    ends.with(|ends| ends.wanted.line.baud = 600);
    turn_until(&mut nook, |_| false).unwrap_err();
    device.set_register(STATUS, 1);
    nook.restart().unwrap();
    turn_until(&mut nook, |nook| nook.line_settings().baud == 600).unwrap();
}

#[test]
fn a_change_of_settings_waits_for_what_was_to_be_sent_before() {
    let ends = Shared::default();
    let mut nook = started(&[], &ends);
    ends.with(|ends| {
        ends.to_send.extend(vec![7; 9000]);
        ends.wanted.line.baud = 1200;
    });
    turn_until(&mut nook, |nook| nook.line_settings().baud == 1200).unwrap();
    assert_eq!(nook.serial_counters().sent, 9000, "all that was written before");
    assert_eq!(nook.serial_counters().settings, 3);
}

#[test]
fn with_flow_control_nothing_is_sent_while_the_other_side_is_not_clear() {
    let ends = Shared::default();
    ends.with(|ends| {
        ends.wanted.flow = true;
        ends.to_send.extend(b"abc");
    });
    let limits = Budgets { transmit_ns: 20_000_000, ..Budgets::default() };
    let clears = format!("(call $serial_modem (i32.const {})) (i32.const 0)", modem::CTS);
    let mut nook = nook_with(
        &[("set_control", &clears), ("open", "(call $serial_modem (i32.const 0)) (i32.const 0)")],
        &ends,
        limits,
    );
    nook.start().unwrap();
    for _ in 0..20 {
        nook.turn(now_ns() + 5_000_000).unwrap();
    }
    assert_eq!(nook.serial_counters().sent, 0, "and that is no fault of the driver's");
    ends.with(|ends| ends.wanted.control = control::DTR);
    turn_until(&mut nook, |nook| nook.serial_counters().sent == 3).unwrap();
}

#[test]
fn what_waited_for_the_other_side_is_sent_as_soon_as_poll_finds_it_clear() {
    let ends = Shared::default();
    ends.with(|ends| {
        ends.wanted.flow = true;
        ends.to_send.extend(b"abc");
    });
    // Nothing else calls `poll` again within the test's time.
    let quiet = Budgets { quiet_ns: 3_600_000_000_000, ..Budgets::default() };
    let clears = format!(
        "(if (call $times (i32.const 1)) (then (call $serial_modem (i32.const {})) (return (i32.const 0))))
         (loop $more
            (br_if $more (i32.lt_u (call $serial_next) (i32.const 256))))
         (i32.const 0)",
        modem::CTS
    );
    let open = "(call $serial_modem (i32.const 0)) (call $poll_schedule (i32.const 0)) (i32.const 0)";
    let mut nook = nook_with(&[("open", open), ("poll", &clears)], &ends, quiet);
    nook.start().unwrap();
    turn_until(&mut nook, |nook| nook.serial_counters().sent == 3).unwrap();
}

#[test]
fn bytes_move_in_poll_alone() {
    let poll = nook_abi::Entry::Open as u64;
    let next = bad(Hostcall::SerialNext, "entry", poll, "bytes are sent in `poll`");
    assert_eq!(of("open", "(drop (call $serial_next)) (i32.const 0)"), next);
    let received = bad(Hostcall::SerialReceived, "entry", poll, "bytes are received in `poll`");
    assert_eq!(of("open", "(call $serial_received (i32.const 1)) (i32.const 0)"), received);
}

#[test]
fn what_is_no_byte_and_no_line_is_a_fault() {
    let call = Hostcall::SerialReceived;
    assert_eq!(
        of("poll", "(call $serial_received (i32.const 0x1000)) (i32.const 0)"),
        bad(call, "value", 0x1000, "unknown bits are set")
    );
    assert_eq!(
        of("poll", "(call $serial_received (i32.const 0x801)) (i32.const 0)"),
        bad(call, "value", 0x801, "a break is no byte")
    );
    let lines = bad(Hostcall::SerialModem, "lines", 16, "unknown bits are set");
    assert_eq!(of("open", "(call $serial_modem (i32.const 16)) (i32.const 0)"), lines);
}

#[test]
fn a_port_is_attached_once_in_probe_and_makes_sense() {
    let call = Hostcall::SerialAttach;
    let attach = |fifo: u32, baud: u32| format!("(call $serial_attach (i32.const {fifo}) (i32.const {baud}))");
    let twice = format!("(drop {}) {}", attach(1, 1), attach(1, 1));
    assert_eq!(of("probe", &twice), bad(call, "fifo_bytes", 1, "the port is attached already"));
    assert_eq!(of("probe", &attach(0, 1)), bad(call, "fifo_bytes", 0, "not 1 to 65536"));
    assert_eq!(of("probe", &attach(65_537, 1)), bad(call, "fifo_bytes", 65_537, "not 1 to 65536"));
    assert_eq!(of("probe", &attach(1, 0)), bad(call, "most_baud", 0, "a port has a rate"));
    let entry = nook_abi::Entry::Open as u64;
    assert_eq!(of("open", &attach(1, 1)), bad(call, "entry", entry, "the port is attached in `probe`"));
    let error = nook(&[("probe", "(i32.const 0)")], &Shared::default()).start().unwrap_err();
    assert!(matches!(error, NookError::AttachedNothing), "{error}");
}

#[test]
fn fault_beyond_budget() {
    let all = "(loop $more (call $serial_received (i32.const 1)) (br $more)) (i32.const 0)";
    let expected = SerialFault::BeyondBudget { budget: 64 };
    assert_eq!(of("poll", all), Fault::Class(ClassFault::Serial(expected)));
}

#[test]
fn fault_not_sent() {
    let ends = Shared::default();
    ends.with(|ends| ends.to_send.extend(b"abc"));
    let limits = Budgets { transmit_ns: 20_000_000, ..Budgets::default() };
    let mut nook = nook_with(&[("poll", "(i32.const 0)")], &ends, limits);
    nook.start().unwrap();
    match fault(turn_until(&mut nook, |_| false).unwrap_err()) {
        Fault::Class(ClassFault::Serial(SerialFault::NotSent { bytes, limit_ns })) => {
            assert_eq!(bytes, 3);
            assert!(limit_ns > 20_000_000, "with the time that two FIFOs take: {limit_ns}");
        }
        other => panic!("{other}"),
    }
}

/// Returns what comes of a driver of QEMU's pci-serial with this body of `open`.
fn of_ports(body: &str) -> Option<Fault> {
    let module = driver_of(&[("open", &format!("{body} (i32.const 0)"))], "1b36:0002", "uart16550");
    let maps = [&serial_regs::MAP];
    let mut builder = NookBuilder::of(&module, &maps);
    let window = builder.window().unwrap();
    let config = QemuConfig::new("pci-serial".parse().unwrap(), QemuNet::User { restrict: true });
    let device = QemuDevice::start(config, window).unwrap();
    let host = builder.host(Box::new(device)).unwrap();
    let launcher = WasmLauncher::new(module.into(), &ModuleCache::none(), Mmio::Emulated).unwrap();
    let mut nook = Nook::serial(host, Box::new(launcher), Shared::default());
    nook.start().err().map(fault)
}

#[test]
fn ports_are_reached_like_registers_and_no_others() {
    assert_eq!(of_ports("(call $mmio_write8 (i32.const 0) (i32.const 7) (i32.const 0xa5))"), None);
    for body in [
        "(drop (call $mmio_read8 (i32.const 0) (i32.const 8)))",
        "(drop (call $mmio_read8 (i32.const 1) (i32.const 0)))",
        "(drop (call $mmio_read16 (i32.const 0) (i32.const 0)))",
        "(drop (call $mmio_read32 (i32.const 0) (i32.const 4)))",
        "(drop (call $mmio_read64 (i32.const 0) (i32.const 0)))",
        "(call $mmio_write8 (i32.const 0) (i32.const 5) (i32.const 0))",
        "(call $mmio_write8 (i32.const 0) (i32.const -1) (i32.const 0))",
        "(call $mmio_write16 (i32.const 0) (i32.const 0) (i32.const 0))",
    ] {
        let fault = of_ports(body);
        assert!(matches!(fault, Some(Fault::RegisterForbidden { .. })), "{body}: {fault:?}");
    }
    let wide = of_ports("(call $mmio_write8 (i32.const 0) (i32.const 7) (i32.const 0x100))");
    assert!(matches!(wide, Some(Fault::BadArgument { argument: "value", value: 0x100, .. })), "{wide:?}");
}

#[test]
fn every_row_of_the_class_goes_wrong_above() {
    let rows: Vec<&str> = HOSTCALLS
        .iter()
        .filter(|row| row.class == Some(Class::Serial))
        .map(|row| row.name)
        .chain(ENTRIES.iter().filter(|row| row.class == Some(Class::Serial)).map(|row| row.name))
        .collect();
    assert_eq!(rows, ["serial_attach", "serial_next", "serial_received", "serial_modem", "set_line", "set_control"]);
}
