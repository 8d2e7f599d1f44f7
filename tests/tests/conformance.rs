//! One suite for every device and every isolation level: whatever runs the driver, and on what, these hold.

use std::collections::HashSet;

use e1000_model::{Behaviour, ModelConfig};
use nook_runtime::Settings;
use nook_tests::{Device, Isolation, Rig, card, drives, frame, mpk_only, qemus, side_by_side};

/// Returns the embedded model in several tempers, if it is a card of the driver's.
fn models() -> impl Iterator<Item = Device> {
    let calm = ModelConfig { behaviour: Behaviour::calm(), ..ModelConfig::default() };
    let seeds = (1..=3).map(|seed| ModelConfig { seed, ..ModelConfig::default() });
    let is_ours = drives((e1000_regs::VENDOR, e1000_regs::DEVICE_82540EM));
    std::iter::once(calm).chain(seeds).map(Device::Model).filter(move |_| is_ours)
}

/// Runs a case on every device: at every level on the models, in wasm on QEMU's cards, which are slow to start, and at
/// both levels of wasm where there is no model.
fn everywhere(case: impl Fn(&mut Rig) + Sync) {
    let at_every_level = |device: Device| Isolation::all().iter().map(move |&isolation| (device.clone(), isolation));
    let levels: &[Isolation] =
        if models().next().is_some() { &[Isolation::Sfi] } else { &[Isolation::Sfi, Isolation::SfiTxn] };
    let on_qemu = qemus().flat_map(|name| levels.iter().map(move |&level| (Device::Qemu(name), level)));
    // Where there are keys, in the guest, there is no QEMU.
    let on_qemu = on_qemu.filter(|_| !mpk_only());
    let all: Vec<_> = models().flat_map(at_every_level).chain(on_qemu).collect();
    side_by_side(all, |(device, isolation)| {
        println!("{device:?} {isolation:?}");
        case(&mut Rig::up(&device, isolation));
    });
}

fn number(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[14..18].try_into().unwrap())
}

#[test]
fn frames_are_sent_in_order_unchanged_and_once() {
    everywhere(|rig| {
        let lengths = [60, 61, 64, 500, 1514];
        let frames: Vec<_> = (0..2000).map(|i| frame(i, lengths[i as usize % lengths.len()])).collect();
        rig.nook.backend_mut().to_send.extend(frames.iter().cloned());
        let mut arrived = Vec::new();
        rig.until("2,000 frames arrived", |rig| {
            arrived.extend(rig.arrived());
            arrived.len() >= frames.len()
        });
        rig.settle();
        arrived.extend(rig.arrived());
        assert_eq!(arrived.len(), frames.len());
        assert!(arrived == frames);
    });
}

#[test]
fn frames_are_received_in_order_unchanged_and_once() {
    everywhere(|rig| {
        let mut sent = 0;
        // No more under way than the device can hold.
        rig.until("2,000 frames were received", |rig| {
            while sent < 2000 && sent < rig.nook.backend().received.len() as u32 + 32 {
                assert!(rig.far.send(&frame(sent, 60 + (sent as usize * 7) % 1455)).unwrap());
                sent += 1;
            }
            rig.nook.backend().received.len() >= 2000
        });
        rig.settle();
        let received = &rig.nook.backend().received;
        assert_eq!(received.len(), 2000);
        for (i, got) in received.iter().enumerate() {
            assert!(*got == frame(i as u32, 60 + (i * 7) % 1455), "frame {i}");
        }
    });
}

#[test]
fn no_packet_buffer_crosses_a_page() {
    // QEMU's e1000e behind an emulated IOMMU sends no descriptor that does, and says that it was sent.
    let pool = nook_runtime::pool_of(nook_tests::e1000_module().manifest());
    for id in 0..pool.count {
        let first = pool.offset + id * pool.stride_bytes + pool.headroom_bytes;
        assert_eq!(first / 4096, (first + pool.room_bytes - 1) / 4096, "buffer {id}");
    }
}

#[test]
fn the_interface_has_the_devices_address() {
    everywhere(|rig| {
        let interface = *rig.nook.interface().unwrap();
        assert_eq!(rig.nook.backend().mac, Some(interface.mac));
        assert_eq!(interface.link.speed_mbps, card().speed_mbps);
        assert!(interface.link.full_duplex);
    });
}

#[test]
fn only_what_the_filters_let_through_is_received() {
    everywhere(|rig| {
        let mac = rig.nook.interface().unwrap().mac;
        let groups: Vec<[u8; 6]> = (0..20u8).map(|i| [0x33, 0x33, 0, 0, 1, i]).collect();
        let addressed = |to: [u8; 6], number: u32| {
            let mut frame = frame(number, 60);
            frame[..6].copy_from_slice(&to);
            frame
        };
        let wanted = Settings { all_multicast: false, multicast: groups.clone(), ..Settings::default() };
        rig.nook.set(wanted).unwrap();
        // QEMU's receiver rests after RCTL was written; until a broadcast gets through, nothing is decided.
        rig.until("the receiver receives", |rig| {
            let _ = rig.far.send(&frame(999, 60));
            !rig.nook.backend().received.is_empty()
        });
        rig.settle();
        rig.nook.backend_mut().received.clear();
        assert!(rig.far.send(&addressed(mac, 1)).unwrap());
        assert!(rig.far.send(&addressed([2, 9, 9, 9, 0x77, 0x66], 2)).unwrap());
        for (i, &group) in (100..).zip(&groups) {
            assert!(rig.far.send(&addressed(group, i)).unwrap());
        }
        // No group of ours, and no hash that one of ours has either.
        assert!(rig.far.send(&addressed([0x01, 0, 0x5e, 0, 0x77, 0x55], 3)).unwrap());
        assert!(rig.far.send(&frame(4, 60)).unwrap());
        rig.until("the last frame came", |rig| rig.nook.backend().received.iter().any(|frame| number(frame) == 4));
        let numbers: HashSet<_> = rig.nook.backend().received.iter().map(|frame| number(frame)).collect();
        let others = if card().knows_groups { None } else { Some(3) };
        assert_eq!(&numbers - &HashSet::from([999]), (100..120).chain([1, 4]).chain(others).collect());
    });
}

#[test]
fn an_interface_that_was_stopped_gives_everything_back_and_starts_again() {
    everywhere(|rig| {
        for _ in 0..2 {
            rig.nook.stop().unwrap();
            assert_eq!(rig.nook.host().dma_regions(), 0);
            assert_eq!(rig.nook.backend().links.last(), Some(&false));
            rig.nook.start().unwrap();
            rig.until("the link is up again", |rig| rig.nook.backend().links.last() == Some(&true));
            rig.nook.backend_mut().to_send.push_back(frame(7, 60));
            rig.until("a frame arrived", |rig| rig.arrived().contains(&frame(7, 60)));
        }
    });
}

#[test]
fn a_driver_that_is_ended_in_the_middle_of_traffic_comes_back_on_the_same_device() {
    everywhere(|rig| {
        for round in 0..3 {
            rig.nook.backend_mut().to_send.extend((0..100).map(|i| frame(i, 300)));
            for i in 0..100 {
                let _ = rig.far.send(&frame(i, 300));
            }
            (0..round * 3).for_each(|_| rig.turn().unwrap());
            rig.nook.restart().unwrap();
            rig.nook.backend_mut().to_send.clear();
            rig.until("the link is up", |rig| rig.nook.interface().is_some_and(|interface| interface.link.up));
            rig.arrived();
            rig.nook.backend_mut().to_send.push_back(frame(1000 + round, 60));
            rig.until("a frame arrived", |rig| rig.arrived().contains(&frame(1000 + round, 60)));
            rig.until("a frame was received", |rig| {
                let _ = rig.far.send(&frame(2000 + round, 60));
                rig.nook.backend().received.contains(&frame(2000 + round, 60))
            });
        }
        assert!(rig.nook.backend().links.iter().all(|&up| up), "the carrier stayed: {:?}", rig.nook.backend().links);
    });
}

#[test]
fn the_devices_counters_agree_with_what_was_moved() {
    everywhere(|rig| {
        rig.nook.stats().unwrap();
        let before = rig.nook.stats().unwrap();
        rig.nook.backend_mut().to_send.extend((0..50).map(|i| frame(i, 100)));
        let mut arrived = 0;
        rig.until("50 frames arrived", |rig| {
            arrived += rig.arrived().len();
            arrived == 50
        });
        rig.nook.backend_mut().received.clear();
        for i in 0..30 {
            assert!(rig.far.send(&frame(i, 200)).unwrap());
        }
        rig.until("30 frames were received", |rig| rig.nook.backend().received.len() == 30);
        let after = rig.nook.stats().unwrap();
        assert_eq!(after.tx_packets - before.tx_packets, 50);
        assert_eq!(after.rx_packets - before.rx_packets, 30);
        assert_eq!(after.rx_bytes - before.rx_bytes, 30 * (200 + card().counted_bytes));
        assert_eq!((after.rx_errors, after.rx_missed, after.tx_timeouts), (0, 0, 0));
    });
}

#[test]
fn in_loopback_what_is_sent_is_received_and_nothing_passes_the_cable() {
    everywhere(|rig| {
        let mac = rig.nook.interface().unwrap().mac;
        let to_itself = |number: u32| {
            let mut frame = frame(number, 60 + (number as usize * 7) % 1455);
            frame[..6].copy_from_slice(&mac);
            frame
        };
        rig.nook.set_loopback(true).unwrap();
        // QEMU's receiver rests after RCTL was written; until a frame comes round, nothing is decided.
        rig.until("a frame came round", |rig| {
            if rig.nook.backend().to_send.is_empty() {
                rig.nook.backend_mut().to_send.push_back(to_itself(9999));
            }
            !rig.nook.backend().received.is_empty()
        });
        for _ in 0..20 {
            let _ = rig.far.send(&frame(9999, 60));
        }
        rig.settle();
        // QEMU's cards hear the cable all the same.
        let round = |rig: &Rig| {
            let received = rig.nook.backend().received.iter();
            received.filter(|frame| number(frame) != 9999).cloned().collect::<Vec<_>>()
        };
        let mut sent = 0;
        rig.until("500 frames came round", |rig| {
            let back = round(rig).len() as u32;
            while sent < 500 && sent < back + 16 {
                rig.nook.backend_mut().to_send.push_back(to_itself(sent));
                sent += 1;
            }
            back >= 500
        });
        assert!(round(rig) == (0..500).map(to_itself).collect::<Vec<_>>());
        assert_eq!(rig.arrived(), Vec::<Vec<u8>>::new());
        rig.nook.set_loopback(false).unwrap();
        rig.until("the link is up", |rig| rig.nook.interface().is_some_and(|interface| interface.link.up));
        rig.until("a frame arrived", |rig| {
            rig.nook.backend_mut().to_send.push_back(frame(1, 60));
            rig.arrived().contains(&frame(1, 60))
        });
    });
}
