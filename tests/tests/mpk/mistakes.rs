//! What else a driver can do wrong: each ends its call with its fault, and the thread is as before.

use std::arch::asm;
use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;

use e1000_regs::{FCT, TIPG, VET};
use hostile_domain::{USED, wrong};
use nook_abi::{Fault, Hostcall, TrapKind};
use nook_mpk::MpkLauncher;
use nook_runtime::{Budgets, Revoker};
use nook_tests::BareDeviceHandle;

use crate::rig::{
    alone, begin, ends, host, host_with, is_long, is_over_budget, launched, launcher, mappings, polled, tell, trap,
    works,
};

/// What calls may not change: flags, control words and which x87 registers are in use.
#[derive(Debug, PartialEq, Eq)]
struct Control {
    flags: u64,
    mxcsr: u32,
    x87: [u16; 3],
}

fn control() -> Control {
    const DIRECTION_AND_ALIGNMENT: u64 = 0x4_0400;
    /// Without the bits that say what has happened.
    const SSE_CONTROL: u32 = 0xffc0;
    let flags: u64;
    let (mut mxcsr, mut environment) = (0u32, [0u16; 14]);
    // SAFETY: registers are read; the environment is put back, for reading it masks exceptions.
    unsafe {
        asm!("pushfq", "pop {}", out(reg) flags);
        asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr);
        asm!("fnstenv [{0}]", "fldenv [{0}]", in(reg) environment.as_mut_ptr());
    }
    let [control, _, _, _, tags, ..] = environment;
    Control { flags: flags & DIRECTION_AND_ALIGNMENT, mxcsr: mxcsr & SSE_CONTROL, x87: [control, tags, 0] }
}

#[test]
fn each_way_to_go_wrong_ends_the_call_with_its_fault_and_the_thread_is_as_before() {
    let _alone = alone();
    let Some(launcher) = launcher() else { return };
    let before = control();
    let illegal = trap(TrapKind::Unreachable);
    let outside = trap(TrapKind::MemoryOutOfBounds);
    let overflow = trap(TrapKind::StackOverflow);
    let cases = [
        (wrong::NOTHING, Ok(())),
        (wrong::ILLEGAL, illegal),
        (wrong::PANICS, illegal),
        (wrong::DIVIDES, trap(TrapKind::Arithmetic)),
        (wrong::RECURSES, overflow),
        (wrong::LONG_FRAME, overflow),
        (wrong::CALLS_WITHOUT_STACK, overflow),
        (wrong::ILLEGAL_WITHOUT_STACK, illegal),
        (wrong::JUMPS, outside),
        (wrong::JUMPS_TO_STACK, outside),
        (wrong::COPIES, Ok(())),
        (wrong::MESSES, Ok(())),
        (wrong::ASKS_IN_DISORDER, Ok(())),
        (wrong::ILLEGAL_IN_DISORDER, illegal),
    ];
    for (wrong, ended) in cases.into_iter().chain(cases) {
        assert_eq!(ends(&launcher, wrong, 0x10), ended, "{wrong}");
        assert_eq!(control(), before, "{wrong}");
        let third = black_box(1.0f64) / black_box(3.0);
        assert_eq!(third.to_bits(), 0x3fd5_5555_5555_5555, "{wrong}: no exception, and rounded as before");
    }
}

#[test]
fn what_it_asks_for_behind_a_key_is_checked_as_for_every_driver() {
    let _alone = alone();
    let Some(launcher) = launcher() else { return };
    let bad = ends(&launcher, wrong::ASKS_WRONGLY, 0);
    assert!(matches!(bad, Err(Fault::BadArgument { call: Hostcall::PollSchedule, value: 99, .. })), "{bad:?}");
    let elsewhere = ends(&launcher, wrong::ASKS_ELSEWHERE, 0);
    assert!(matches!(elsewhere, Err(Fault::WrongContext { call: Hostcall::NetAttach, .. })), "{elsewhere:?}");
    let before = control();
    assert_eq!(ends(&launcher, wrong::ASKS_WRONGLY, 0), bad);
    assert_eq!(control(), before);
}

#[test]
fn a_call_that_does_not_end_is_ended_whether_it_asks_or_not_and_whatever_its_registers_are() {
    let _alone = alone();
    let Some(launcher) = launcher() else { return };
    let before = control();
    for wrong in [wrong::SPINS, wrong::ASKS, wrong::SPINS_IN_DISORDER, wrong::SPINS_WITHOUT_STACK] {
        let ended = ends(&launcher, wrong, 0);
        assert!(is_over_budget(ended), "{wrong}: {ended:?}");
        assert_eq!(control(), before, "{wrong}");
    }
}

static STORED: AtomicU32 = AtomicU32::new(0);

extern "C" fn stores_first() {
    STORED.fetch_add(1, Ordering::Relaxed);
}

extern "C" fn only_looks() -> u32 {
    STORED.load(Ordering::Relaxed)
}

#[test]
fn a_jump_to_a_function_of_the_hosts_ends_the_call_where_it_stores_something() {
    let _alone = alone();
    let Some(launcher) = launcher() else { return };
    let ended = ends(&launcher, wrong::JUMPS, stores_first as *const () as u64);
    assert_eq!(ended, trap(TrapKind::MemoryOutOfBounds));
    assert_eq!(STORED.load(Ordering::Relaxed), 0);
    assert_eq!(ends(&launcher, wrong::JUMPS, only_looks as *const () as u64), Ok(()), "that by itself is no fault");
}

/// What a driver stores to once its jump has come back: it may not.
static BESIDE: AtomicU64 = AtomicU64::new(7);

/// Returns how a poll ends in which the driver jumps there, with zeros where gates expect their context, and then
/// stores to what is the host's. The place is found in the gates of that instance.
fn jumps(launcher: &MpkLauncher, place: &dyn Fn(&[u8], u64) -> u64) -> Result<(), Fault> {
    let (host, handle) = host(wrong::NOTHING, 0);
    let mut driver = launched(launcher, host);
    let page = driver.host_page() as u64;
    let all: Vec<_> = mappings().into_iter().filter(|one| one.name.contains("nook-domain")).collect();
    let key = all.iter().find(|one| (one.begin..one.end).contains(&page)).unwrap().key;
    let own = || all.iter().filter(|one| one.key == key);
    // First the code, then the gates, of which this thread has no rights to read a byte: the host's view has them too.
    let gates = own().rfind(|one| one.access.contains('x')).unwrap();
    let view = all.iter().find(|one| one.key == 0).unwrap();
    let at = view.begin + gates.begin - own().next().unwrap().begin;
    // SAFETY: mapped as long as the driver, and nobody writes there.
    let bytes = unsafe { std::slice::from_raw_parts(at as *const u8, (gates.end - gates.begin) as usize) };
    tell(&handle, wrong::JUMPS_WITH_ZEROS, place(bytes, gates.begin));
    let beside = &raw const BESIDE as u64;
    handle.set_register(FCT.offset().into(), beside as u32);
    handle.set_register(VET.offset().into(), (beside >> 32) as u32);
    begin(&mut *driver);
    polled(driver)
}

/// Bytes of one gate.
const GATE_BYTES: usize = 32;

/// Returns where the gate with this number leads to.
fn target(gates: &[u8], index: usize) -> u64 {
    let at = index * GATE_BYTES + 24;
    u64::from_le_bytes(gates[at..at + 8].try_into().unwrap())
}

/// Returns where the last gate leads to: the way out.
fn last(gates: &[u8]) -> u64 {
    let used = gates.chunks(GATE_BYTES).take_while(|gate| gate[..2] == [0x49, 0xbb]).count();
    target(gates, used - 1)
}

/// Returns where the instructions are that change rights, of all the ways between host and driver.
fn changes_of_rights(gates: &[u8]) -> Vec<u64> {
    /// The ways are beside each other, and shorter.
    const AROUND: u64 = 0x200;
    const WRPKRU: [u8; 3] = [0x0f, 0x01, 0xef];
    let (hostcall, leave) = (target(gates, 0), last(gates));
    let (begin, end) = (hostcall.min(leave) - AROUND, hostcall.max(leave) + AROUND);
    // SAFETY: this program's code, of which there is more on either side.
    let code = unsafe { std::slice::from_raw_parts(begin as *const u8, (end - begin) as usize) };
    let found = code.windows(3).enumerate().filter(|(_, bytes)| *bytes == WRPKRU);
    found.map(|(at, _)| begin + at as u64).collect()
}

#[test]
fn a_jump_to_an_instruction_that_changes_rights_ends_the_call_and_no_store_follows() {
    let _alone = alone();
    let Some(launcher) = launcher() else { return };
    let mut ways = 0;
    for index in 0.. {
        let is_there = Cell::new(false);
        let place = |gates: &[u8], _: u64| {
            let found = changes_of_rights(gates).get(index).copied();
            is_there.set(found.is_some());
            found.unwrap_or(0)
        };
        let ended = jumps(&launcher, &place);
        assert!(ended.is_err() && BESIDE.load(Ordering::Relaxed) == 7, "the {index}th: {ended:?}");
        if !is_there.get() {
            break;
        }
        ways = index + 1;
    }
    // Into a call, out of it, and into and out of a hostcall.
    assert_eq!(ways, 4);
    works(&launcher);
}

#[test]
fn a_jump_to_a_gate_or_into_the_middle_of_one_gives_no_rights_and_the_call_ends() {
    let _alone = alone();
    let Some(launcher) = launcher() else { return };
    /// What gates lead to is no longer.
    const WAY_BYTES: u64 = 0x120;
    let mut tried = 0;
    let mut try_it = |what: String, place: &dyn Fn(&[u8], u64) -> u64| {
        // It may even return to its host, which is no harm.
        let ended = jumps(&launcher, place);
        assert_eq!(BESIDE.load(Ordering::Relaxed), 7, "{what}: {ended:?}");
        tried += 1;
    };
    for byte in [5, 10, 12, 15] {
        try_it(format!("gate + {byte}"), &|_, at| at + byte);
    }
    // The bytes of what gates lead to: among them the instructions that change rights, of three bytes, and all that
    // follow.
    let step = if is_long() { 1 } else { 3 };
    for byte in (0..WAY_BYTES).step_by(step) {
        try_it(format!("hostcall + {byte:#x}"), &|gates, _| target(gates, 0) + byte);
        try_it(format!("leave + {byte:#x}"), &|gates, _| last(gates) + byte);
    }
    println!("{tried} jumps");
    works(&launcher);
}

/// How a poll ends that uses registers for ever, when this is done to its device meanwhile.
fn uses_registers(launcher: &MpkLauncher, act: impl FnOnce(&BareDeviceHandle, &Revoker) + Send) -> Result<(), Fault> {
    const PATIENT_NS: u64 = 60_000_000_000;
    let budgets = Budgets { atomic_cpu_ns: PATIENT_NS, short_wall_ns: PATIENT_NS, ..Budgets::default() };
    let (host, handle) = host_with(budgets, wrong::USES_REGISTERS, 0);
    let revoker = host.revoker();
    let mut driver = launched(launcher, host);
    begin(&mut *driver);
    let is_used = || handle.register(TIPG.offset().into()) & USED != 0;
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_used() {
                thread::yield_now();
            }
            act(&handle, &revoker);
        });
        driver.poll(0, 64, 0).map(drop)
    });
    // Nothing can be asked of a device that is gone, its reset neither.
    drop(driver.end());
    outcome
}

#[test]
fn registers_that_vanish_or_are_taken_away_in_the_middle_of_a_call_end_it() {
    let _alone = alone();
    let Some(launcher) = launcher() else { return };
    for _ in 0..20 {
        let gone = uses_registers(&launcher, |device, _| device.vanish());
        assert_eq!(gone, Err(Fault::DeviceGone));
        let taken = uses_registers(&launcher, |_, revoker| revoker.revoke());
        assert_eq!(taken, Err(Fault::Revoked));
    }
    works(&launcher);
}
