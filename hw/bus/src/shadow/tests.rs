//! What is restored, in which order, and when nothing is.

use super::*;
use crate::scripted::Scripted;

nook_regs::registers! {
    /// One of each.
    static MAP = "sample", bar 0, 0x100 bytes;
    /// Control.
    CTRL: u32 at 0x00, Rw, "1", write(Reset(CTRL::RST | CTRL::PART)), restore(ResetBy(CTRL::RST)) {
        /// Resets all.
        RST = 26,
        /// Resets something.
        PART = 31,
    }
    /// A counter.
    COUNT: u32 at 0x14, Ro, "2", read(ClearsAdd);
    /// Enables interrupts.
    ENABLE: u32 at 0x20, Rw, "3", restore(Mask);
    /// Disables them.
    DISABLE: u32 at 0x24, Wo, "3", restore(Quiet(0xff));
    /// A table.
    TABLE: [u32; 4; 4] at 0x30, Rw, "4", restore(Written);
    /// A doorbell.
    TAIL: u32 at 0x40, Rw, "5", write(Doorbell), restore(Written);
    /// Where the device is.
    HEAD: u32 at 0x44, Rw, "5", restore(Held);
    /// Turns it on.
    ON: u32 at 0x50, Rw, "6", restore(Switch), needs(Link(0x3)) {
        /// Receives.
        RX = 1,
    }
    /// Lets it see its link.
    LINK: u32 at 0x54, Rw, "6", needs(Open(0x40)), link(Set(0x2)) {
        /// It does.
        SEES = 6,
    }
    /// Something that takes commands.
    COMMAND: u32 at 0x60, Rw, "7", link(Clear(0x8));
}

fn device() -> (Shadowed, Scripted) {
    on(Clock::new_virtual())
}

fn on(clock: Clock) -> (Shadowed, Scripted) {
    let script = Scripted::default();
    (Shadowed::new(Box::new(script.clone()), &MAP, clock), script)
}

fn write(device: &mut Shadowed, offset: u32, value: u64) {
    device.bar_write(0, offset, Width::B4, value).unwrap();
}

/// From reset to a device that runs.
fn programmed() -> (Shadowed, Scripted) {
    let (mut device, script) = device();
    write(&mut device, 0x40, 99);
    write(&mut device, 0, CTRL::RST.into());
    write(&mut device, 0, 5);
    write(&mut device, 0x34, 1);
    write(&mut device, 0x60, 77);
    device.set_bus_master(true).unwrap();
    write(&mut device, 0x50, 3);
    write(&mut device, 0x40, 7);
    write(&mut device, 0x34, 2);
    (device, script)
}

#[test]
fn a_device_is_turned_off_reset_and_programmed_again_and_turned_on_last() {
    let (mut device, script) = programmed();
    script.answers(0x20, 0x11);
    script.answers(0x44, 4);
    let kept = device.capture().unwrap().unwrap();
    write(&mut device, 0x3c, 0xbad);
    write(&mut device, 0, 6);
    write(&mut device, 0x50, 1);
    script.seen();
    device.silence(&kept).unwrap();
    let off = ["0x24=0xff", "0x50=0x0", "flush"];
    let reset = ["bus master false", "0x0=0x4000005", "read 0x0"];
    assert_eq!(script.seen(), [&off[..], &reset, &off, &["read 0x14"]].concat());
    device.restore(&kept).unwrap();
    // In the order in which they were written last, then what the device had moved.
    let again = ["0x0=0x5", "0x40=0x7", "0x34=0x2", "0x20=0x11", "0x44=0x4", "bus master true", "0x50=0x3", "flush"];
    assert_eq!(script.seen(), again);
    script.answers(0x20, 0x11);
    script.answers(0x44, 4);
    assert_eq!(device.capture().unwrap(), Some(kept), "it is as it was kept");
}

#[test]
fn what_was_not_reset_or_reset_in_part_cannot_be_restored() {
    let (mut fresh, _) = device();
    write(&mut fresh, 0, 5);
    assert_eq!(fresh.capture().unwrap(), None, "nobody knows what it was before");
    let (mut device, _script) = programmed();
    write(&mut device, 0, CTRL::PART.into());
    assert_eq!(device.capture().unwrap(), None);
    write(&mut device, 0, CTRL::RST.into());
    write(&mut device, 0, 5);
    assert!(device.capture().unwrap().is_some());
    write(&mut device, 0, CTRL::RST.into());
    assert!(device.capture().unwrap().is_some(), "a reset is enough, if its register has no other use");
    device.forget();
    assert_eq!(device.capture().unwrap(), None, "another instance");
}

#[test]
fn a_reset_is_waited_for_as_long_as_the_driver_did_and_until_its_bit_is_clear() {
    let clock = Clock::new_virtual();
    let (mut device, script) = on(clock.clone());
    write(&mut device, 0, CTRL::RST.into());
    clock.charge(20_000_000);
    write(&mut device, 0, 5);
    let kept = device.capture().unwrap().unwrap();
    script.answers(0, u64::from(CTRL::RST));
    script.seen();
    let begin_ns = clock.now_ns();
    device.silence(&kept).unwrap();
    assert_eq!(clock.now_ns() - begin_ns, DRAIN_NS + 20_000_000 + LOOK_NS);
    let looks = script.seen().iter().filter(|seen| *seen == "read 0x0").count();
    assert_eq!(looks, 2);
}

#[test]
fn a_device_whose_reset_does_not_end_is_an_error() {
    let (mut device, script) = programmed();
    let kept = device.capture().unwrap().unwrap();
    (0..100_000).for_each(|_| script.answers(0, u64::from(CTRL::RST)));
    assert!(device.silence(&kept).is_err());
}

nook_regs::registers! {
    /// A device that does not say where it is.
    static BLIND = "blind", bar 0, 0x100 bytes;
    /// Control.
    CONTROL: u32 at 0x00, Rw, "1", write(Reset(1)), restore(ResetBy(1));
    /// Enables interrupts.
    UNMASKED: u32 at 0x20, Rw, "3", restore(Mask);
}

#[test]
fn a_device_has_not_moved_as_long_as_it_is_where_the_driver_set_it_to_begin() {
    let (mut device, script) = device();
    write(&mut device, 0, CTRL::RST.into());
    assert!(!device.has_not_moved().unwrap(), "nobody said where it begins: what it holds may be anything");
    write(&mut device, 0x44, 4);
    write(&mut device, 0x20, 1);
    write(&mut device, 0x20, 2);
    script.answers(0x20, 3);
    script.answers(0x44, 4);
    assert!(device.has_not_moved().unwrap(), "a mask is none of its moves");
    script.answers(0x44, 5);
    assert!(!device.has_not_moved().unwrap());
    write(&mut device, 0, CTRL::RST.into());
    script.answers(0x44, 4);
    assert!(!device.has_not_moved().unwrap(), "after a reset it was not told yet");
    let mut blind = Shadowed::new(Box::new(Scripted::default()), &BLIND, Clock::default());
    write(&mut blind, 0, 1);
    assert!(!blind.has_not_moved().unwrap(), "it moves somewhere else");
}

nook_regs::registers! {
    /// A device with two rings, of which a driver may leave one alone.
    static TWO = "two", bar 0, 0x100 bytes;
    /// Where it is in the first.
    FIRST: u32 at 0x44, Rw, "5", restore(Held);
    /// Where it is in the second.
    SECOND: u32 at 0x48, Rw, "5", restore(Held);
}

#[test]
fn a_ring_that_is_not_used_does_not_count_for_whether_a_device_has_moved() {
    let script = Scripted::default();
    let mut device = Shadowed::new(Box::new(script.clone()), &TWO, Clock::default());
    write(&mut device, 0x44, 4);
    let mut at = |first, second| {
        script.answers(0x44, first);
        script.answers(0x48, second);
        device.has_not_moved().unwrap()
    };
    assert!(at(4, 0));
    assert!(!at(4, 1), "it was not left alone");
}

#[test]
fn what_must_be_set_is_asked_for_while_it_counts_and_named() {
    let (mut device, script) = device();
    let mut lacks = |on: u64, link: u64, up: bool| {
        if up {
            script.answers(0x50, on);
        }
        if !up || on == 3 {
            script.answers(0x54, link);
        }
        let lack = device.lacks(up).unwrap();
        script.seen();
        lack.map(|lack| (lack.register.name, lack.bits, lack.field()))
    };
    assert_eq!(lacks(3, 0x40, true), None);
    assert_eq!(lacks(1, 0x41, true), Some(("ON", 2, Some("RX"))));
    assert_eq!(lacks(2, 0xff, true), Some(("ON", 1, None)), "a bit without a name");
    assert_eq!(lacks(0, 0x40, false), None, "without a link it may be off");
    assert_eq!(lacks(0, 0x3f, false), Some(("LINK", 0x40, Some("SEES"))));
    assert!(device.has_needs());
    assert!(!Shadowed::new(Box::new(Scripted::default()), &BLIND, Clock::new_virtual()).has_needs());
}

#[test]
fn what_passed_last_is_kept_of_each_register_until_another_instance_begins() {
    let (mut device, script) = programmed();
    script.answers(0x44, 6);
    script.answers(0x44, 7);
    device.bar_read(0, 0x44, Width::B4).unwrap();
    device.bar_read(0, 0x44, Width::B4).unwrap();
    device.bar_read(0, 0xc0, Width::B4).unwrap();
    script.refuses(0x20);
    device.bar_write(0, 0x20, Width::B4, 1).unwrap_err();
    device.reset().unwrap();
    let last = |device: &Shadowed| {
        let each = device.last_values().into_iter().map(|last| (last.place.offset, last.value, last.written));
        each.collect::<Vec<_>>()
    };
    let expected =
        [(0, 5, true), (0x34, 2, true), (0x40, 7, true), (0x44, 7, false), (0x50, 3, true), (0x60, 77, true)];
    assert_eq!(last(&device), expected, "in the order of the map, and nothing that is no register of it");
    device.begin();
    assert_eq!(last(&device), []);
}

#[test]
fn what_says_that_there_is_a_link_is_asked() {
    let (mut device, script) = device();
    let mut has_link = |link, command: Option<u64>| {
        script.answers(0x54, link);
        command.iter().for_each(|&value| script.answers(0x60, value));
        let (up, register) = device.has_link().unwrap().unwrap();
        script.seen();
        (up, register.name)
    };
    assert_eq!(has_link(0x2, Some(0)), (true, "COMMAND"));
    assert_eq!(has_link(0x2, Some(0x8)), (false, "COMMAND"));
    assert_eq!(has_link(0x40, None), (false, "LINK"));
    assert_eq!(Shadowed::new(Box::new(Scripted::default()), &BLIND, Clock::new_virtual()).has_link().unwrap(), None);
}
