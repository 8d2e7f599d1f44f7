//! One map for each way to make no sense, and what is said of it.

use std::{string::String, string::ToString, vec::Vec};

use super::*;
use crate::{Access, Bits, Direction, Guard, GuardRule, GuardState, Never, Place, Ready, Then, Transfer};

const R: RegisterInfo = RegisterInfo::declared("R", 0, Width::B4, 1, 0, Access::Rw, "");
const BAR: &[Bar] = &[Bar::memory(0, 0x100)];
const HUGE: &[Bar] = &[Bar::memory(0, u32::MAX)];

const fn at(name: &'static str, offset: u32, width: Width) -> RegisterInfo {
    RegisterInfo::declared(name, offset, width, 1, 0, Access::Rw, "")
}

const fn array(count: u32, stride: u32) -> RegisterInfo {
    RegisterInfo::declared("R", 0, Width::B4, count, stride, Access::Rw, "")
}

const fn with(access: Access) -> RegisterInfo {
    RegisterInfo { access, ..R }
}

const fn field(name: &'static str, shift: u32, bits: u32) -> FieldInfo {
    FieldInfo { name, shift, bits }
}

const OTHERWISE: &[GuardRule] = &[GuardRule::otherwise(Then::Stay)];

const fn state(name: &'static str, rules: &'static [GuardRule]) -> GuardState {
    GuardState { name, count: 1, rules }
}

const fn machine(states: &'static [GuardState]) -> Guard {
    Guard { never: &[], states, busy: 0 }
}

/// Allows everything.
const fn any(busy: u64) -> Guard {
    const STATES: &[GuardState] = &[state("S", OTHERWISE)];
    Guard { busy, ..machine(STATES) }
}

const LENGTH: RegisterInfo = at("N", 4, Width::B1);
const ADDRESS: RegisterInfo = at("A", 8, Width::B8);
const TO_MEMORY: &[Direction] = &[Direction { now: Bits::ANY, places: &[Place::window("A")] }];

const fn moves(start: u64, directions: &'static [Direction]) -> RegisterInfo {
    R.transfer(Transfer { start, length: "N", address_bits: 64, directions })
}

/// Pops what `register` says is there.
const fn pops(register: &'static str, bits: u64) -> RegisterInfo {
    R.read(ReadEffect::Pops).ready(Ready { register, bits })
}

/// What is wrong with a popped register, but for the name of the one that says that there is something.
macro_rules! not_ready {
    ($register:literal) => {
        concat!(
            "register `R` is said to be ready by a register that is not there, is an array, cannot be read, has not ",
            "those bits, or is in another BAR; or it pops nothing: `",
            $register,
            "`"
        )
    };
}
const NOT_READY: &str = not_ready!("S");
const NOT_READY_OF_ITSELF: &str = not_ready!("R");
const NOT_READY_BITS: &str = not_ready!("N");

type Case = (Rule, &'static [Bar], &'static [RegisterInfo], &'static str);

/// The rule, the map that breaks it, and the message after `map `bad`: `.
const CASES: &[Case] = &[
    (Rule::Bars, &[BAR[0], BAR[0]], &[], "its BARs are not numbered 0 to 5, in order and each once"),
    (Rule::Bars, &[Bar::memory(6, 1)], &[], "its BARs are not numbered 0 to 5, in order and each once"),
    (
        Rule::Count,
        HUGE,
        &[array(MAX_REGISTERS + 1, 4)],
        "it has more than 32768 registers, counting each element of an array",
    ),
    (
        Rule::Count,
        HUGE,
        &[array(u32::MAX, 4), array(u32::MAX, 4)],
        "it has more than 32768 registers, counting each element of an array",
    ),
    (Rule::Name, BAR, &[at("", 0, Width::B4)], "it has a register without a name"),
    (Rule::NamedTwice, BAR, &[R, at("R", 4, Width::B4)], "register `R` has the name of another register"),
    (Rule::Bar, BAR, &[R.in_bar(1)], "register `R` is in a BAR that the map does not describe"),
    (Rule::Array, BAR, &[array(0, 4)], "register `R` is an array without elements, or whose elements overlap"),
    (Rule::Array, BAR, &[array(2, 0)], "register `R` is an array without elements, or whose elements overlap"),
    (Rule::Alignment, BAR, &[at("R", 2, Width::B4)], "register `R` is not aligned to its width"),
    (Rule::Alignment, BAR, &[array(2, 6)], "register `R` is not aligned to its width"),
    (Rule::End, BAR, &[at("R", 0x100, Width::B1)], "register `R` ends after its BAR"),
    (Rule::End, HUGE, &[array(4, 0x8000_0000)], "register `R` ends after its BAR"),
    (Rule::End, HUGE, &[at("R", u32::MAX - 3, Width::B4)], "register `R` ends after its BAR"),
    (Rule::Reach, HUGE, &[array(2, 16 << 20)], "register `R` ends more than 16 MiB after the start of its BAR"),
    (Rule::Overlap, BAR, &[array(4, 16), at("B", 0x32, Width::B2)], "register `B` shares a byte with `R`"),
    (Rule::Overlap, BAR, &[at("B", 7, Width::B1), at("R", 0, Width::B8)], "register `R` shares a byte with `B`"),
    (Rule::FieldOutside, BAR, &[R.fields(&[field("F", 31, 2)])], "register `R` is too narrow for its field `F`"),
    (Rule::FieldOutside, BAR, &[R.fields(&[field("F", 3, 0)])], "register `R` is too narrow for its field `F`"),
    (Rule::FieldOutside, BAR, &[R.fields(&[field("F", u32::MAX, 9)])], "register `R` is too narrow for its field `F`"),
    (
        Rule::FieldOverlap,
        BAR,
        &[R.fields(&[field("WHOLE", 0, 32), field("HALF", 16, 16)])],
        "register `R` shares a bit among its fields, by `HALF`",
    ),
    (
        Rule::Unreadable,
        BAR,
        &[with(Access::Wo).read(ReadEffect::Pops)],
        "register `R` cannot be read, and yet reading it has an effect",
    ),
    (
        Rule::Unreadable,
        BAR,
        &[with(Access::Forbidden).posts_only()],
        "register `R` cannot be read, and yet reading it has an effect",
    ),
    (
        Rule::HeldUp,
        BAR,
        &[with(Access::Wo).held_up(1)],
        "register `R` says that the device is held up, and is an array, lacks those bits, or cannot be read without effect",
    ),
    (
        Rule::HeldUp,
        BAR,
        &[with(Access::Ro).held_up(1 << 32)],
        "register `R` says that the device is held up, and is an array, lacks those bits, or cannot be read without effect",
    ),
    (
        Rule::Needs,
        BAR,
        &[at("R", 0, Width::B1).needs(Needs::Link(0x100))],
        "register `R` needs bits that it does not have, or none, or is an array, or cannot be read without effect",
    ),
    (
        Rule::Needs,
        BAR,
        &[with(Access::Rw).read(ReadEffect::ClearsOr).needs(Needs::Open(1))],
        "register `R` needs bits that it does not have, or none, or is an array, or cannot be read without effect",
    ),
    (
        Rule::Link,
        BAR,
        &[with(Access::Wo).link(LinkBits::Clear(1))],
        "register `R` tells of a link with bits that it does not have, or none, or is an array, or cannot be read without effect",
    ),
    (
        Rule::Unwritable,
        BAR,
        &[with(Access::Ro).write(WriteEffect::Doorbell)],
        "register `R` cannot be written, and yet writing it has an effect",
    ),
    (
        Rule::Unwritable,
        BAR,
        &[with(Access::Forbidden).restore(Restore::Quiet(1))],
        "register `R` cannot be written, and yet writing it has an effect",
    ),
    (
        Rule::Unwritable,
        BAR,
        &[with(Access::Ro).guard(any(0))],
        "register `R` cannot be written, and yet writing it has an effect",
    ),
    (
        Rule::Bits,
        BAR,
        &[R.write(WriteEffect::Reset(0))],
        "register `R` has an effect with bits that it does not have, or with none",
    ),
    (
        Rule::Bits,
        BAR,
        &[at("R", 0, Width::B1).write(WriteEffect::Reset(0x100))],
        "register `R` has an effect with bits that it does not have, or with none",
    ),
    (
        Rule::Bits,
        BAR,
        &[at("R", 0, Width::B2).restore(Restore::Quiet(0x1_0000))],
        "register `R` has an effect with bits that it does not have, or with none",
    ),
    (
        Rule::Bits,
        BAR,
        &[R.write(WriteEffect::Reset(1)).restore(Restore::ResetBy(0))],
        "register `R` has an effect with bits that it does not have, or with none",
    ),
    (
        Rule::Bits,
        BAR,
        &[R.guard(any(1 << 32))],
        "register `R` has an effect with bits that it does not have, or with none",
    ),
    (
        Rule::ResetNotNamed,
        BAR,
        &[R.restore(Restore::ResetBy(1))],
        "register `R` is restored by a reset that is no write effect of it",
    ),
    (
        Rule::ResetNotNamed,
        BAR,
        &[R.write(WriteEffect::Reset(2)).restore(Restore::ResetBy(3))],
        "register `R` is restored by a reset that is no write effect of it",
    ),
    (
        Rule::ReadBack,
        BAR,
        &[with(Access::Wo).restore(Restore::Held)],
        "register `R` must be read to be restored, and cannot be, or not without effect",
    ),
    (
        Rule::ReadBack,
        BAR,
        &[R.read(ReadEffect::ClearsOr).write(WriteEffect::Reset(1)).restore(Restore::ResetBy(1))],
        "register `R` must be read to be restored, and cannot be, or not without effect",
    ),
    (
        Rule::NotHeld,
        BAR,
        &[R.write(WriteEffect::OneClears).restore(Restore::Written)],
        "register `R` is restored although it does not hold what is written to it",
    ),
    (
        Rule::NotHeld,
        BAR,
        &[R.write(WriteEffect::Command).restore(Restore::Switch)],
        "register `R` is restored although it does not hold what is written to it",
    ),
    (
        Rule::RestoredUnchecked,
        BAR,
        &[R.write(WriteEffect::DmaBase).restore(Restore::Quiet(0xdead_0000))],
        "register `R` is restored with a write that its effect or its guard would have to check",
    ),
    (
        Rule::RestoredUnchecked,
        BAR,
        &[R.write(WriteEffect::Reset(1)).restore(Restore::Quiet(1))],
        "register `R` is restored with a write that its effect or its guard would have to check",
    ),
    (
        Rule::RestoredUnchecked,
        BAR,
        &[R.guard(any(0)).restore(Restore::Written)],
        "register `R` is restored with a write that its effect or its guard would have to check",
    ),
    (
        Rule::AddressWidth,
        BAR,
        &[at("R", 0, Width::B2).write(WriteEffect::DmaBase)],
        "register `R` holds an address that the device uses, and is not 32 or 64 bit wide",
    ),
    (
        Rule::HighWidth,
        BAR,
        &[at("R", 0, Width::B8).write(WriteEffect::DmaBaseHigh)],
        "register `R` holds the high half of an address, and is not 32 bit wide",
    ),
    (
        Rule::PortWidth,
        &[Bar::io(0, 0x100)],
        &[at("R", 8, Width::B8)],
        "register `R` is 64 bit wide, and its BAR is in I/O space",
    ),
    (Rule::Ready, BAR, &[pops("S", 1)], NOT_READY),
    (Rule::Ready, BAR, &[pops("R", 1)], NOT_READY_OF_ITSELF),
    (Rule::Ready, BAR, &[pops("N", 0), LENGTH], NOT_READY_BITS),
    (Rule::Ready, BAR, &[pops("N", 0x100), LENGTH], NOT_READY_BITS),
    (Rule::Ready, BAR, &[pops("N", 1), RegisterInfo { access: Access::Wo, ..LENGTH }], NOT_READY_BITS),
    (Rule::Ready, BAR, &[R.ready(Ready { register: "N", bits: 1 }), LENGTH], NOT_READY_BITS),
    (
        Rule::Pair,
        BAR,
        &[at("R", 8, Width::B8).read(ReadEffect::ClearsPair), at("L", 0, Width::B8)],
        "register `R` is the upper half of a counter whose lower half, as wide and without effect, does not lie before \
         it",
    ),
    (
        Rule::Pair,
        BAR,
        &[R.read(ReadEffect::ClearsPair)],
        "register `R` is the upper half of a counter whose lower half, as wide and without effect, does not lie before \
         it",
    ),
    (
        Rule::Pair,
        BAR,
        &[at("R", 4, Width::B4).read(ReadEffect::ClearsPair), at("L", 2, Width::B2)],
        "register `R` is the upper half of a counter whose lower half, as wide and without effect, does not lie before \
         it",
    ),
    (
        Rule::CounterBits,
        BAR,
        &[R.read(ReadEffect::ClearsAdd).write(WriteEffect::OneClears)],
        "register `R` is a counter, and yet its bits are cleared one by one",
    ),
    (
        Rule::GuardBusy,
        BAR,
        &[with(Access::Wo).guard(any(1))],
        "register `R` has bits that are let go of before a driver begins, and does not read without effect what it was \
         given",
    ),
    (
        Rule::GuardBusy,
        BAR,
        &[R.write(WriteEffect::OneClears).guard(any(1))],
        "register `R` has bits that are let go of before a driver begins, and does not read without effect what it was \
         given",
    ),
    (
        Rule::GuardStates,
        BAR,
        &[R.guard(machine(&[]))],
        "register `R` has a guard without states, with more than 256, or with a state that has no name, another's, or no \
         repetition",
    ),
    (
        Rule::GuardStates,
        BAR,
        &[R.guard(machine(&[state("", OTHERWISE)]))],
        "register `R` has a guard without states, with more than 256, or with a state that has no name, another's, or no \
         repetition",
    ),
    (
        Rule::GuardStates,
        BAR,
        &[R.guard(machine(&[GuardState { count: 0, ..state("S", OTHERWISE) }]))],
        "register `R` has a guard without states, with more than 256, or with a state that has no name, another's, or no \
         repetition `S`",
    ),
    (
        Rule::GuardStates,
        BAR,
        &[R.guard(machine(&[state("S", OTHERWISE), state("S", OTHERWISE)]))],
        "register `R` has a guard without states, with more than 256, or with a state that has no name, another's, or no \
         repetition `S`",
    ),
    (
        Rule::GuardStates,
        BAR,
        &[R.guard(machine(&[state("S", OTHERWISE); 257]))],
        "register `R` has a guard without states, with more than 256, or with a state that has no name, another's, or no \
         repetition",
    ),
    (
        Rule::GuardBits,
        BAR,
        &[R.guard(Guard { never: &[Never { now: Bits::new(1 << 32, &[0]), why: "" }], ..any(0) })],
        "register `R` has a guard that compares bits that the register does not have, or with values that they cannot \
         have",
    ),
    (
        Rule::GuardBits,
        BAR,
        &[R.guard(machine(&[state("S", &[GuardRule::when(Bits::new(2, &[1]), Then::Stay)])]))],
        "register `R` has a guard that compares bits that the register does not have, or with values that they cannot \
         have `S`",
    ),
    (
        Rule::GuardBits,
        BAR,
        &[R.guard(machine(&[state("S", &[GuardRule::when(Bits::new(2, &[]), Then::Stay)])]))],
        "register `R` has a guard that compares bits that the register does not have, or with values that they cannot \
         have `S`",
    ),
    (
        Rule::GuardBits,
        BAR,
        &[R.guard(machine(&[state("S", &[GuardRule::otherwise(Then::Stay).after(Bits::new(1 << 32, &[0]))])]))],
        "register `R` has a guard that compares bits that the register does not have, or with values that they cannot \
         have `S`",
    ),
    (
        Rule::GuardNext,
        BAR,
        &[R.guard(machine(&[state("S", &[GuardRule::otherwise(Then::Next)])]))],
        "register `R` has a guard that goes on to a state that there is not, from its state `S`",
    ),
    (
        Rule::GuardNext,
        BAR,
        &[R.guard(machine(&[state("S", &[GuardRule::otherwise(Then::To(1))])]))],
        "register `R` has a guard that goes on to a state that there is not, from its state `S`",
    ),
    (
        Rule::GuardBeginning,
        BAR,
        &[R.guard(machine(&[state("S", &[GuardRule::otherwise(Then::Stay).after(Bits::new(1, &[0]))])]))],
        "register `R` has a guard that asks for the value before when none is known yet, in its first state `S`",
    ),
    (
        Rule::TransferStart,
        BAR,
        &[moves(1, TO_MEMORY).posts_only(), LENGTH, ADDRESS],
        "register `R` starts transfers, and is an array, or has an effect, a guard or a restore, or cannot be asked \
         whether one is over",
    ),
    (
        Rule::TransferStart,
        BAR,
        &[RegisterInfo { access: Access::Wo, ..moves(1, TO_MEMORY) }, LENGTH, ADDRESS],
        "register `R` starts transfers, and is an array, or has an effect, a guard or a restore, or cannot be asked \
         whether one is over",
    ),
    (
        Rule::TransferBits,
        BAR,
        &[moves(0, TO_MEMORY), LENGTH, ADDRESS],
        "register `R` starts transfers with bits that it does not have, in no direction, or with a place that is none",
    ),
    (
        Rule::TransferBits,
        BAR,
        &[moves(1, &[]), LENGTH, ADDRESS],
        "register `R` starts transfers with bits that it does not have, in no direction, or with a place that is none",
    ),
    (
        Rule::TransferBits,
        BAR,
        &[moves(1, &[Direction { now: Bits::ANY, places: &[Place::device("A", 2, 1)] }]), LENGTH, ADDRESS],
        "register `R` starts transfers with bits that it does not have, in no direction, or with a place that is none `A`",
    ),
    (
        Rule::TransferRegister,
        BAR,
        &[moves(1, TO_MEMORY), ADDRESS],
        "register `R` starts transfers with what is in a register that is not there, is an array, is not written, has an \
         effect, a guard or a restore, or is too narrow for an address: `N`",
    ),
    (
        Rule::TransferRegister,
        BAR,
        &[moves(1, TO_MEMORY), LENGTH, at("A", 8, Width::B2)],
        "register `R` starts transfers with what is in a register that is not there, is an array, is not written, has an \
         effect, a guard or a restore, or is too narrow for an address: `A`",
    ),
    (
        Rule::TransferRegister,
        BAR,
        &[moves(1, TO_MEMORY), LENGTH, ADDRESS.restore(Restore::Written)],
        "register `R` starts transfers with what is in a register that is not there, is an array, is not written, has an \
         effect, a guard or a restore, or is too narrow for an address: `A`",
    ),
    (
        Rule::TransferRegister,
        BAR,
        &[moves(1, &[Direction { now: Bits::ANY, places: &[Place::window("R")] }]), LENGTH],
        "register `R` starts transfers with what is in a register that is not there, is an array, is not written, has an \
         effect, a guard or a restore, or is too narrow for an address: `R`",
    ),
];

#[test]
fn a_map_that_makes_no_sense_is_refused_with_its_register_and_the_rule() {
    for &(rule, bars, registers, says) in CASES {
        let error = RegisterMap::new("bad", bars, registers).expect_err(says);
        assert_eq!((error.rule, error.to_string()), (rule, ["map `bad`: ", says].concat()));
    }
    let untried: Vec<_> = Rule::ALL.iter().filter(|rule| CASES.iter().all(|case| case.0 != **rule)).collect();
    assert!(untried.is_empty(), "no case breaks {untried:?}");
}

#[test]
fn a_static_map_is_refused_with_the_same_words() {
    for &(rule, bars, registers, says) in CASES {
        let panic = std::panic::catch_unwind(|| RegisterMap::checked("bad", bars, registers)).expect_err(says);
        assert_eq!(panic.downcast_ref::<String>().unwrap(), &["map `bad`: ", says].concat(), "{rule:?}");
    }
}

#[test]
fn what_is_near_to_nonsense_and_makes_sense_is_a_map() {
    const SENSIBLE: &[&[RegisterInfo]] = &[
        &[],
        &[array(MAX_REGISTERS, 4)],
        &[array(4, 8), RegisterInfo { name: "BETWEEN", offset: 4, ..array(4, 8) }],
        &[RegisterInfo { count: 1, stride: 4, offset: (16 << 20) - 4, ..R }],
        &[at("R", 0, Width::B8).fields(&[field("ALL", 0, 64)])],
        &[with(Access::Forbidden), at("B", 4, Width::B1)],
        &[at("R", 0, Width::B8).write(WriteEffect::Reset(1 << 63)).restore(Restore::ResetBy(1 << 63))],
        &[at("L", 2, Width::B2), at("R", 4, Width::B2).read(ReadEffect::ClearsPair)],
        &[with(Access::Wo).restore(Restore::Quiet(u32::MAX as u64))],
        &[with(Access::Wo).write(WriteEffect::Command).guard(any(0))],
        &[moves(1, TO_MEMORY), RegisterInfo { access: Access::Wo, ..LENGTH }, ADDRESS],
    ];
    for registers in SENSIBLE {
        RegisterMap::new("good", HUGE, registers).unwrap();
    }
}
