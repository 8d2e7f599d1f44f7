//! A VLAN interface for kernels without one: what passes it leaves another interface with a tag, and what arrives there
//! with that tag comes in here.
#![expect(unsafe_code, reason = "ioctls of a TAP interface, and packet sockets")]

use std::fs::{File, OpenOptions};
use std::io::{Error, Read, Result, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The header in front of each packet (VIRTIO 1.2, section 5.1.6): its kind of segmentation, the headers' length and
/// where the checksum begins.
const VNET_BYTES: usize = 10;
const GSO_TYPE: usize = 1;
const PLACES: [usize; 2] = [2, 6];
/// Two Ethernet addresses come before a tag.
const TAG_AT: usize = VNET_BYTES + 12;
const LONGEST_BYTES: usize = 70_000;

/// Both interfaces, between which a thread passes packets, whole ones of many segments among them.
pub struct Tagger {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    inner: File,
    outer: OwnedFd,
    tag: u16,
    ends: AtomicBool,
    merged: AtomicU64,
    tagged: AtomicU64,
}

impl Tagger {
    /// Makes the interface `inner` above `outer`, in this thread's namespace. `tag` is what stands behind 0x8100.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn new(inner: &str, outer: &str, tag: u16) -> Result<Tagger> {
        let shared = Arc::new(Shared {
            inner: tap(inner)?,
            outer: packet_socket(outer)?,
            tag,
            ends: AtomicBool::new(false),
            merged: AtomicU64::new(0),
            tagged: AtomicU64::new(0),
        });
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || shared.pass()
        });
        Ok(Tagger { shared, thread: Some(thread) })
    }

    /// Returns how many packets came with the tag, and how many of them were several segments in one.
    pub fn came(&self) -> (u64, u64) {
        (self.shared.tagged.load(Ordering::Relaxed), self.shared.merged.load(Ordering::Relaxed))
    }
}

impl Drop for Tagger {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn pass(&self) {
        let mut packet = vec![0; LONGEST_BYTES];
        while !self.ends.load(Ordering::Relaxed) {
            let mut fds = [PollFd::new(&self.inner, PollFlags::IN), PollFd::new(&self.outer, PollFlags::IN)];
            let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 50_000_000 }));
            // What an interface cannot take now is lost, as on any cable.
            while let Ok(len @ 1..) = (&self.inner).read(&mut packet) {
                self.put_tag(&packet[..len]);
            }
            while let Ok(Some(len)) = self.receive(&mut packet) {
                let _ = (&self.inner).write(&packet[..len]);
            }
        }
    }

    fn put_tag(&self, packet: &[u8]) {
        let mut tagged = packet.to_vec();
        let [high, low] = self.tag.to_be_bytes();
        tagged.splice(TAG_AT..TAG_AT, [0x81, 0x00, high, low]);
        for at in PLACES {
            let place = u16::from_ne_bytes([tagged[at], tagged[at + 1]]);
            if place != 0 {
                tagged[at..at + 2].copy_from_slice(&(place + 4).to_ne_bytes());
            }
        }
        // SAFETY: the packet lives through the call.
        unsafe { libc::send(self.outer.as_raw_fd(), tagged.as_ptr().cast(), tagged.len(), 0) };
    }

    /// Takes the next packet with the tag; the kernel has taken the tag off, and says so beside the packet (packet(7)).
    fn receive(&self, packet: &mut [u8]) -> Result<Option<usize>> {
        loop {
            let mut beside = [0_u64; 16];
            let mut vector = libc::iovec { iov_base: packet.as_mut_ptr().cast(), iov_len: packet.len() };
            // SAFETY: a msghdr is integers and pointers, for which zeros are a value.
            let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
            (message.msg_iov, message.msg_iovlen) = (&raw mut vector, 1);
            (message.msg_control, message.msg_controllen) = (beside.as_mut_ptr().cast(), size_of_val(&beside) as _);
            // SAFETY: the message, and what it names, lives through the call and has the lengths that it says.
            let len = unsafe { libc::recvmsg(self.outer.as_raw_fd(), &raw mut message, 0) };
            let Ok(len) = usize::try_from(len) else { return Err(Error::last_os_error()) };
            // SAFETY: the kernel filled in the message.
            let first = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
            if first.is_null() {
                continue;
            }
            // SAFETY: there is a first header, and PACKET_AUXDATA is all that was asked for, so this is its data.
            let aux = unsafe { libc::CMSG_DATA(first).cast::<libc::tpacket_auxdata>().read_unaligned() };
            if aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0 && aux.tp_vlan_tci == self.tag {
                self.tagged.fetch_add(1, Ordering::Relaxed);
                self.merged.fetch_add((packet[GSO_TYPE] != 0).into(), Ordering::Relaxed);
                return Ok(Some(len));
            }
        }
    }
}

/// Makes a TAP interface that passes packets with a header, whole ones of many segments among them.
fn tap(name: &str) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    // SAFETY: an ifreq is integers and arrays of them, for which zeros are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    let offloads = libc::c_ulong::from(libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6);
    // SAFETY: TUNSETIFF reads an ifreq, which lives through the call, and TUNSETOFFLOAD takes a number.
    let failed = unsafe {
        libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) != 0
            || libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, offloads) != 0
    };
    if failed { Err(Error::last_os_error()) } else { Ok(file) }
}

/// Makes a packet socket on an interface, with a header in front of each packet and what the kernel found beside it.
fn packet_socket(interface: &str) -> Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK;
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: a plain system call.
    let socket = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if socket < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: it was just made, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let set = |level: libc::c_int, option: libc::c_int, value: libc::c_int| {
        // SAFETY: the value lives through the call and is an int.
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), 4) }
    };
    let outcomes = [
        set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1),
        set(libc::SOL_PACKET, libc::PACKET_AUXDATA, 1),
        set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1),
        set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 64 << 20),
    ];
    let name = std::ffi::CString::new(interface)?;
    // SAFETY: a sockaddr_ll is integers and arrays of them, for which zeros are a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_protocol = protocol;
    // SAFETY: the name lives through the call.
    address.sll_ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) } as libc::c_int;
    // SAFETY: the address lives through the call and has this length.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as u32) };
    if bound != 0 || outcomes.contains(&-1) { Err(Error::last_os_error()) } else { Ok(socket) }
}
