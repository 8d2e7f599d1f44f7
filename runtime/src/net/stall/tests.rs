use super::*;

const LOOK_NS: u64 = 50_000_000;

/// A monitor with the time, and what has happened until now.
struct Watched {
    monitor: StallMonitor,
    now_ns: u64,
    sight: Sight,
}

impl Watched {
    fn new() -> Self {
        let device = Some(NetStats::default());
        let sight = Sight { device, held_up: Some(false), ..Sight::default() };
        let mut watched = Watched { monitor: StallMonitor::default(), now_ns: 1_000_000_000, sight };
        assert!(watched.monitor.is_due(watched.now_ns, &watched.sight.counters));
        assert_eq!(watched.monitor.judge(&watched.sight, watched.now_ns, LOOK_NS), Ok(false));
        watched
    }

    /// Looks once more, when it is time, after `happens`.
    fn look(&mut self, happens: impl FnOnce(&mut NetCounters, &mut NetStats)) -> Result<bool, NetFault> {
        happens(&mut self.sight.counters, self.sight.device.as_mut().expect("counters"));
        self.now_ns = self.monitor.due_ns();
        assert!(self.monitor.is_due(self.now_ns, &self.sight.counters));
        self.monitor.judge(&self.sight, self.now_ns, LOOK_NS)
    }

    /// Looks until there is a fault, after `happens` each time. Says which, and at which look.
    fn fault(&mut self, mut happens: impl FnMut(&mut NetCounters, &mut NetStats)) -> Option<(u32, NetFault)> {
        (1..200).find_map(|at| self.look(&mut happens).err().map(|fault| (at, fault)))
    }
}

#[test]
fn a_device_that_counts_frames_which_never_come_out_is_found_at_the_fourth_look() {
    let mut watched = Watched::new();
    let fault = watched.fault(|_, device| device.rx_packets += 2);
    assert_eq!(fault, Some((SILENT, NetFault::ReceiveStuck { packets: 8, limit_ns: 4 * LOOK_NS })));
    // All of them at once, after the last one that came out: the device has no room for more.
    let mut watched = Watched::new();
    for _ in 0..30 {
        watched.look(|counters, device| (counters.rx_packets, device.rx_packets) = (90, 90)).unwrap();
    }
    watched.look(|counters, device| (counters.rx_packets, device.rx_packets) = (95, 150)).unwrap();
    let fault = watched.fault(|_, _| {});
    assert_eq!(fault, Some((SILENT, NetFault::ReceiveStuck { packets: 55, limit_ns: 4 * LOOK_NS })));
    // The driver had reset its device, and what was in it is gone.
    let mut watched = Watched::new();
    watched.look(|_, device| (device.rx_packets, device.tx_timeouts) = (60, 1)).unwrap();
    assert_eq!(watched.fault(|_, _| {}), None);
    // What has no room in the device counts too, and so does what the driver gives back as failed.
    let mut watched = Watched::new();
    let fault = watched.fault(|counters, device| {
        device.rx_missed += 1;
        counters.rx_failed += 1;
    });
    assert!(matches!(fault, Some((SILENT, NetFault::ReceiveStuck { packets: 4, .. }))), "{fault:?}");
}

#[test]
fn one_frame_that_comes_out_now_and_then_is_enough_and_so_is_a_device_that_counts_nothing() {
    let mut watched = Watched::new();
    let mut at = 0;
    let seldom = watched.fault(|counters, device| {
        device.rx_packets += 9;
        at += 1;
        // Nobody above takes them.
        counters.rx_no_room += u64::from(at % 4 == 0);
    });
    assert_eq!(seldom, None);
    let mut watched = Watched::new();
    assert_eq!(watched.fault(|_, _| {}), None, "a quiet link");
    assert_eq!(watched.monitor.due_ns() - watched.now_ns, REST * LOOK_NS, "is looked at seldom");
    // One that the driver was right to drop.
    assert_eq!(watched.look(|_, device| device.rx_packets += 1), Ok(true));
    assert_eq!(watched.fault(|_, _| {}), None);
}

#[test]
fn frames_to_be_sent_that_stand_still_are_found_in_half_a_second_unless_something_holds_the_device_up() {
    let mut watched = Watched::new();
    watched.sight.waiting = 7;
    let fault = watched.fault(|_, _| {});
    assert_eq!(fault, Some((LOOKS, NetFault::TransmitStuck { packets: 7, limit_ns: 10 * LOOK_NS })));
    for held_up in [Some(true), None] {
        let mut watched = Watched::new();
        (watched.sight.waiting, watched.sight.held_up) = (7, held_up);
        assert_eq!(watched.fault(|_, _| {}), None, "{held_up:?}");
        // From when it is not.
        watched.sight.held_up = Some(false);
        assert!(matches!(watched.fault(|_, _| {}), Some((LOOKS, _))));
    }
    let mut paused = Watched::new();
    (paused.sight.waiting, paused.sight.held_up) = (7, Some(true));
    for at in 1..2 * LOOKS {
        paused.look(|_, _| {}).unwrap();
        assert_eq!(paused.monitor.told, at >= LOOKS, "it is said at the tenth look");
    }
    let mut watched = Watched::new();
    watched.sight.waiting = 7;
    let mut at = 0;
    let slow = watched.fault(|counters, device| {
        at += 1;
        counters.tx_done += u64::from(at % 9 == 0);
        device.tx_packets += u64::from(at % 9 == 0);
    });
    assert_eq!(slow, None);
}

#[test]
fn buffers_that_nobody_takes_are_found() {
    let mut watched = Watched::new();
    watched.sight.untaken = 256;
    let fault = watched.fault(|_, _| {});
    assert_eq!(fault, Some((STARVED, NetFault::BuffersNotTaken { waiting: 256, limit_ns: 4 * LOOK_NS })));
}

#[test]
fn frames_that_come_back_as_not_sent_are_found_unless_some_are_or_nothing_can_be_sent() {
    let fails = |counters: &mut NetCounters, _: &mut NetStats| counters.tx_failed += 3;
    assert_eq!(Watched::new().fault(fails), Some((FAILED, NetFault::TransmitFails { limit_ns: 5 * LOOK_NS })));
    // With half duplex it is not known: frames may be lost to others'.
    for held in [Some(true), None] {
        let mut held_up = Watched::new();
        held_up.sight.held_up = held;
        assert_eq!(held_up.fault(fails), None);
    }
    let some = |counters: &mut NetCounters, device: &mut NetStats| {
        counters.tx_failed += 3;
        counters.tx_done += 1;
        device.tx_packets += 1;
    };
    assert_eq!(Watched::new().fault(some), None);
}

#[test]
fn frames_that_come_back_as_sent_by_a_device_that_sends_nothing_are_found() {
    let done = |counters: &mut NetCounters, _: &mut NetStats| counters.tx_done += 5;
    let mut watched = Watched::new();
    let (at, fault) = watched.fault(done).expect("a fault");
    assert!(at <= 4 * WINDOW && matches!(fault, NetFault::CountersDisagree { counter: "tx_packets", .. }), "{fault:?}");
    let mut held_up = Watched::new();
    held_up.sight.held_up = Some(true);
    assert_eq!(held_up.fault(done), None, "they are in the device");
    let mut late = Watched::new();
    let with_lag = late.fault(|counters, device| {
        device.tx_packets = counters.tx_done / 2;
        counters.tx_done += 5;
    });
    assert_eq!(with_lag, None);
    let mut without = Watched::new();
    let fault = (0..100).find_map(|_| {
        let seen = Sight { device: None, ..without.sight };
        without.sight.counters.tx_done += 5;
        without.monitor.judge(&seen, without.now_ns, LOOK_NS).err()
    });
    assert_eq!(fault, None, "a driver without counters");
}

#[test]
fn frames_that_come_back_as_sent_now_and_then_are_found_as_well() {
    let mut watched = Watched::new();
    let mut at = 0;
    // As those that are sent again because nobody answers: each time after a longer wait.
    let backs_off = watched.fault(|counters, _| {
        at += 1u32;
        counters.tx_done += u64::from(at.is_power_of_two());
    });
    assert!(
        matches!(backs_off, Some((8.., NetFault::CountersDisagree { counter: "tx_packets", .. }))),
        "{backs_off:?}"
    );
}

#[test]
fn after_a_restore_what_came_before_the_first_look_is_missing_too() {
    let counted = |rx_packets| NetStats { rx_packets, tx_packets: 40, ..NetStats::default() };
    let restored = |counted_since: u64| {
        let mut watched = Watched::new();
        // Of what was handed up, 30 came after the snapshot.
        watched.sight.counters = NetCounters { rx_packets: 130, tx_done: 70, ..watched.sight.counters };
        watched.monitor = StallMonitor::restored(&counted(100), &watched.sight.counters);
        assert!(watched.monitor.is_due(watched.now_ns, &watched.sight.counters));
        watched.sight.device = Some(counted(100 + counted_since));
        watched
    };
    let fault = restored(60).fault(|_, _| {});
    assert_eq!(fault, Some((SILENT, NetFault::ReceiveStuck { packets: 60, limit_ns: 4 * LOOK_NS })));
    assert_eq!(restored(0).fault(|_, _| {}), None);
    // None was sent that comes back as sent: the first comparison counts.
    let unsent = restored(0).fault(|counters, _| counters.tx_done += 1);
    assert!(matches!(unsent, Some((_, NetFault::CountersDisagree { device: 40, driver: 79.., .. }))), "{unsent:?}");
}

#[test]
fn a_burst_on_a_quiet_link_has_time_to_come_out() {
    let mut watched = Watched::new();
    for burst in 0..50 {
        for _ in 0..30 {
            watched.look(|_, _| {}).unwrap();
        }
        for _ in 0..SILENT - 1 {
            watched.look(|_, device| device.rx_packets = 64 * (burst + 1)).unwrap();
        }
        watched.look(|counters, _| counters.rx_packets += 64).unwrap();
    }
}
