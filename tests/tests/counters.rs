//! Counters by the names that a driver gives them: the same at every level, right on every card, and never less than
//! before.

use e1000_model::{Behaviour, ModelConfig};
use nook_runtime::{NetImage, Snapshot, SnapshotAttempt};
use nook_tests::{Device, Isolation, Rig, frame, qemus, side_by_side};

/// Frames without their check sequence: one of each class of lengths that the cards count.
const LENGTHS: [usize; 6] = [60, 100, 200, 400, 900, 1514];
/// The classes' names, behind `rx_` or `tx_`.
const CLASSES: [&str; 6] =
    ["64_bytes", "65_to_127_bytes", "128_to_255_bytes", "256_to_511_bytes", "512_to_1023_bytes", "1024_bytes_or_more"];
/// How many times each of them is sent, and received.
const TIMES: u64 = 5;

/// Asks for fresh counters.
fn counts(rig: &mut Rig) -> Vec<(String, u64)> {
    rig.nook.stats().unwrap();
    rig.nook.named_counters()
}

fn value(counts: &[(String, u64)], name: &str) -> u64 {
    counts.iter().find(|(own, _)| own == name).unwrap_or_else(|| panic!("no {name}")).1
}

/// Sends and receives `TIMES` of each length.
fn traffic(rig: &mut Rig) {
    let frames: Vec<_> = (0..LENGTHS.len() as u32 * TIMES as u32).map(|n| frame(n, LENGTHS[n as usize % 6])).collect();
    rig.nook.backend_mut().to_send.extend(frames.iter().cloned());
    let mut arrived = 0;
    rig.until("all arrived", |rig| {
        arrived += rig.arrived().len();
        arrived == frames.len()
    });
    rig.nook.backend_mut().received.clear();
    for frame in &frames {
        assert!(rig.far.send(frame).unwrap());
    }
    rig.until("all were received", |rig| rig.nook.backend().received.len() == frames.len());
}

#[test]
fn what_passes_is_counted_by_name_at_every_level_and_on_every_card() {
    let model = |behaviour| Device::Model(ModelConfig { behaviour, ..ModelConfig::default() });
    let levels = Isolation::all().iter().map(|&level| (model(Behaviour::adversarial()), level));
    let others = std::iter::once(model(Behaviour::calm())).chain(qemus().map(Device::Qemu));
    let all: Vec<_> = levels.chain(others.map(|device| (device, Isolation::Sfi))).collect();
    side_by_side(all, |(device, isolation)| {
        let mut rig = Rig::up(&device, isolation);
        let before = counts(&mut rig);
        if before.is_empty() {
            return println!("{device:?}: this driver names no counters");
        }
        traffic(&mut rig);
        let after = counts(&mut rig);
        let all = LENGTHS.len() as u64 * TIMES;
        // With the frame check sequence.
        let bytes = LENGTHS.iter().map(|len| *len as u64 + 4).sum::<u64>() * TIMES;
        for way in ["rx", "tx"] {
            let grown = |name: &str| {
                let name = format!("{way}_{name}");
                value(&after, &name) - value(&before, &name)
            };
            let (mut bytes, mut broadcast, mut classes) = (bytes, all, [TIMES; CLASSES.len()]);
            // QEMU's cards look up the class of a received frame by its length without the check sequence, and 60 bytes
            // are in none; the e1000e does so with sent ones too, and counts their bytes without it. The e1000 counts
            // broadcast as multicast while all multicast frames are received (7.2).
            match (&device, way) {
                (Device::Qemu("e1000e"), _) => {
                    classes[0] = 0;
                    if way == "tx" {
                        bytes -= 4 * all;
                    }
                }
                (Device::Qemu(name), "rx") => {
                    (broadcast, classes[0]) = (0, 0);
                    assert_eq!(grown("multicast"), all, "{name}");
                }
                _ => {}
            }
            let found = ["packets", "bytes", "all_packets", "all_bytes", "broadcast"].map(grown);
            assert_eq!(found, [all, bytes, all, bytes, broadcast], "{device:?} {isolation:?} {way}");
            assert_eq!(CLASSES.map(grown), classes, "{device:?} {isolation:?} {way}");
        }
        let trouble = ["rx_missed_errors", "rx_crc_errors", "rx_length_errors", "collisions", "tx_carrier_errors"];
        for name in trouble {
            assert_eq!(value(&after, name), value(&before, name), "{device:?} {isolation:?} {name}");
        }
    });
}

#[test]
fn what_is_lost_is_counted_by_name() {
    let behaviour = Behaviour { receive_errors_ppm: 300_000, ..Behaviour::adversarial() };
    let mut rig = Rig::up(&Device::Model(ModelConfig { behaviour, ..ModelConfig::default() }), Isolation::Sfi);
    let before = counts(&mut rig);
    for n in 0..100 {
        assert!(rig.far.send(&frame(n, 60)).unwrap());
    }
    rig.until("each was received or damaged", |rig| {
        let damaged = value(&counts(rig), "rx_crc_errors") - value(&before, "rx_crc_errors");
        rig.nook.backend().received.len() as u64 + damaged == 100
    });
    let after = counts(&mut rig);
    let grown = |name: &str| value(&after, name) - value(&before, name);
    assert_eq!((grown("rx_packets"), grown("rx_all_packets")), (rig.nook.backend().received.len() as u64, 100));
    assert!(grown("rx_crc_errors") > 0);
}

/// Returns whether no counter is less than it was.
fn none_went_down(before: &[(String, u64)], after: &[(String, u64)]) -> bool {
    before.len() == after.len() && before.iter().zip(after).all(|(a, b)| a.0 == b.0 && a.1 <= b.1)
}

#[test]
fn a_restart_makes_no_counter_go_down() {
    for &isolation in Isolation::all() {
        let device = Device::Model(ModelConfig::default());
        let mut rig = Rig::up(&device, isolation);
        traffic(&mut rig);
        let before = counts(&mut rig);
        rig.nook.restart().unwrap();
        let since_start = rig.nook.stats().unwrap();
        assert!(since_start.tx_packets == 0, "what the device and the instance count begins at 0");
        let after = counts(&mut rig);
        assert!(none_went_down(&before, &after), "{isolation:?}: {before:?} {after:?}");
        rig.until("the link is up again", |rig| rig.nook.is_ready());
        rig.nook.backend_mut().received.clear();
        traffic(&mut rig);
        let last = counts(&mut rig);
        let all = LENGTHS.len() as u64 * TIMES;
        assert_eq!(value(&last, "tx_packets"), value(&before, "tx_packets") + all, "{isolation:?}");
    }
}

fn at_rest(rig: &mut Rig) -> Box<Snapshot<NetImage>> {
    let mut taken = None;
    rig.until("nothing moves", |rig| {
        if let SnapshotAttempt::Taken(snapshot) = rig.nook.try_snapshot().unwrap() {
            taken = Some(snapshot);
        }
        taken.is_some()
    });
    taken.unwrap()
}

#[test]
fn a_snapshot_restore_makes_no_counter_go_down() {
    let mut rig = Rig::up(&Device::Model(ModelConfig::default()), Isolation::SfiTxn);
    traffic(&mut rig);
    let snapshot = at_rest(&mut rig);
    rig.nook.backend_mut().received.clear();
    traffic(&mut rig);
    let before = counts(&mut rig);
    rig.nook.restore(&snapshot).unwrap();
    let after = counts(&mut rig);
    assert!(none_went_down(&before, &after), "{before:?} {after:?}");
    rig.until("the link is up again", |rig| rig.nook.is_ready());
    rig.nook.backend_mut().received.clear();
    traffic(&mut rig);
    let all = LENGTHS.len() as u64 * TIMES;
    assert_eq!(value(&counts(&mut rig), "tx_packets"), value(&before, "tx_packets") + all);
}
