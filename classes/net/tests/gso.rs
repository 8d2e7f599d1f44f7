//! Streams of the kernel's TCP through a driver's TAP interface, with headers in front of TCP that are not the usual
//! ones: every segment has them, and the stream arrives as it was sent.
#![expect(unsafe_code, reason = "namespaces of threads, options of sockets, and packet sockets")]

mod support;

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use nook_bus::VolatileSlice;
use nook_net::Tap;
use nook_net_api::{NetBackend, Outgoing, Room, Wire};
use nook_seed::Rng;
use sha2::{Digest, Sha256};
use support::{PATIENCE, enter_namespace, in_namespace, ip_ok, raw_tap};

const STREAM_BYTES: usize = 4 << 20;
/// The driver's buffers.
const BUFFER_BYTES: usize = 2048;
const VNET_BYTES: usize = 10;

fn stream() -> Vec<u8> {
    let mut rng = Rng::new(4);
    (0..STREAM_BYTES / 8).flat_map(|_| rng.word().to_ne_bytes()).collect()
}

/// What passed the driver's interface on its way out.
#[derive(Default)]
struct Passed {
    frames: u64,
    longest: usize,
    unfit: u64,
}

/// The two ends of a test: at the near one a program sends, behind a driver's interface; at the far one another program
/// receives.
struct Ends<'a> {
    /// The address that the stream goes to.
    to: &'a str,
    /// Prepares the near namespace; returns the driver's interface and what the near kernel's frames come from and go
    /// to, if that is another one.
    near: &'a (dyn Fn() -> (Tap, Option<Tagger>) + Sync),
    far: &'a (dyn Fn() -> Tap + Sync),
    /// Prepares the socket that sends.
    prepare: &'a (dyn Fn(&TcpStream) + Sync),
    /// Looks at each frame that leaves the driver's interface, and makes of it what the far end gets.
    look: &'a (dyn Fn(&mut Vec<u8>) + Sync),
}

/// Sends a stream, and says what passed. Fails unless it arrived as it was sent.
fn carry(ends: &Ends<'_>) -> Passed {
    let done = AtomicBool::new(false);
    let content = stream();
    let (listens, listening) = channel();
    let (gives_far, far) = channel();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            enter_namespace();
            gives_far.send((ends.far)()).expect("the test waits");
            let address: SocketAddr = ends.to.parse().expect("an address");
            // An IPv6 address is not there at once.
            let begun = Instant::now();
            let listener = loop {
                match TcpListener::bind(address) {
                    Ok(listener) => break listener,
                    Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
                }
                std::thread::sleep(Duration::from_millis(10));
            };
            listens.send(()).expect("the test waits");
            let (mut socket, _) = listener.accept().expect("a connection");
            socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let mut received = Vec::new();
            socket.read_to_end(&mut received).expect("the stream");
            Sha256::digest(&received)
        });
        let far = far.recv().expect("the far end");
        let (gives_near, near) = channel();
        let (done, content) = (&done, &content);
        let sender = scope.spawn(move || {
            enter_namespace();
            gives_near.send((ends.near)()).expect("the test waits");
            listening.recv().expect("a listener");
            let mut socket = TcpStream::connect(ends.to.parse::<SocketAddr>().expect("an address")).expect("connects");
            socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
            (ends.prepare)(&socket);
            socket.write_all(content).expect("the stream");
        });
        let (near, tagger) = near.recv().expect("the near end");
        let pump = scope.spawn(move || pump(near, far, tagger.as_ref(), ends.look, done));
        sender.join().expect("the sender");
        let received = receiver.join().expect("the receiver");
        done.store(true, Ordering::Relaxed);
        let passed = pump.join().expect("the pump");
        assert_eq!(received, Sha256::digest(content), "what arrived is what was sent");
        passed
    })
}

/// Carries frames both ways until `done`.
fn pump(
    mut near: Tap,
    mut far: Tap,
    tagger: Option<&Tagger>,
    look: &dyn Fn(&mut Vec<u8>),
    done: &AtomicBool,
) -> Passed {
    near.link(true).expect("the carrier");
    let mut passed = Passed::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    while !done.load(Ordering::Relaxed) {
        let mut moved = tagger.is_some_and(Tagger::forward);
        while let Some(Outgoing { len_bytes: len, .. }) =
            near.fetch(&Room::one(VolatileSlice::from(&mut buffer[..]))).expect("a read")
        {
            passed.frames += 1;
            passed.longest = passed.longest.max(len);
            let mut frame = buffer[..len].to_vec();
            look(&mut frame);
            far.send(&frame).expect("the far end takes it");
            moved = true;
        }
        passed.unfit += u64::from(near.unfit());
        while let Some(len) = far.recv(&mut buffer).expect("a read") {
            match tagger {
                Some(tagger) => tagger.deliver(&buffer[..len]),
                None => assert!(near.deliver(VolatileSlice::from(&mut buffer[..len]).into()).expect("a write")),
            }
            moved = true;
        }
        near.flush().expect("a write");
        if !moved {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    passed
}

/// Puts VLAN tags on what a kernel sends through one interface, whole packets of many segments among it, and sends them
/// through the driver's.
struct Tagger {
    inner: File,
    outer: OwnedFd,
    tags: Vec<u8>,
}

impl Tagger {
    fn new(inner: &str, outer: &str, tags: &[u8]) -> Tagger {
        let file = raw_tap(inner, libc::IFF_VNET_HDR | libc::IFF_NO_PI);
        let offloads = libc::c_ulong::from(libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6);
        // SAFETY: TUNSETOFFLOAD takes a number; F_SETFL takes flags.
        let outcomes = unsafe {
            [
                libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, offloads),
                libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK),
            ]
        };
        assert_eq!(outcomes, [0; 2], "{}", io::Error::last_os_error());
        // SAFETY: a plain system call.
        let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) };
        assert!(socket >= 0, "a packet socket: {}", io::Error::last_os_error());
        // SAFETY: it was just made, and nobody else has it.
        let outer_socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let on: libc::c_int = 1;
        // SAFETY: a sockaddr_ll is integers and arrays of them, for which zeros are a value.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as libc::c_ushort;
        let name = std::ffi::CString::new(outer).expect("a name");
        // SAFETY: the name, the int and the address live through the calls and have the lengths that are given.
        let outcomes = unsafe {
            address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as libc::c_int;
            [
                libc::setsockopt(socket, libc::SOL_PACKET, libc::PACKET_VNET_HDR, (&raw const on).cast(), 4),
                libc::bind(socket, (&raw const address).cast(), size_of_val(&address) as libc::socklen_t),
            ]
        };
        assert_eq!(outcomes, [0; 2], "{}", io::Error::last_os_error());
        Tagger { inner: file, outer: outer_socket, tags: tags.to_vec() }
    }

    /// Passes on what the kernel has sent. Returns whether there was something.
    fn forward(&self) -> bool {
        let mut packet = vec![0; 70_000];
        let mut any = false;
        while let Ok(len) = (&self.inner).read(&mut packet) {
            let mut tagged = packet[..len].to_vec();
            let at = VNET_BYTES + 12;
            tagged.splice(at..at, self.tags.iter().copied());
            // The headers' length, and where the checksum begins, as far as they mean something.
            for field in [2, 6] {
                let word = u16::from_ne_bytes([tagged[field], tagged[field + 1]]);
                if word != 0 {
                    tagged[field..field + 2].copy_from_slice(&(word + self.tags.len() as u16).to_ne_bytes());
                }
            }
            // SAFETY: the packet lives through the call.
            let sent = unsafe { libc::send(self.outer.as_raw_fd(), tagged.as_ptr().cast(), tagged.len(), 0) };
            assert!(sent >= 0, "{} bytes: {}", tagged.len(), io::Error::last_os_error());
            any = true;
        }
        any
    }

    /// Gives the kernel a frame, which has no tags.
    fn deliver(&self, frame: &[u8]) {
        let whole = [&[0; VNET_BYTES][..], frame].concat();
        (&self.inner).write_all(&whole).expect("the kernel takes it");
    }
}

fn far(address: &str) -> Tap {
    let tap = Tap::cable("cable0", Arc::default()).expect("a TAP interface");
    ip_ok(&format!("addr add {address} dev cable0"));
    ip_ok("link set cable0 up");
    tap
}

fn near(address: &str) -> Tap {
    let mut tap = Tap::interface("nook0").expect("a TAP interface");
    tap.link(true).expect("the carrier");
    ip_ok(&format!("addr add {address} dev nook0"));
    ip_ok("link set nook0 up");
    tap
}

fn through_tags(tags: &'static [u8]) {
    let near = || {
        let mut tap = Tap::interface("nook0").expect("a TAP interface");
        tap.link(true).expect("the carrier");
        ip_ok("link set nook0 mtu 1508 up");
        let tagger = Tagger::new("inner0", "nook0", tags);
        ip_ok("addr add 10.77.0.1/24 dev inner0");
        ip_ok("link set inner0 up");
        (tap, Some(tagger))
    };
    let tagged = std::sync::atomic::AtomicU64::new(0);
    let look = |frame: &mut Vec<u8>| {
        // The interface itself says hello without one.
        if frame[12..].starts_with(tags) {
            tagged.fetch_add(1, Ordering::Relaxed);
            frame.drain(12..12 + tags.len());
        }
    };
    let passed =
        carry(&Ends { to: "10.77.0.2:5000", near: &near, far: &|| far("10.77.0.2/24"), prepare: &|_| {}, look: &look });
    assert_eq!(passed.unfit, 0);
    assert!(passed.longest <= 1514 + tags.len(), "{}", passed.longest);
    assert!(tagged.into_inner() >= (STREAM_BYTES / 1460) as u64, "each segment has the tags");
}

#[test]
#[ignore = "needs root"]
fn a_tcp_packet_with_a_vlan_tag_is_cut_into_segments_with_the_tag() {
    in_namespace(|| through_tags(&[0x81, 0x00, 0x00, 0x07]));
}

#[test]
#[ignore = "needs root"]
fn a_tcp_packet_with_a_service_tag_and_one_in_it_is_cut_into_segments_with_both() {
    in_namespace(|| through_tags(&[0x88, 0xa8, 0x00, 0x08, 0x81, 0x00, 0x00, 0x07]));
}

/// Sets an option of the socket.
fn set(socket: &TcpStream, level: libc::c_int, option: libc::c_int, value: &[u8]) {
    let (fd, len) = (socket.as_raw_fd(), value.len() as libc::socklen_t);
    // SAFETY: the value lives through the call and has this length.
    let outcome = unsafe { libc::setsockopt(fd, level, option, value.as_ptr().cast(), len) };
    assert_eq!(outcome, 0, "setsockopt: {}", io::Error::last_os_error());
}

#[test]
#[ignore = "needs root"]
fn a_tcp_packet_with_ip_options_is_cut_into_segments_with_the_options() {
    in_namespace(|| {
        let with_options = std::sync::atomic::AtomicU64::new(0);
        let look = |frame: &mut Vec<u8>| {
            with_options.fetch_add((frame[12..15] == [0x08, 0x00, 0x46]).into(), Ordering::Relaxed);
        };
        let passed = carry(&Ends {
            to: "10.77.0.2:5000",
            near: &|| (near("10.77.0.1/24"), None),
            far: &|| far("10.77.0.2/24"),
            // Four times "no operation".
            prepare: &|socket| set(socket, libc::SOL_IP, libc::IP_OPTIONS, &[1; 4]),
            look: &look,
        });
        assert_eq!(passed.unfit, 0);
        assert!(passed.longest <= 1514, "{}", passed.longest);
        assert!(with_options.into_inner() >= (STREAM_BYTES / 1460) as u64, "each segment has them");
    });
}

#[test]
#[ignore = "needs root"]
fn a_tcp_packet_with_an_extension_header_of_ipv6_is_cut_into_segments_with_it() {
    in_namespace(|| {
        let extended = std::sync::atomic::AtomicU64::new(0);
        let look = |frame: &mut Vec<u8>| {
            extended.fetch_add((frame[12..14] == [0x86, 0xdd] && frame[20] == 60).into(), Ordering::Relaxed);
        };
        let passed = carry(&Ends {
            to: "[fd77::2]:5000",
            near: &|| (near("fd77::1/64 nodad"), None),
            far: &|| far("fd77::2/64 nodad"),
            // Destination options of eight bytes: six of padding.
            prepare: &|socket| set(socket, libc::SOL_IPV6, libc::IPV6_DSTOPTS, &[0, 0, 1, 4, 0, 0, 0, 0]),
            look: &look,
        });
        assert_eq!(passed.unfit, 0);
        assert!(passed.longest <= 1514, "{}", passed.longest);
        assert!(extended.into_inner() >= (STREAM_BYTES / 1460) as u64, "each segment has it");
    });
}
