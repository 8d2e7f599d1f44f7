//! Each point at which writes are released, and each rule by which what was read is given back.

use super::*;
use crate::scripted::Scripted;

type Transactional = super::Transactional<Box<dyn PciDevice>>;

nook_regs::registers! {
    /// One of each.
    static MAP = "sample", bar 0, 0x100 bytes;
    /// Control.
    CTRL: u32 at 0x00, Rw, "1", write(Reset(CTRL::RST)) {
        /// Reset.
        RST = 26,
    }
    /// Status.
    STATUS: u32 at 0x08, Ro, "2", posts_only();
    /// Causes.
    CAUSES: u32 at 0x10, Rw, "3", read(ClearsOr), write(OneClears);
    /// A counter.
    COUNT: u32 at 0x14, Ro, "4", read(ClearsAdd);
    /// A narrow counter.
    NARROW: u16 at 0x18, Ro, "5", read(ClearsAdd);
    /// Lower half.
    OCTETS_LOW: u32 at 0x20, Ro, "6";
    /// Upper half.
    OCTETS_HIGH: u32 at 0x24, Ro, "6", read(ClearsPair);
    /// A queue.
    QUEUE: u32 at 0x28, Ro, "7", read(Pops);
    /// Holds its value.
    HOLDS: u32 at 0x30, Rw, "8";
    /// A doorbell.
    TAIL: u32 at 0x34, Rw, "9", write(Doorbell);
    /// Takes orders.
    ORDERS: u32 at 0x38, Rw, "10", write(Command);
    /// Several.
    SLOTS: [u32; 4; 4] at 0x50, Rw, "11";
}

fn device() -> (Transactional, Scripted) {
    let script = Scripted::default();
    (Transactional::new(Box::new(script.clone()), &MAP), script)
}

fn write(device: &mut Transactional, offset: u32, value: u64) {
    device.bar_write(0, offset, Width::B4, value).unwrap();
}

fn read(device: &mut Transactional, offset: u32) -> u64 {
    device.bar_read(0, offset, Width::B4).unwrap()
}

/// Why the open transaction cannot be rolled back.
fn said(device: &Transactional) -> String {
    device.irreversible().expect("a reason").to_string()
}

/// Reads a register in a call that is then aborted.
fn read_in_vain(device: &mut Transactional, offset: u32) -> (u64, Aborted) {
    device.begin();
    let value = read(device, offset);
    (value, device.abort())
}

const ROLLED_BACK: Aborted = Aborted { rolled_back: true, causes_owed: false };

#[test]
fn outside_a_transaction_everything_passes_straight_through() {
    let (mut device, script) = device();
    script.answers(0x30, 7);
    write(&mut device, 0x30, 1);
    assert_eq!(read(&mut device, 0x30), 7);
    device.flush().unwrap();
    assert_eq!(script.seen(), ["0x30=0x1", "read 0x30", "flush"]);
    assert!(!device.is_open() && !device.can_roll_back());
}

#[test]
fn writes_are_held_back_until_commit_and_come_in_order() {
    let (mut device, script) = device();
    device.begin();
    write(&mut device, 0x30, 1);
    write(&mut device, 0x34, 2);
    write(&mut device, 0x30, 3);
    assert!(script.seen().is_empty());
    assert!(device.can_roll_back());
    device.commit().unwrap();
    assert_eq!(script.seen(), ["0x30=0x1", "0x34=0x2", "0x30=0x3"]);
    assert!(!device.is_open());
}

#[test]
fn an_aborted_call_has_written_nothing() {
    let (mut device, script) = device();
    device.begin();
    write(&mut device, 0x34, 2);
    assert_eq!(device.abort(), ROLLED_BACK);
    device.begin();
    device.commit().unwrap();
    assert!(script.seen().is_empty());
}

#[test]
fn a_command_has_been_carried_out_when_its_write_is_over() {
    let (mut device, script) = device();
    write(&mut device, 0x38, 1);
    assert_eq!(script.seen(), ["0x38=0x1", "flush"]);
    device.begin();
    write(&mut device, 0x30, 2);
    write(&mut device, 0x38, 3);
    assert_eq!(script.seen(), ["0x30=0x2", "0x38=0x3", "flush"]);
    assert_eq!(said(&device), "ORDERS was written, which the device obeys at once");
    assert!(!device.abort().rolled_back, "it cannot be rolled back");
}

#[test]
fn what_could_tell_that_writes_are_held_back_releases_them() {
    type Step = fn(&mut Transactional);
    let steps: [(&str, Step, &str); 8] = [
        ("read 0x30", |device| drop(device.bar_read(0, 0x30, Width::B4)), "HOLDS was read after HOLDS was written"),
        ("read 0x10", |device| drop(device.bar_read(0, 0x10, Width::B4)), "CAUSES was read after HOLDS was written"),
        (
            "read 0x18 16 bit",
            |device| drop(device.bar_read(0, 0x18, Width::B2)),
            "NARROW was read after HOLDS was written",
        ),
        (
            "read 0x40",
            |device| drop(device.bar_read(0, 0x40, Width::B4)),
            "BAR 0 0x40 was read after HOLDS was written",
        ),
        (
            "read 0x30",
            |device| drop(device.bar_read(1, 0x30, Width::B4)),
            "BAR 1 0x30 was read after HOLDS was written",
        ),
        ("read 0x5c", |device| drop(device.bar_read(0, 0x5c, Width::B4)), "SLOTS[3] was read after HOLDS was written"),
        ("flush", |device| device.flush().unwrap(), "writes were flushed after HOLDS was written"),
        (
            "config read",
            |device| drop(device.config_read(0, Width::B2)),
            "configuration space was read after HOLDS was written",
        ),
    ];
    for (what, step, why) in steps {
        let (mut device, script) = device();
        device.begin();
        write(&mut device, 0x30, 1);
        write(&mut device, 0x34, 1);
        assert_eq!(device.irreversible(), None);
        step(&mut device);
        assert_eq!(said(&device), why);
        assert_eq!(script.seen(), ["0x30=0x1", "0x34=0x1", what]);
        assert!(!device.can_roll_back(), "{what}");
        write(&mut device, 0x34, 2);
        assert_eq!(script.seen(), ["0x34=0x2"], "after {what} nothing is gained by holding back");
        assert!(!device.abort().rolled_back);
    }
}

#[test]
fn before_a_wait_writes_are_released_by_hand() {
    let (mut device, script) = device();
    device.begin();
    device.release().unwrap();
    assert!(device.can_roll_back(), "nothing was held back");
    write(&mut device, 0x34, 2);
    device.release().unwrap();
    assert_eq!(script.seen(), ["0x34=0x2"]);
    assert!(!device.can_roll_back());
    assert_eq!(said(&device), "the driver waited after TAIL was written");
    device.commit().unwrap();
    assert!(script.seen().is_empty(), "no write comes twice");
    assert_eq!(device.irreversible(), None, "no transaction is open");
    device.begin();
    assert_eq!(device.irreversible(), None, "another one can be rolled back again");
}

#[test]
fn a_read_that_depends_on_no_write_releases_none() {
    let (mut device, script) = device();
    device.begin();
    write(&mut device, 0x30, 1);
    read(&mut device, 0x08);
    assert_eq!(script.seen(), ["read 0x8"]);
    assert!(device.can_roll_back());
    device.commit().unwrap();
    assert_eq!(script.seen(), ["0x30=0x1"]);
}

#[test]
fn a_read_with_nothing_held_back_leaves_a_rollback_possible() {
    let (mut device, script) = device();
    device.begin();
    read(&mut device, 0x30);
    device.flush().unwrap();
    write(&mut device, 0x30, 1);
    assert!(device.can_roll_back());
    assert_eq!(device.abort(), ROLLED_BACK);
    assert_eq!(script.seen(), ["read 0x30", "flush"]);
}

#[test]
fn a_full_queue_releases_what_it_holds() {
    let (mut device, script) = device();
    device.begin();
    for value in 0..CAPACITY as u64 {
        write(&mut device, 0x30, value);
    }
    assert!(device.can_roll_back() && script.seen().is_empty());
    write(&mut device, 0x34, 0);
    let seen = script.seen();
    assert_eq!(seen.len(), CAPACITY + 1);
    assert_eq!((seen[0].as_str(), seen[CAPACITY].as_str()), ("0x30=0x0", "0x34=0x0"));
    assert_eq!(said(&device), "more than 256 register writes came, of which that of HOLDS was the first");
    assert!(!device.can_roll_back());
}

#[test]
fn what_cannot_be_rolled_back_comes_after_what_is_held_back_and_ends_the_claim() {
    type Step = fn(&mut Transactional) -> Result<()>;
    let steps: [(&str, Step, &str); 8] = [
        ("bus master true", |device| device.set_bus_master(true), "DMA was enabled"),
        ("bus master false", |device| device.set_bus_master(false), "DMA was disabled"),
        ("reset", |device| device.reset().map(drop), "the device was reset"),
        ("irq enable", |device| device.irq_enable(1).map(drop), "interrupts were enabled"),
        ("irq disable", |device| device.irq_disable(), "interrupts were disabled"),
        ("irq unmask", |device| device.irq_unmask(0), "an interrupt was unmasked"),
        ("unmap", |device| device.dma_unmap(0), "the window was unmapped"),
        ("read 0x28", |device| device.bar_read(0, 0x28, Width::B4).map(drop), "QUEUE was read, and what"),
    ];
    for (what, step, why) in steps {
        let (mut device, script) = device();
        device.begin();
        step(&mut device).unwrap();
        assert!(said(&device).starts_with(why), "{what}: {}", said(&device));
        write(&mut device, 0x30, 1);
        read(&mut device, 0x30);
        assert!(said(&device).starts_with(why), "the first reason is kept: {}", said(&device));
        assert!(!device.can_roll_back(), "{what}");
        assert!(!device.abort().rolled_back, "{what}");
        device.begin();
        write(&mut device, 0x30, 1);
        script.seen();
        step(&mut device).unwrap();
        assert_eq!(script.seen(), ["0x30=0x1", what]);
    }
}

#[test]
fn the_device_works_without_getting_what_is_held_back() {
    let (mut device, script) = device();
    device.begin();
    write(&mut device, 0x30, 1);
    device.service(0).unwrap();
    assert_eq!(script.seen(), ["service"]);
    assert!(device.can_roll_back());
}

#[test]
fn a_write_that_the_device_refuses_ends_the_transaction() {
    let (mut device, script) = device();
    script.refuses(0x34);
    device.begin();
    write(&mut device, 0x30, 1);
    write(&mut device, 0x34, 2);
    write(&mut device, 0x30, 3);
    assert!(device.commit().is_err());
    assert_eq!(script.seen(), ["0x30=0x1"], "what comes after it is dropped");
    device.begin();
    device.commit().unwrap();
    assert!(script.seen().is_empty());
}

#[test]
fn lost_causes_are_ored_and_the_driver_is_owed_an_interrupt() {
    let (mut device, script) = device();
    script.answers(0x10, 0b0011);
    assert_eq!(read_in_vain(&mut device, 0x10), (0b0011, Aborted { rolled_back: true, causes_owed: true }));
    script.answers(0x10, 0b0110);
    assert_eq!(read_in_vain(&mut device, 0x10), (0b0111, Aborted { rolled_back: true, causes_owed: true }));
    device.begin();
    assert_eq!(read(&mut device, 0x10), 0b0111);
    device.commit().unwrap();
    assert_eq!(read(&mut device, 0x10), 0, "what a committed call had read is owed to nobody");
}

#[test]
fn what_is_owed_is_given_outside_a_transaction_too() {
    let (mut device, script) = device();
    script.answers(0x10, 1);
    read_in_vain(&mut device, 0x10);
    assert_eq!(read(&mut device, 0x10), 1);
    assert_eq!(read(&mut device, 0x10), 0);
}

#[test]
fn two_reads_of_one_aborted_call_are_both_owed() {
    let (mut device, script) = device();
    for value in [5, 6] {
        script.answers(0x14, value);
    }
    device.begin();
    assert_eq!((read(&mut device, 0x14), read(&mut device, 0x14)), (5, 6));
    assert_eq!(device.abort(), ROLLED_BACK, "a counter is not a reason to interrupt");
    assert_eq!(read(&mut device, 0x14), 11);
}

#[test]
fn counters_are_added_and_stick_at_their_highest_value() {
    let (mut device, script) = device();
    script.answers(0x14, 40);
    read_in_vain(&mut device, 0x14);
    script.answers(0x14, 2);
    assert_eq!(read(&mut device, 0x14), 42);
    for value in [0xffff_fff0, 0x20] {
        script.answers(0x14, value);
        read_in_vain(&mut device, 0x14);
    }
    assert_eq!(read(&mut device, 0x14), 0xffff_ffff);
    for value in [0xfff0, 0x20] {
        script.answers(0x18, value);
        device.begin();
        device.bar_read(0, 0x18, Width::B2).unwrap();
        device.abort();
    }
    assert_eq!(device.bar_read(0, 0x18, Width::B2).unwrap(), 0xffff);
}

#[test]
fn a_pair_is_added_in_64_bits() {
    let (mut device, script) = device();
    for (lower, upper) in [(0xffff_fff0, 1), (0x20, 2)] {
        script.answers(0x20, lower);
        script.answers(0x24, upper);
    }
    device.begin();
    assert_eq!((read(&mut device, 0x20), read(&mut device, 0x24)), (0xffff_fff0, 1));
    device.abort();
    assert_eq!((read(&mut device, 0x20), read(&mut device, 0x24)), (0x10, 4));
    assert_eq!((read(&mut device, 0x20), read(&mut device, 0x24)), (0, 0));
}

#[test]
fn a_pairs_lower_half_alone_takes_nothing() {
    let (mut device, script) = device();
    script.answers(0x20, 5);
    assert_eq!(read_in_vain(&mut device, 0x20), (5, ROLLED_BACK));
    script.answers(0x20, 6);
    assert_eq!((read(&mut device, 0x20), read(&mut device, 0x24)), (6, 0));
}

#[test]
fn causes_that_the_driver_clears_by_writing_are_no_longer_owed() {
    let (mut device, script) = device();
    script.answers(0x10, 0b0111);
    read_in_vain(&mut device, 0x10);
    write(&mut device, 0x10, 0b0101);
    assert_eq!(read(&mut device, 0x10), 0b0010);
    // The same in the call that read them, once the write has reached the device.
    script.answers(0x10, 0b0011);
    device.begin();
    read(&mut device, 0x10);
    write(&mut device, 0x10, 0b0001);
    device.release().unwrap();
    assert_eq!(device.abort(), Aborted { rolled_back: false, causes_owed: true });
    write(&mut device, 0x10, 0b0010);
    assert_eq!(read_in_vain(&mut device, 0x10), (0, ROLLED_BACK));
    // A write that never reached it clears nothing.
    script.answers(0x10, 0b1000);
    device.begin();
    read(&mut device, 0x10);
    write(&mut device, 0x10, 0b1000);
    device.abort();
    assert_eq!(read(&mut device, 0x10), 0b1000);
}

#[test]
fn a_reset_and_a_new_generation_are_owed_nothing() {
    type Step = fn(&mut Transactional);
    let steps: [Step; 3] = [
        |device| assert_eq!(device.reset().unwrap(), ResetKind::Function),
        |device| write(device, 0x00, u64::from(CTRL::RST)),
        |device| device.forget(),
    ];
    for step in steps {
        let (mut device, script) = device();
        script.answers(0x10, 1);
        script.answers(0x14, 1);
        read_in_vain(&mut device, 0x10);
        read_in_vain(&mut device, 0x14);
        step(&mut device);
        assert_eq!((read(&mut device, 0x10), read(&mut device, 0x14)), (0, 0));
    }
}

#[test]
fn a_write_that_does_not_reset_leaves_what_is_owed() {
    let (mut device, script) = device();
    script.answers(0x10, 1);
    read_in_vain(&mut device, 0x10);
    write(&mut device, 0x00, 1);
    assert_eq!(read(&mut device, 0x10), 1);
}

#[test]
fn a_new_generation_drops_the_old_ones_writes() {
    let (mut device, script) = device();
    device.begin();
    write(&mut device, 0x34, 1);
    device.forget();
    device.begin();
    device.commit().unwrap();
    assert!(script.seen().is_empty());
}

#[test]
fn direct_registers_are_refused_in_a_transaction() {
    let (mut device, _) = device();
    device.begin();
    assert!(matches!(device.bar_map(0, 4096), Err(DeviceError::Unsupported(why)) if why.contains("held back")));
}
