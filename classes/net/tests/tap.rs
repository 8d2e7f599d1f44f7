//! TAP interfaces of the kernel, each test in its own network namespace that ends with its thread.
#![expect(
    unsafe_code,
    reason = "namespaces and rights of one thread, and what an earlier owner leaves on an interface"
)]

mod support;

use std::io;
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nook_bus::VolatileSlice;
use nook_net::protocol::{Progress, Request, Transfer, Verb};
use nook_net::{EXERCISE_PORT, IpHost, IpHostConfig, Peer, PeerConfig, PingPlan, Plan, Tap, TapError};
use nook_net_api::{NetBackend, Outgoing, Room, Wire};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smoltcp::wire::{EthernetFrame, Ipv4Packet, UdpPacket};
use support::{in_namespace, ip, ip_ok, raw_tap};

const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];

fn now_ns() -> u64 {
    nook_bus::Clock::Monotonic.now_ns()
}

/// Moves frames between two ends until `done`.
fn pump(mut step: impl FnMut() -> bool, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        if !step() {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

/// Sets its flag at the end of its life, also of one that ends in a panic.
struct Set<'a>(&'a AtomicBool);

impl Drop for Set<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
#[ignore = "needs root"]
fn the_kernel_talks_to_a_peer_through_a_tap_interface() {
    in_namespace(|| {
        let mut tap = Tap::interface("nook0").expect("a TAP interface");
        tap.set_mac(MAC).expect("setting the address");
        ip_ok("addr add 10.0.2.15/24 dev nook0");
        ip_ok("link set nook0 up");
        tap.link(true).expect("the carrier");
        let mut peer = Peer::new(PeerConfig::default());
        let mut buffer = vec![0; 2048];
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let set = Set(&done);
            let asks = scope.spawn(move || {
                let _set = set;
                let ping = Command::new("ping").args(["-c5", "-i0.2", "-W5", "10.0.2.2"]).output().expect("ping runs");
                assert!(ping.status.success(), "{}", String::from_utf8_lossy(&ping.stdout));
                let socket = UdpSocket::bind("10.0.2.15:0").expect("a socket");
                socket.send_to(b"say it again", "10.0.2.2:7").expect("sending");
                let mut echo = [0; 100];
                let len = socket.recv(&mut echo).expect("an echo");
                assert_eq!(echo[..len], *b"say it again");
                for verb in [Verb::Put, Verb::Get] {
                    let mut stream = TcpStream::connect(("10.0.2.2", EXERCISE_PORT)).expect("a connection");
                    let mut transfer = Transfer::new(Request { verb, bytes: 3_000_001 });
                    assert_eq!(transfer.advance(&mut stream).expect("a stream"), Progress::Done);
                    assert!(transfer.outcome().expect("an outcome").hash_ok);
                }
            });
            let step = || {
                let mut moved = false;
                while let Some(Outgoing { len_bytes: len, .. }) =
                    tap.fetch(&Room::one(VolatileSlice::from(&mut buffer[..]))).expect("a read")
                {
                    moved = true;
                    peer.send(&buffer[..len]).expect("the peer takes it");
                }
                peer.due_ns(now_ns());
                while let Some(len) = peer.recv(&mut buffer).expect("a frame") {
                    moved = true;
                    tap.deliver(VolatileSlice::from(&mut buffer[..len]).into()).expect("a write");
                }
                moved
            };
            pump(step, &done);
            if let Err(panic) = asks.join() {
                std::panic::resume_unwind(panic);
            }
        });
    });
}

#[test]
#[ignore = "needs root"]
fn the_host_pings_the_kernel_at_the_other_end_of_a_cable() {
    in_namespace(|| {
        let mut tap = Tap::cable("cable0", Arc::default()).expect("a TAP interface");
        ip_ok("addr add 10.0.2.2/24 dev cable0");
        ip_ok("link set cable0 up");
        let mut host = IpHost::new(IpHostConfig::default());
        host.set_mac(MAC).expect("an address");
        host.link(true).expect("the link");
        host.start(Plan { ping: Some(PingPlan { count: 20 }), ..Plan::default() });
        let mut buffer = vec![0; 2048];
        while !host.finished() {
            host.service(now_ns()).expect("the host works");
            while let Some(Outgoing { len_bytes: len, .. }) =
                host.fetch(&Room::one(VolatileSlice::from(&mut buffer[..]))).expect("a frame")
            {
                Wire::send(&mut tap, &buffer[..len]).expect("a write");
            }
            while let Some(len) = Wire::recv(&mut tap, &mut buffer).expect("a read") {
                host.deliver(VolatileSlice::from(&mut buffer[..len]).into()).expect("the host takes it");
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        let report = host.report();
        assert_eq!(report.error, None);
        assert_eq!(report.ping.map(|ping| (ping.sent, ping.received)), Some((20, 20)));
    });
}

#[test]
#[ignore = "needs root"]
fn address_and_carrier_are_the_drivers_and_the_interface_is_gone_in_the_end() {
    in_namespace(|| {
        let mut tap = Tap::interface("nook0").expect("a TAP interface");
        assert_eq!(tap.name(), "nook0");
        ip_ok("link set nook0 up");
        assert!(ip_ok("link show nook0").contains("NO-CARRIER"));
        tap.set_mac(MAC).expect("setting the address");
        tap.link(true).expect("the carrier");
        let shown = ip_ok("link show nook0");
        assert!(shown.contains("52:54:00:12:34:56") && shown.contains("LOWER_UP"), "{shown}");
        tap.link(false).expect("the carrier");
        assert!(ip_ok("link show nook0").contains("NO-CARRIER"));
        drop(tap);
        // A process that another test has just forked holds a copy of the descriptor until it executes its program.
        let begun = Instant::now();
        while ip("link show nook0").status.success() {
            assert!(begun.elapsed() < Duration::from_secs(30), "the interface stays");
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_cable_has_a_carrier_from_the_start() {
    in_namespace(|| {
        let _tap = Tap::cable("cable0", Arc::default()).expect("a TAP interface");
        ip_ok("link set cable0 up");
        assert!(ip_ok("link show cable0").contains("LOWER_UP"));
    });
}

#[test]
#[ignore = "needs root"]
fn while_the_interface_is_down_frames_are_dropped_and_reading_finds_nothing() {
    in_namespace(|| {
        let mut tap = Tap::interface("nook0").expect("a TAP interface");
        let mut frame = [0xff; 60];
        let taken = tap.deliver(VolatileSlice::from(&mut frame[..]).into());
        assert!(!taken.expect("it is not an error"));
        let mut buffer = [0; 2048];
        assert!(tap.fetch(&Room::one(VolatileSlice::from(&mut buffer[..]))).expect("it does not wait").is_none());
    });
}

#[test]
#[ignore = "needs root"]
fn an_interface_that_is_taken_away_is_an_error_that_names_it() {
    in_namespace(|| {
        let mut tap = Tap::interface("nook0").expect("a TAP interface");
        ip_ok("link del nook0");
        let mut buffer = [0; 2048];
        let Err(error) = tap.fetch(&Room::one(VolatileSlice::from(&mut buffer[..]))) else { panic!("it is gone") };
        assert!(error.to_string().contains("nook0") && error.to_string().contains("removed"), "{error}");
    });
}

#[test]
#[ignore = "needs root"]
fn a_name_that_is_in_use_or_is_no_tap_is_refused_with_the_reason() {
    in_namespace(|| {
        let _tap = Tap::interface("nook0").expect("a TAP interface");
        assert!(matches!(Tap::interface("nook0"), Err(TapError::Busy { .. })));
        assert!(matches!(Tap::interface("lo"), Err(TapError::NotATap { .. })));
    });
}

/// Gives up this thread's right to manage the network, and keeps its user, who is root.
fn drop_net_admin() {
    /// _LINUX_CAPABILITY_VERSION_3: two words of each set.
    const VERSION: u32 = 0x2008_0522;
    const CAP_NET_ADMIN: u32 = 12;
    // Version and process (0: this thread), then effective, permitted and inheritable bits, twice.
    let header = [VERSION, 0];
    let mut sets = [0_u32; 6];
    // SAFETY: capget writes six words, which are there.
    let outcome = unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) };
    assert_eq!(outcome, 0, "capget: {}", io::Error::last_os_error());
    sets[0] &= !(1 << CAP_NET_ADMIN);
    sets[1] &= !(1 << CAP_NET_ADMIN);
    // SAFETY: capset reads six words, and changes the rights of this thread alone.
    let outcome = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    assert_eq!(outcome, 0, "capset: {}", io::Error::last_os_error());
}

#[test]
#[ignore = "needs root"]
fn its_owner_can_use_an_interface_without_the_right_to_make_one() {
    in_namespace(|| {
        ip_ok("tuntap add dev nook0 mode tap user 0");
        ip_ok("tuntap add dev nook1 mode tap user 65534");
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                drop_net_admin();
                let mut tap = Tap::interface("nook0").expect("the interface of this user");
                tap.set_mac(MAC).expect("setting the address");
                tap.link(true).expect("the carrier");
                for name in ["nook1", "nook2"] {
                    let Err(error) = Tap::interface(name) else { panic!("{name} is not this user's") };
                    assert!(matches!(error, TapError::NotAllowed { .. }), "{name}: {error}");
                }
            });
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        });
        let shown = ip_ok("link show nook0");
        assert!(shown.contains("52:54:00:12:34:56"), "it stays, as the driver left it: {shown}");
    });
}

/// Lets an earlier owner of the interface leave something behind: requests, each with what its argument is or leads to.
fn leave(name: &str, left: &[(libc::Ioctl, *const libc::c_void)]) {
    let tun = raw_tap(name, libc::IFF_VNET_HDR);
    for &(request, argument) in left {
        // SAFETY: what the arguments lead to lives in the callers through the calls.
        let outcome = unsafe { libc::ioctl(tun.as_raw_fd(), request, argument) };
        assert!(outcome >= 0, "{request:#x}: {}", io::Error::last_os_error());
    }
}

/// Lets it leave a header of another length, and packets of many frames.
fn leave_settings(name: &str, header_bytes: libc::c_int) {
    let offloads = (libc::TUN_F_CSUM | libc::TUN_F_TSO4) as usize;
    leave(
        name,
        &[
            (libc::TUNSETVNETHDRSZ, (&raw const header_bytes).cast()),
            // The number itself is the argument.
            (libc::TUNSETOFFLOAD, std::ptr::without_provenance(offloads)),
        ],
    );
}

/// Returns an interface whose earlier owner has closed it: a process that another test has just forked holds a copy of
/// the descriptor until it executes its program.
fn left_by_its_owner(open: impl Fn() -> Result<Tap, TapError>) -> Tap {
    let begun = Instant::now();
    loop {
        match open() {
            Err(TapError::Busy { .. }) if begun.elapsed() < Duration::from_secs(30) => {
                std::thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome.expect("the interface"),
        }
    }
}

/// Takes the next frame from the interface.
fn next_frame(tap: &mut Tap, buffer: &mut [u8]) -> Option<usize> {
    Some(tap.fetch(&Room::one(VolatileSlice::from(buffer))).expect("a read")?.len_bytes)
}

/// Sends a datagram out of the interface, to a neighbour, and finds it among the frames that `read` gives.
fn datagram(name: &str, mut read: impl FnMut(&mut [u8]) -> Option<usize>) -> Vec<u8> {
    ip_ok(&format!("addr add 10.0.2.15/24 dev {name}"));
    ip_ok(&format!("link set {name} up"));
    ip_ok(&format!("neigh add 10.0.2.2 lladdr 52:54:00:00:00:02 dev {name}"));
    let socket = UdpSocket::bind("10.0.2.15:0").expect("a socket");
    socket.send_to(&[0x5a; 100], "10.0.2.2:7").expect("sending");
    let mut buffer = [0; 2048];
    let mut frames = std::iter::from_fn(|| read(&mut buffer).map(|len| buffer[..len].to_vec()));
    frames
        .find(|frame| frame.starts_with(&[0x52, 0x54, 0, 0, 0, 2]))
        .expect("the datagram's frame, from its first byte")
}

fn assert_whole(frame: &[u8]) {
    let frame = EthernetFrame::new_checked(frame).expect("a frame");
    let packet = Ipv4Packet::new_checked(frame.payload()).expect("a packet");
    let datagram = UdpPacket::new_checked(packet.payload()).expect("a datagram");
    assert_eq!(datagram.payload(), [0x5a; 100]);
    assert!(
        datagram.verify_checksum(&packet.src_addr().into(), &packet.dst_addr().into()),
        "its checksum is left open"
    );
}

#[test]
#[ignore = "needs root"]
fn a_header_of_another_length_that_an_earlier_owner_left_moves_no_frame() {
    in_namespace(|| {
        ip_ok("tuntap add dev nook0 mode tap");
        leave_settings("nook0", 12);
        let mut tap = left_by_its_owner(|| Tap::interface("nook0"));
        tap.link(true).expect("the carrier");
        let frame = datagram("nook0", |buffer| next_frame(&mut tap, buffer));
        assert_whole(&frame);
    });
}

#[test]
#[ignore = "needs root"]
fn a_cable_carries_finished_frames_although_an_earlier_owner_finished_them_itself() {
    in_namespace(|| {
        ip_ok("tuntap add dev cable0 mode tap");
        leave_settings("cable0", 12);
        let mut tap = left_by_its_owner(|| Tap::cable("cable0", Arc::default()));
        let frame = datagram("cable0", |buffer| Wire::recv(&mut tap, buffer).expect("a read"));
        assert_whole(&frame);
    });
}

#[test]
#[ignore = "needs root"]
fn filters_and_a_small_buffer_that_an_earlier_owner_left_lose_no_frame() {
    in_namespace(|| {
        // Flags, how many, and one address that nobody has; a program that takes nothing of any packet.
        let addresses = [0_u16, 1, 0x0002, 0, 0x9900];
        let mut program = [libc::sock_filter { code: 6, jt: 0, jf: 0, k: 0 }];
        let program = libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
        let bytes: libc::c_int = 1;
        let all: [(&str, libc::Ioctl, *const libc::c_void); 3] = [
            ("a filter of addresses", libc::TUNSETTXFILTER, (&raw const addresses).cast()),
            ("a filter program", libc::TUNATTACHFILTER, (&raw const program).cast()),
            ("a buffer of one byte", libc::TUNSETSNDBUF, (&raw const bytes).cast()),
        ];
        for (at, (what, request, argument)) in all.into_iter().enumerate() {
            let (nook, cable) = (format!("nook{at}"), format!("cable{at}"));
            for name in [&nook, &cable] {
                ip_ok(&format!("tuntap add dev {name} mode tap"));
                leave(name, &[(request, argument)]);
            }
            let mut tap = left_by_its_owner(|| Tap::interface(&nook));
            tap.link(true).expect("the carrier");
            assert_whole(&datagram(&nook, |buffer| next_frame(&mut tap, buffer)));
            let mut frame = [0xff; 60];
            assert!(tap.deliver(VolatileSlice::from(&mut frame[..]).into()).expect("a write"), "{what}");
            ip_ok(&format!("addr flush dev {nook}"));
            let mut tap = left_by_its_owner(|| Tap::cable(&cable, Arc::default()));
            assert_whole(&datagram(&cable, |buffer| Wire::recv(&mut tap, buffer).expect("a read")));
            assert!(tap.send(&frame).expect("a write"), "{what}");
            ip_ok(&format!("addr flush dev {cable}"));
        }
    });
}

#[test]
#[ignore = "needs root"]
fn an_interface_that_an_earlier_owner_made_one_without_ethernet_addresses_is_refused() {
    in_namespace(|| {
        ip_ok("tuntap add dev nook0 mode tap");
        leave("nook0", &[(libc::TUNSETLINK, std::ptr::without_provenance(libc::ARPHRD_PPP as usize))]);
        let begun = Instant::now();
        while matches!(Tap::interface("nook0"), Err(TapError::Busy { .. })) {
            assert!(begun.elapsed() < support::PATIENCE, "its owner keeps it");
        }
        assert!(matches!(Tap::interface("nook0"), Err(TapError::NotATap { .. })));
    });
}

#[test]
#[ignore = "needs root"]
fn a_frame_that_the_kernel_sends_ends_a_wait_for_the_descriptor() {
    in_namespace(|| {
        let mut tap = Tap::interface("nook0").expect("a TAP interface");
        ip_ok("addr add 10.0.2.15/24 dev nook0");
        ip_ok("link set nook0 up");
        tap.link(true).expect("the carrier");
        let socket = UdpSocket::bind("10.0.2.15:0").expect("a socket");
        socket.send_to(b"anybody there?", "10.0.2.2:7").expect("sending");
        let mut fds = Vec::new();
        NetBackend::event_fds(&tap, &mut fds);
        assert_eq!(fds.len(), 2, "frames, and changes of the interface");
        let begun = Instant::now();
        // SAFETY: the interface, whose descriptor it is, lives to the end of this test.
        let fd = unsafe { BorrowedFd::borrow_raw(fds[0]) };
        let timeout = Timespec { tv_sec: 10, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&timeout)).expect("a wait");
        assert_eq!(ready, 1, "nothing for {:?}", begun.elapsed());
        let mut buffer = [0; 2048];
        let room = Room::one(VolatileSlice::from(&mut buffer[..]));
        let Outgoing { len_bytes: len, .. } = tap.fetch(&room).expect("a read").expect("a frame");
        assert!(len >= 14);
    });
}
