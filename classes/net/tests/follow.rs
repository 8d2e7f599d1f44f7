//! What an operator, or what is above an interface, sets on it in the kernel is known here.
#![expect(unsafe_code, reason = "namespaces of threads")]

mod support;

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use nook_bus::Clock;
use nook_net::{FarEnd, Tap};
use nook_net_api::{KernelSettings, NetBackend, Room, Wire};
use rustix::event::{PollFd, PollFlags, poll};
use support::{PATIENCE, enter_namespace, in_namespace, ip_ok};

const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
const OTHER: [u8; 6] = [0x02, 0x00, 0x00, 0x00, 0x00, 0x77];

fn now_ns() -> u64 {
    Clock::Monotonic.now_ns()
}

/// Returns a driver's interface that is up, and what it is set to at first.
fn interface() -> (Tap, KernelSettings) {
    let mut tap = Tap::interface("nook0").expect("a TAP interface");
    let first = tap.wanted().expect("what it is set to");
    tap.set_mac(MAC).expect("setting the address");
    tap.link(true).expect("the carrier");
    ip_ok("link set nook0 up");
    (tap, first)
}

/// Waits until what the interface is set to is as it should be.
fn wait_for(tap: &mut Tap, what: &str, mut is_right: impl FnMut(&KernelSettings) -> bool) -> KernelSettings {
    let begun = Instant::now();
    let mut last = None;
    loop {
        tap.service(now_ns()).expect("no error");
        if let Some(wanted) = tap.wanted() {
            if is_right(&wanted) {
                return wanted;
            }
            last = Some(wanted);
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: {last:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
#[ignore = "needs root"]
fn a_new_interface_asks_for_nothing_unusual() {
    in_namespace(|| {
        let (_tap, first) = interface();
        assert_eq!((first.mac, first.mtu_bytes, first.promiscuous), (None, 1500, false));
    });
}

#[test]
#[ignore = "needs root"]
fn another_address_and_another_mtu_are_known_and_the_drivers_own_address_is_none() {
    in_namespace(|| {
        let (mut tap, _) = interface();
        ip_ok("link set nook0 mtu 1400");
        let wanted = wait_for(&mut tap, "the MTU", |wanted| wanted.mtu_bytes == 1400);
        assert_eq!(wanted.mac, None);
        ip_ok("link set nook0 address 02:00:00:00:00:77");
        wait_for(&mut tap, "the address", |wanted| wanted.mac == Some(OTHER));
        // The driver gets it, and it is the interface's then.
        tap.set_mac(OTHER).expect("setting the address");
        ip_ok("link set nook0 mtu 1300");
        assert_eq!(wait_for(&mut tap, "the MTU", |wanted| wanted.mtu_bytes == 1300).mac, None);
        ip_ok("link set nook0 address 52:54:00:12:34:56");
        wait_for(&mut tap, "the first address", |wanted| wanted.mac == Some(MAC));
    });
}

#[test]
#[ignore = "needs root"]
fn what_is_above_the_interface_makes_it_promiscuous_and_that_ends_with_it() {
    in_namespace(|| {
        let (mut tap, _) = interface();
        ip_ok("link add br0 type bridge");
        for (begin, end) in [
            ("link set nook0 master br0", "link set nook0 nomaster"),
            ("link set nook0 promisc on", "link set nook0 promisc off"),
            // Without a message.
            ("link add link nook0 name above type macvlan mode passthru", "link del above"),
        ] {
            ip_ok(begin);
            if begin.contains("macvlan") {
                ip_ok("link set above up");
            }
            wait_for(&mut tap, begin, |wanted| wanted.promiscuous);
            ip_ok(end);
            wait_for(&mut tap, end, |wanted| !wanted.promiscuous);
        }
        ip_ok("link set nook0 allmulticast on");
        wait_for(&mut tap, "all multicast frames", |wanted| wanted.all_multicast);
    });
}

#[test]
#[ignore = "needs root"]
fn a_group_that_is_joined_is_known_until_it_is_left() {
    in_namespace(|| {
        let (mut tap, first) = interface();
        if first.all_multicast {
            eprintln!("this kernel sends no message when a group is joined: all groups are received");
            return;
        }
        ip_ok("addr add 10.77.0.1/24 dev nook0");
        // 224.0.0.1, which all hosts of IPv4 listen to.
        let all_hosts = [0x01, 0x00, 0x5e, 0, 0, 1];
        let group = [0x01, 0x00, 0x5e, 0x7f, 0x10, 0x20];
        wait_for(&mut tap, "all hosts", |wanted| wanted.multicast.contains(&all_hosts));
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        let (address, own) = (Ipv4Addr::new(239, 127, 16, 32), Ipv4Addr::new(10, 77, 0, 1));
        socket.join_multicast_v4(&address, &own).expect("joining");
        wait_for(&mut tap, "joined", |wanted| wanted.multicast.contains(&group));
        socket.leave_multicast_v4(&address, &own).expect("leaving");
        wait_for(&mut tap, "left", |wanted| !wanted.multicast.contains(&group));
        // One that no protocol joined comes without a message.
        ip_ok("maddress add 33:33:00:00:12:34 dev nook0");
        wait_for(&mut tap, "by hand", |wanted| wanted.multicast.contains(&[0x33, 0x33, 0, 0, 0x12, 0x34]));
    });
}

#[test]
#[ignore = "needs root"]
fn an_mtu_can_be_set_back() {
    in_namespace(|| {
        let (mut tap, _) = interface();
        ip_ok("link set nook0 mtu 9000");
        wait_for(&mut tap, "the MTU", |wanted| wanted.mtu_bytes == 9000);
        tap.set_mtu(1500).expect("setting it back");
        wait_for(&mut tap, "the MTU", |wanted| wanted.mtu_bytes == 1500);
        assert!(ip_ok("link show nook0").contains("mtu 1500"));
    });
}

#[test]
#[ignore = "needs root"]
fn a_change_ends_a_wait() {
    in_namespace(|| {
        let (mut tap, _) = interface();
        wait_for(&mut tap, "it is up", |_| true);
        // What the kernel sends of itself when an interface comes up.
        let mut buffer = [0; 2048];
        let mut fds = Vec::new();
        NetBackend::event_fds(&tap, &mut fds);
        assert_eq!(fds.len(), 2, "frames, and changes");
        while tap.service(now_ns()).is_ok_and(|_| tap.wanted().is_some()) {}
        ip_ok("link set nook0 mtu 1400");
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && !is_readable(fds[1]) {
            let _ = tap.fetch(&Room::one(nook_bus::VolatileSlice::from(&mut buffer[..]))).expect("a read");
        }
        assert!(is_readable(fds[1]));
    });
}

fn is_readable(fd: RawFd) -> bool {
    // SAFETY: the interface, whose descriptor it is, lives to the end of the test.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&Default::default())).expect("a look") == 1
}

#[test]
#[ignore = "needs root"]
fn an_interface_that_is_moved_to_another_namespace_is_followed_there() {
    in_namespace(|| {
        let (mut tap, _) = interface();
        let (tell_id, id) = channel();
        let (go, gone) = channel();
        let (done, is_done) = channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                enter_namespace();
                // A thread's namespace is named by its number.
                // SAFETY: it returns a number.
                tell_id.send(unsafe { libc::gettid() }).expect("the test waits");
                gone.recv().expect("it was moved");
                ip_ok("link set nook0 address 02:00:00:00:00:77");
                ip_ok("link set nook0 mtu 1400 up");
                let _ = is_done.recv();
            });
            let id = id.recv().expect("a namespace");
            ip_ok(&format!("link set nook0 netns {id}"));
            go.send(()).expect("it waits");
            wait_for(&mut tap, "moved", |wanted| wanted.mtu_bytes == 1400 && wanted.mac == Some(OTHER));
            drop(done);
        });
    });
}

/// Waits until the cable has a carrier, or has none.
fn wait_for_carrier(tap: &mut Tap, up: bool) {
    let begun = Instant::now();
    while tap.carrier() != up {
        Wire::due_ns(tap, now_ns());
        assert!(begun.elapsed() < PATIENCE, "the carrier is {}", tap.carrier());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
#[ignore = "needs root"]
fn a_cable_has_a_carrier_while_its_far_end_is_up_and_what_it_loses_is_counted() {
    in_namespace(|| {
        let far_end = Arc::<FarEnd>::default();
        let mut tap = Tap::cable("cable0", far_end.clone()).expect("a TAP interface");
        wait_for_carrier(&mut tap, false);
        ip_ok("link set cable0 up");
        wait_for_carrier(&mut tap, true);
        assert!(tap.send(&[0xff; 60]).expect("a write"));
        ip_ok("link set cable0 down");
        assert!(!tap.send(&[0xff; 60]).expect("no error"));
        assert_eq!(far_end.lost(), 1);
        wait_for_carrier(&mut tap, false);
        ip_ok("link set cable0 up");
        wait_for_carrier(&mut tap, true);
    });
}

#[test]
#[ignore = "needs root"]
fn a_cable_whose_far_end_is_removed_has_no_carrier_and_nothing_that_ends_a_wait() {
    in_namespace(|| {
        let far_end = Arc::<FarEnd>::default();
        let mut tap = Tap::cable("cable0", far_end.clone()).expect("a TAP interface");
        ip_ok("link set cable0 up");
        wait_for_carrier(&mut tap, true);
        ip_ok("link del cable0");
        let mut buffer = [0; 2048];
        assert_eq!(tap.recv(&mut buffer).expect("no error"), None);
        assert!(far_end.is_removed() && !tap.carrier());
        assert!(!tap.send(&[0xff; 60]).expect("no error"));
        assert_eq!(far_end.lost(), 1);
        let mut fds = Vec::new();
        Wire::event_fds(&tap, &mut fds);
        assert_eq!(fds, []);
    });
}

#[test]
#[ignore = "needs root"]
fn a_frame_that_is_longer_than_the_device_takes_is_counted_and_not_cut() {
    in_namespace(|| {
        let far_end = Arc::<FarEnd>::default();
        let mut tap = Tap::cable("cable0", far_end.clone()).expect("a TAP interface");
        ip_ok("link set cable0 mtu 9000 up");
        ip_ok("addr add 10.77.0.1/24 dev cable0");
        ip_ok("neigh add 10.77.0.2 lladdr 52:54:00:00:00:02 dev cable0");
        let socket = UdpSocket::bind("10.77.0.1:0").expect("a socket");
        for len in [8000, 100] {
            socket.send_to(&vec![0x5a; len], "10.77.0.2:7").expect("sending");
        }
        let mut buffer = [0; 2048];
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < PATIENCE, "the short one does not come");
            match tap.recv(&mut buffer).expect("a read") {
                Some(len) if buffer[..6] == [0x52, 0x54, 0, 0, 0, 2] => {
                    assert_eq!(len, 14 + 20 + 8 + 100);
                    break;
                }
                _ => {}
            }
        }
        assert_eq!(far_end.too_long(), 1);
    });
}
