//! Registers of each width with each effect, from the policy to the device: written, rolled back, restored from a
//! snapshot, and after a restart.

mod any;

use nook_abi::{Fault, Hostcall};
use nook_bus::scripted::Scripted;
use nook_bus::{Clock, DmaWindow, PciDevice, RegisterAddr};
use nook_regs::{
    Access, Bar, Bits, Guard, GuardRule, GuardState, ReadEffect, RegisterInfo, RegisterMap, Restore, Rule, Then, Width,
    WriteEffect,
};

use super::DeviceState;
use crate::Counters;
use crate::bars::CheckedBars;

const WIDTHS: [Width; 4] = [Width::B1, Width::B2, Width::B4, Width::B8];

/// Where the register is that each test is about.
const AT: u32 = 0x10;
/// A register that resets the device, where that one does not.
const CTRL: RegisterAddr = RegisterAddr { bar: 0, offset: 0, width: Width::B4 };
/// One that reading clears.
const CAUSES: RegisterAddr = RegisterAddr { bar: 0, offset: 0x20, width: Width::B4 };
const BAR: &[Bar] = &[Bar::memory(0, 0x40)];

/// One row of the table: what a register can be.
struct Effect {
    name: &'static str,
    /// Makes a plain register one of this kind.
    of: fn(RegisterInfo) -> RegisterInfo,
    /// The widths at which that is a register, and the rule that refuses it at others.
    widths: (&'static [Width], Option<Rule>),
}

const fn effect(name: &'static str, of: fn(RegisterInfo) -> RegisterInfo) -> Effect {
    Effect { name, of, widths: (&WIDTHS, None) }
}

const fn only(widths: &'static [Width], rule: Rule, effect: Effect) -> Effect {
    Effect { widths: (widths, Some(rule)), ..effect }
}

/// Accepts values of which each is one more than the last one, from 0 on.
const fn steps(busy: u64) -> Guard {
    const fn step(name: &'static str, rules: &'static [GuardRule]) -> GuardState {
        GuardState { name, count: 1, rules }
    }
    const fn only(values: &'static [u64]) -> GuardRule {
        GuardRule::when(Bits::new(0xff, values), Then::Next)
    }
    const STATES: &[GuardState] =
        &[step("0", &[only(&[1])]), step("1", &[only(&[2])]), step("2", &[only(&[3])]), step("3", &[])];
    Guard { never: &[], states: STATES, busy }
}

const EFFECTS: &[Effect] = &[
    effect("plain", |it| it),
    effect("posts only", |it| it.posts_only()),
    effect("read(ClearsOr)", |it| it.read(ReadEffect::ClearsOr)),
    effect("read(ClearsAdd)", |it| it.read(ReadEffect::ClearsAdd)),
    only(
        &[Width::B1, Width::B2, Width::B4],
        Rule::Pair,
        effect("read(ClearsPair)", |it| it.read(ReadEffect::ClearsPair)),
    ),
    effect("read(Pops)", |it| it.read(ReadEffect::Pops)),
    effect("read(Other)", |it| it.read(ReadEffect::Other)),
    effect("write(OneClears)", |it| it.read(ReadEffect::ClearsOr).write(WriteEffect::OneClears)),
    only(&[Width::B4, Width::B8], Rule::AddressWidth, effect("write(DmaBase)", |it| it.write(WriteEffect::DmaBase))),
    only(
        &[Width::B4, Width::B8],
        Rule::AddressWidth,
        effect("write(DmaBaseOrZero)", |it| it.write(WriteEffect::DmaBaseOrZero)),
    ),
    only(&[Width::B4], Rule::HighWidth, effect("write(DmaBaseHigh)", |it| it.write(WriteEffect::DmaBaseHigh))),
    effect("write(Doorbell)", |it| it.write(WriteEffect::Doorbell)),
    effect("write(Command)", |it| it.write(WriteEffect::Command)),
    effect("write(Reset)", |it| it.write(WriteEffect::Reset(0x80))),
    effect("guard", |it| it.guard(steps(0x0f))),
    effect("restore(Written)", |it| it.restore(Restore::Written)),
    effect("restore(Held)", |it| it.restore(Restore::Held)),
    effect("restore(Mask)", |it| it.restore(Restore::Mask)),
    effect("restore(Switch)", |it| it.restore(Restore::Switch)),
    effect("restore(Quiet)", |it| it.restore(Restore::Quiet(0xff))),
    effect("restore(ResetBy)", |it| it.write(WriteEffect::Reset(0x80)).restore(Restore::ResetBy(0x80))),
];

/// Returns a register of this kind and width, with what it needs around it.
fn map(effect: &Effect, width: Width) -> Result<RegisterMap, nook_regs::MapError> {
    let plain = |name, offset, width| RegisterInfo::declared(name, offset, width, 1, 0, Access::Rw, "");
    let it = (effect.of)(plain("IT", AT, width));
    let mut ctrl = plain("CTRL", CTRL.offset, CTRL.width).write(WriteEffect::Reset(1));
    if !matches!(it.restore, Restore::ResetBy(_)) {
        ctrl = ctrl.restore(Restore::ResetBy(1));
    }
    let causes = plain("CAUSES", CAUSES.offset, CAUSES.width).read(ReadEffect::ClearsOr);
    let mut registers = vec![ctrl, it, causes];
    if it.read == ReadEffect::ClearsPair {
        registers.push(plain("LOWER", AT - width.bytes(), width));
    }
    RegisterMap::new("sample", BAR, registers.leak())
}

/// A host's device with its window mapped, and the script behind it.
struct Rig {
    device: DeviceState,
    counters: Counters,
    script: Scripted,
    it: RegisterAddr,
}

impl Rig {
    fn new(map: RegisterMap, width: Width) -> Self {
        let script = Scripted::default();
        let window = DmaWindow::new(1).expect("memory for a window");
        let device: Box<dyn PciDevice> = Box::new(script.clone());
        let mut device = DeviceState::new(device, Box::leak(Box::new(map)), window, 64, 0, Clock::new_virtual());
        device.map_window().expect("a place for the window");
        script.seen();
        Rig { device, counters: Counters::default(), script, it: RegisterAddr { bar: 0, offset: AT, width } }
    }

    fn write(&mut self, at: RegisterAddr, value: u64) -> Result<(), Fault> {
        let mut bars = CheckedBars::of_device(&mut self.device, &mut self.counters);
        bars.write(Hostcall::MmioWrite32, at.bar.into(), at.offset, at.width, value)
    }

    fn read(&mut self, at: RegisterAddr) -> Result<u64, Fault> {
        let mut bars = CheckedBars::of_device(&mut self.device, &mut self.counters);
        bars.read(Hostcall::MmioRead32, at.bar.into(), at.offset, at.width)
    }

    /// Returns what a well-behaved driver writes to the register, and nothing that resets.
    fn value(&self, effect: &Effect) -> u64 {
        let window = self.device.seen_window().expect("it was mapped").first;
        match (effect.of)(RegisterInfo::declared("IT", AT, self.it.width, 1, 0, Access::Rw, "")).write {
            WriteEffect::DmaBase | WriteEffect::DmaBaseOrZero => window & self.it.width.all_ones(),
            WriteEffect::DmaBaseHigh => window >> 32,
            _ => 1,
        }
    }

    /// Returns what has reached the register since this was last asked.
    fn seen(&self) -> Vec<String> {
        let about = |seen: &String| seen.split([' ', '=']).any(|word| word == "0x10");
        self.script.seen().into_iter().filter(about).collect()
    }

    fn written(&self, value: u64) -> String {
        format!("0x10={value:#x}{}", self.after())
    }

    fn was_read(&self) -> String {
        format!("read 0x10{}", self.after())
    }

    fn after(&self) -> String {
        if self.it.width == Width::B4 { String::new() } else { format!(" {}", self.it.width) }
    }
}

/// Runs a test with each kind of register at each width.
fn each(test: impl Fn(&Effect, &mut Rig, &str)) {
    for effect in EFFECTS {
        for &width in effect.widths.0 {
            let map = map(effect, width).expect(effect.name);
            test(effect, &mut Rig::new(map, width), &format!("{}, {width}", effect.name));
        }
    }
}

#[test]
fn a_kind_of_register_that_cannot_have_a_width_is_refused_with_the_rule() {
    for effect in EFFECTS {
        for width in WIDTHS.into_iter().filter(|width| !effect.widths.0.contains(width)) {
            let error = map(effect, width).expect_err(effect.name);
            assert_eq!((error.register, Some(error.rule)), ("IT", effect.widths.1), "{}, {width}", effect.name);
        }
    }
}

#[test]
fn written() {
    each(|effect, rig, what| {
        let value = rig.value(effect);
        rig.write(rig.it, value).expect(what);
        assert_eq!(rig.seen(), [rig.written(value)], "{what}");
        if rig.it.width != Width::B8 {
            let above = rig.write(rig.it, rig.it.width.all_ones() + 1);
            assert!(matches!(above, Err(Fault::BadArgument { argument: "value", .. })), "{what}: {above:?}");
        }
        let wrong = match effect.name {
            "write(DmaBase)" | "write(DmaBaseOrZero)" => value - 1,
            "write(DmaBaseHigh)" | "guard" => 7,
            _ => return,
        };
        let refused = rig.write(rig.it, wrong);
        assert!(matches!(refused, Err(Fault::BadArgument { argument: "value", .. })), "{what}: {refused:?}");
        let width = rig.it.width;
        for other in WIDTHS.into_iter().filter(|&other| other != width) {
            let refused = rig.write(RegisterAddr { width: other, ..rig.it }, 0);
            assert!(matches!(refused, Err(Fault::RegisterForbidden { .. })), "{what} by {other}: {refused:?}");
        }
        assert!(rig.seen().is_empty(), "{what}: a write that was refused reached the device");
    });
}

#[test]
fn rolled_back() {
    each(|effect, rig, what| {
        let value = rig.value(effect);
        rig.device.device.begin();
        rig.write(rig.it, value).expect(what);
        let rolled_back = rig.device.device.abort().rolled_back;
        let command = effect.name == "write(Command)";
        let reached = if command { vec![rig.written(value)] } else { Vec::new() };
        assert_eq!((rig.seen(), rolled_back), (reached, !command), "{what}");
    });
}

#[test]
fn what_a_call_that_was_rolled_back_had_read_is_read_again() {
    each(|effect, rig, what| {
        if effect.name == "read(ClearsPair)" {
            return pairs(rig, what);
        }
        // Two values whose sum is above the highest.
        let (first, second) = (rig.it.width.all_ones() - 1, 3);
        rig.script.answers(AT, first);
        rig.script.answers(AT, second);
        rig.device.device.begin();
        assert_eq!(rig.read(rig.it), Ok(first), "{what}");
        let aborted = rig.device.device.abort();
        let (again, rolled_back, causes) = match effect.name {
            "read(ClearsOr)" | "write(OneClears)" => (first | second, true, true),
            "read(ClearsAdd)" => (rig.it.width.all_ones(), true, false),
            "read(Pops)" | "read(Other)" => (second, false, false),
            _ => (second, true, false),
        };
        assert_eq!((aborted.rolled_back, aborted.causes_owed), (rolled_back, causes), "{what}");
        if effect.name == "write(OneClears)" {
            rig.write(rig.it, 2).expect(what);
            assert_eq!(rig.read(rig.it), Ok((first & !2) | second), "{what}");
            return;
        }
        assert_eq!(rig.read(rig.it), Ok(again), "{what}");
        assert_eq!(rig.seen(), [rig.was_read(), rig.was_read()], "{what}");
    });
}

fn pairs(rig: &mut Rig, what: &str) {
    let lower = RegisterAddr { offset: AT - rig.it.width.bytes(), ..rig.it };
    for (low, high) in [(rig.it.width.all_ones(), 1), (1, 2)] {
        rig.script.answers(lower.offset, low);
        rig.script.answers(AT, high);
    }
    rig.device.device.begin();
    assert_eq!((rig.read(lower), rig.read(rig.it)), (Ok(rig.it.width.all_ones()), Ok(1)), "{what}");
    assert!(rig.device.device.abort().rolled_back, "{what}");
    assert_eq!((rig.read(lower), rig.read(rig.it)), (Ok(0), Ok(4)), "{what}: added with the carry");
}

#[test]
fn restored_from_a_snapshot() {
    each(|effect, rig, what| {
        let value = rig.value(effect);
        let resets = effect.name == "restore(ResetBy)";
        match resets {
            true => rig.write(rig.it, 0x80).expect(what),
            false => rig.write(CTRL, 1).expect(what),
        }
        rig.write(rig.it, value).expect(what);
        if matches!(effect.name, "restore(Held)" | "restore(Mask)") {
            rig.script.answers(AT, 0x21);
        }
        let kept = rig.device.capture().expect(what).expect(what);
        if effect.name != "guard" {
            rig.write(rig.it, value).expect(what);
        }
        rig.script.seen();
        rig.device.silence(&kept).expect(what);
        let silenced = rig.seen();
        rig.device.restore(&kept).expect(what);
        let (off, on) = match effect.name {
            "restore(Written)" => (vec![], vec![rig.written(value)]),
            "restore(Held)" | "restore(Mask)" => (vec![], vec![rig.written(0x21)]),
            "restore(Switch)" => (vec![rig.written(0); 2], vec![rig.written(value)]),
            "restore(Quiet)" => (vec![rig.written(0xff); 2], vec![]),
            "restore(ResetBy)" => (vec![rig.written(value | 0x80), rig.was_read()], vec![rig.written(value)]),
            "read(ClearsOr)" | "read(ClearsAdd)" | "read(ClearsPair)" | "write(OneClears)" => {
                (vec![rig.was_read()], vec![])
            }
            _ => (vec![], vec![]),
        };
        assert_eq!((silenced, rig.seen()), (off, on), "{what}");
    });
}

#[test]
fn a_part_that_was_reset_is_not_restored() {
    each(|effect, rig, what| {
        if effect.name == "write(Reset)" {
            rig.write(CTRL, 1).expect(what);
            rig.write(CTRL, 0).expect(what);
            assert!(rig.device.capture().expect(what).is_some(), "{what}");
            rig.write(rig.it, 0x81).expect(what);
            assert!(rig.device.capture().expect(what).is_none(), "{what}: nobody knows which registers that reset");
        }
    });
}

#[test]
fn after_a_restart() {
    each(|effect, rig, what| {
        let value = rig.value(effect);
        rig.write(CTRL, 1).expect(what);
        rig.write(rig.it, value).expect(what);
        rig.script.answers(AT, 0x35);
        rig.script.answers(CAUSES.offset, 1);
        rig.device.device.begin();
        assert_eq!((rig.read(rig.it), rig.read(CAUSES)), (Ok(0x35), Ok(1)), "{what}");
        rig.device.device.abort();
        // What a host does when an instance has ended, and before the next one.
        rig.device.policy.forget();
        rig.device.device.forget();
        rig.device.quiet().expect(what);
        rig.device.map_window().expect(what);
        rig.script.seen();
        rig.script.answers(AT, 0x35);
        rig.device.let_go().expect(what);
        if effect.name == "guard" {
            // Its bits were not at rest, and only they are changed.
            assert_eq!(rig.seen(), [rig.was_read(), rig.written(0x30)], "{what}");
            rig.script.answers(AT, 0x30);
            rig.device.let_go().expect(what);
            assert_eq!(rig.seen(), [rig.was_read()], "{what}: it rests");
            rig.write(rig.it, 1).expect("a guard begins again");
        } else {
            assert!(rig.seen().is_empty(), "{what}");
            assert_eq!(rig.read(rig.it), Ok(0x35), "{what}: nothing is owed to another instance");
        }
        assert_eq!(rig.read(CAUSES), Ok(0), "{what}");
        assert!(rig.device.capture().expect(what).is_none(), "{what}: the last instance's programming counts no more");
    });
}

#[test]
fn a_reset_at_any_width_ends_what_is_owed_and_what_guards_know() {
    for width in WIDTHS {
        let plain = |name, offset| RegisterInfo::declared(name, offset, width, 1, 0, Access::Rw, "");
        let registers = vec![
            plain("IT", AT).write(WriteEffect::Reset(0x80)).restore(Restore::ResetBy(0x80)),
            plain("CAUSES", CAUSES.offset).read(ReadEffect::ClearsOr),
            plain("PINS", 0x30).guard(steps(0)),
        ];
        let map = RegisterMap::new("sample", BAR, registers.leak()).expect("a map");
        let mut rig = Rig::new(map, width);
        let (causes, pins) =
            (RegisterAddr { offset: CAUSES.offset, ..rig.it }, RegisterAddr { offset: 0x30, ..rig.it });
        rig.script.answers(causes.offset, 1);
        rig.device.device.begin();
        assert_eq!(rig.read(causes), Ok(1));
        rig.device.device.abort();
        rig.write(pins, 1).expect("a first step");
        rig.write(rig.it, 0x80).expect("a reset");
        assert_eq!(rig.read(causes), Ok(0), "{width}");
        assert!(rig.write(pins, 2).is_err(), "{width}");
        rig.write(pins, 1).expect("the first step again");
        rig.write(rig.it, 1).expect("no reset");
        assert!(rig.device.capture().expect("an answer").is_some(), "{width}");
    }
}
