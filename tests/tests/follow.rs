//! What the interface's other side is set to reaches the driver while it runs, and holds across its restarts.

use nook_abi::{Entry, Status};
use nook_net_api::KernelSettings;
use nook_runtime::{NetImage, NookError, Settings, Snapshot, SnapshotAttempt};
use nook_tests::{Device, Isolation, Rig, card, frame};

const OWN: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 9];
const GROUP: [u8; 6] = [0x01, 0x00, 0x5e, 0x7f, 0x10, 0x20];

/// What an interface is set to that nobody has touched.
fn usual() -> KernelSettings {
    KernelSettings { mac: None, mtu_bytes: 1500, promiscuous: false, all_multicast: false, multicast: Vec::new() }
}

/// Sends one frame to each of these addresses, and says which come.
fn received(rig: &mut Rig, to: &[[u8; 6]]) -> Vec<[u8; 6]> {
    rig.nook.backend_mut().received.clear();
    for (number, to) in (1..).zip(to) {
        let mut frame = frame(number, 100);
        frame[..6].copy_from_slice(to);
        rig.until("the cable takes a frame", |rig| matches!(rig.far.send(&frame), Ok(true)));
    }
    rig.until_all_came();
    let received = rig.nook.backend().received.iter().map(|frame| frame[..6].try_into().unwrap());
    received.filter(|to: &[u8; 6]| *to != [0xff; 6]).collect()
}

fn follow(rig: &mut Rig, wanted: KernelSettings) {
    rig.nook.backend_mut().wanted = Some(wanted);
    rig.until("the driver's side asks", |rig| rig.nook.backend().wanted.is_none());
}

/// Returns a snapshot, once nothing moves.
fn snapshot(rig: &mut Rig) -> Box<Snapshot<NetImage>> {
    let mut taken = None;
    rig.until("a snapshot is taken", |rig| {
        match rig.nook.try_snapshot().expect("a look") {
            SnapshotAttempt::Taken(snapshot) => taken = Some(snapshot),
            SnapshotAttempt::Unsupported => panic!("this driver can be restored"),
            SnapshotAttempt::Busy | SnapshotAttempt::QuietUntil(_) => {}
        }
        taken.is_some()
    });
    taken.expect("a snapshot")
}

/// Returns a rig with the embedded card, which receives at once after each change.
fn rig(isolation: Isolation) -> Rig {
    let device = Device::one_of_each().next().expect("a device");
    let mut rig = Rig::new(&device, isolation);
    rig.nook.backend_mut().wanted = Some(usual());
    rig.nook.start().expect("the driver comes up");
    rig.until("the link is up", |rig| rig.nook.backend().links.last() == Some(&true));
    rig
}

#[test]
fn an_address_a_group_and_promiscuity_reach_the_driver_at_every_level_and_outlive_it() {
    if !card().knows_groups {
        return;
    }
    for &isolation in Isolation::all() {
        let mut rig = rig(isolation);
        let all = [OWN, OTHER, GROUP];
        assert_eq!(received(&mut rig, &all), [OWN], "{isolation:?}: at first");
        follow(&mut rig, KernelSettings { multicast: vec![GROUP], ..usual() });
        assert_eq!(received(&mut rig, &all), [OWN, GROUP], "{isolation:?}: joined");
        follow(&mut rig, KernelSettings { mac: Some(OTHER), ..usual() });
        assert_eq!(received(&mut rig, &all), [OTHER], "{isolation:?}: another address, and the group was left");
        assert_eq!(rig.nook.backend().mac, Some(OTHER));
        rig.nook.restart().expect("it comes up again");
        assert_eq!(rig.nook.backend().mac, Some(OTHER), "{isolation:?}: the old one is not written back");
        assert_eq!(received(&mut rig, &all), [OTHER], "{isolation:?}: after a restart");
        // The interface has that address now.
        follow(&mut rig, KernelSettings { promiscuous: true, ..usual() });
        assert_eq!(received(&mut rig, &all), all, "{isolation:?}: promiscuous");
        follow(&mut rig, KernelSettings { mac: Some(OWN), all_multicast: true, ..usual() });
        assert_eq!(received(&mut rig, &all), [OWN, GROUP], "{isolation:?}: the first address");
    }
}

#[test]
fn a_change_while_no_driver_runs_is_made_when_one_does() {
    let mut rig = rig(Isolation::Sfi);
    rig.nook.end().expect("the device becomes quiet");
    rig.nook.backend_mut().wanted = Some(KernelSettings { mac: Some(OTHER), promiscuous: true, ..usual() });
    rig.nook.restart().expect("it comes up again");
    assert_eq!(rig.nook.backend().mac, Some(OTHER));
    assert_eq!(received(&mut rig, &[OWN, OTHER]), [OWN, OTHER]);
}

#[test]
fn a_snapshot_of_what_the_interface_was_set_to_before_is_not_restored() {
    let mut rig = rig(Isolation::SfiTxn);
    let before = snapshot(&mut rig);
    assert!(rig.nook.fits(&before));
    follow(&mut rig, KernelSettings { promiscuous: true, ..usual() });
    assert!(!rig.nook.fits(&before));
    let after = snapshot(&mut rig);
    rig.nook.restore(&after).expect("it is restored");
    assert_eq!(received(&mut rig, &[OWN, OTHER]), [OWN, OTHER]);
}

#[test]
fn an_mtu_outlives_the_driver_and_holds_in_a_snapshot() {
    let long = [frame(1, 9000)];
    let passes = |rig: &mut Rig| {
        rig.nook.backend_mut().received.clear();
        rig.until("the cable takes a frame", |rig| matches!(rig.far.send(&long[0]), Ok(true)));
        rig.until_all_came();
        rig.nook.backend().received.contains(&long[0])
    };
    let mut rig = rig(Isolation::SfiTxn);
    if rig.nook.interface().expect("an interface").max_mtu_bytes < 9000 {
        return;
    }
    assert!(!passes(&mut rig));
    let before = snapshot(&mut rig);
    follow(&mut rig, KernelSettings { mtu_bytes: 9000, ..usual() });
    assert!(passes(&mut rig) && !rig.nook.fits(&before));
    let after = snapshot(&mut rig);
    rig.nook.restore(&after).expect("it is restored");
    assert!(passes(&mut rig), "after a snapshot restore");
    rig.nook.restart().expect("it comes up again");
    assert!(passes(&mut rig), "after a restart");
    follow(&mut rig, usual());
    assert!(!passes(&mut rig) && !rig.nook.fits(&after));
}

#[test]
fn an_mtu_that_is_more_than_the_drivers_is_set_back_and_one_that_stays_loses_nothing_uncounted() {
    let mut rig = rig(Isolation::SfiTxn);
    let most = rig.nook.interface().expect("an interface").max_mtu_bytes;
    follow(&mut rig, KernelSettings { mtu_bytes: most + 100, ..usual() });
    assert_eq!(rig.nook.backend().mtus, [most]);
    follow(&mut rig, KernelSettings { mtu_bytes: 1000, ..usual() });
    assert_eq!(rig.nook.backend().mtus, [most], "that the driver can do");
    rig.nook.backend_mut().mtu_stays = true;
    follow(&mut rig, KernelSettings { mtu_bytes: most + 5000, ..usual() });
    // What is longer than the driver's frames is no frame, and what is not passes.
    let lens = [most as usize + 14, most as usize + 18, most as usize + 19, most as usize + 300, 100];
    let frames: Vec<_> = (1..).zip(lens).map(|(number, len)| frame(number, len)).collect();
    rig.nook.backend_mut().to_send.extend(frames.clone());
    rig.until("all were sent", |rig| rig.nook.net_counters().tx_done == 3);
    rig.until("all were looked at", |rig| rig.nook.net_counters().tx_unfit == 2);
    let mut arrived = Vec::new();
    rig.until("they arrive", |rig| {
        arrived.extend(rig.arrived());
        arrived.len() == 3
    });
    assert!(arrived == [&frames[..2], &frames[4..]].concat());
}

#[test]
fn a_setting_that_the_driver_refuses_is_set_back_and_the_driver_goes_on() {
    let mut rig = rig(Isolation::Sfi);
    // No address of a host: the card's driver takes none like it.
    follow(&mut rig, KernelSettings { mac: Some(GROUP), promiscuous: true, ..usual() });
    assert_eq!(rig.nook.backend().mac, Some(OWN), "set back");
    assert_eq!(received(&mut rig, &[OWN, OTHER]), [OWN]);
    // The same once more is looked at once more.
    rig.nook.backend_mut().mac = Some(GROUP);
    follow(&mut rig, KernelSettings { mac: Some(GROUP), ..usual() });
    assert_eq!(rig.nook.backend().mac, Some(OWN), "set back again");
    follow(&mut rig, KernelSettings { mtu_bytes: 20, ..usual() });
    assert_eq!(rig.nook.backend().mtus, [1500], "no MTU that the driver takes");
    let refused = rig.nook.set(Settings { mac: Some(GROUP), ..rig.nook.settings().clone() });
    assert!(
        matches!(refused, Err(NookError::Refused { entry: Entry::SetMac, status: Status::Invalid })),
        "{refused:?}"
    );
}
