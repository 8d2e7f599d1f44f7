//! What an operator turned off of an interface's offloads (`ethtool -K`), which setting a TAP's offloads turns on
//! again.
//!
//! Features are known by their names (Linux, Documentation/networking/netdev-features.rst): their numbers differ from
//! kernel to kernel.
#![expect(unsafe_code, reason = "ethtool's ioctls take structures of any length")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// Bits of ETHTOOL_GFEATURES and its relatives (Linux, include/uapi/linux/ethtool.h).
const GET_STRINGS: u32 = 0x1b;
const GET_SET_INFO: u32 = 0x37;
const GET_FEATURES: u32 = 0x3a;
const SET_FEATURES: u32 = 0x3b;
const FEATURE_NAMES: u32 = 4;
const NAME_BYTES: usize = 32;

/// Features that TUNSETOFFLOAD sets, and its bit for each.
const FEATURES: [(&str, u32); 3] = [
    ("tx-checksum-ip-generic", libc::TUN_F_CSUM),
    ("tx-tcp-segmentation", libc::TUN_F_TSO4),
    ("tx-tcp6-segmentation", libc::TUN_F_TSO6),
];

/// An interface, asked by its name in this process's network namespace.
pub(super) struct Features {
    socket: OwnedFd,
    name: Vec<u8>,
    /// Of each of [`FEATURES`], its place among the kernel's.
    places: [usize; 3],
    count: usize,
}

impl Features {
    pub(super) fn of(name: &str) -> io::Result<Self> {
        // Any socket is asked about interfaces; this one takes no address, and so no loopback interface that is up.
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        let mut features = Features { socket, name: name.into(), places: [0; 3], count: 0 };
        // Command, reserved, which sets are asked for (64 bits), and for each of them how long it is.
        let mut info = [GET_SET_INFO, 0, 1 << FEATURE_NAMES, 0, 0];
        features.call(&mut info)?;
        features.count = info[4] as usize;
        let mut names = vec![0; 3 + features.count * NAME_BYTES / 4];
        names[..3].copy_from_slice(&[GET_STRINGS, FEATURE_NAMES, features.count as u32]);
        features.call(&mut names)?;
        let bytes: Vec<u8> = names[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let names: Vec<&[u8]> =
            bytes.chunks(NAME_BYTES).map(|name| name.split(|&b| b == 0).next().unwrap_or(name)).collect();
        for (place, (name, _)) in features.places.iter_mut().zip(FEATURES) {
            let found = names.iter().position(|other| *other == name.as_bytes());
            *place = found.ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
        }
        Ok(features)
    }

    /// Returns which of TUNSETOFFLOAD's bits are turned off.
    pub(super) fn turned_off(&self) -> io::Result<u32> {
        let blocks = self.count.div_ceil(32);
        let mut words = vec![0; 2 + blocks * 4];
        words[..2].copy_from_slice(&[GET_FEATURES, blocks as u32]);
        self.call(&mut words)?;
        // Of each 32: available, wanted, active, never changed.
        let is_wanted =
            |place: usize| words.get(2 + place / 32 * 4 + 1).is_some_and(|word| word >> (place % 32) & 1 != 0);
        Ok(self.places.iter().zip(FEATURES).filter(|(place, _)| !is_wanted(**place)).map(|(_, (_, bit))| bit).sum())
    }

    /// Turns off what these bits of TUNSETOFFLOAD stand for. It takes CAP_NET_ADMIN.
    pub(super) fn turn_off(&self, bits: u32) -> io::Result<()> {
        let blocks = self.count.div_ceil(32);
        let mut words = vec![0; 2 + blocks * 2];
        words[..2].copy_from_slice(&[SET_FEATURES, blocks as u32]);
        for (&place, _) in self.places.iter().zip(FEATURES).filter(|(_, (_, bit))| bits & bit != 0) {
            // Of each 32: which are set, and to what.
            words[2 + place / 32 * 2] |= 1 << (place % 32);
        }
        self.call(&mut words)
    }

    fn call(&self, words: &mut [u32]) -> io::Result<()> {
        // SAFETY: an ifreq is integers and arrays of them, for which zeros are a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        if self.name.len() >= request.ifr_name.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (to, from) in request.ifr_name.iter_mut().zip(&self.name) {
            *to = *from as libc::c_char;
        }
        request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
        // SAFETY: SIOCETHTOOL reads one ifreq, and reads and writes what its pointer leads to as far as the lengths in
        // it say, which are those of `words`: each caller sizes it by the count that it puts into it.
        let outcome = unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCETHTOOL as _, &mut request) };
        if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tap;
    use std::process::Command;

    const ALL: u32 = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;

    /// Runs `test` in a network namespace that ends with it, in which there is a persistent TAP interface.
    fn beside_a_tap(test: impl FnOnce() + Send) {
        let inside = || {
            // SAFETY: changes this thread's network namespace and nothing else.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "{}", io::Error::last_os_error());
            // Nothing else is up in it, not even the loopback interface.
            let mut command = Command::new("ip");
            assert!(command.args(["tuntap", "add", "dev", "nook0", "mode", "tap"]).status().expect("ip").success());
            test();
        };
        let outcome = std::thread::scope(|scope| scope.spawn(inside).join());
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }

    #[test]
    #[ignore = "needs root"]
    fn what_an_operator_turned_off_is_off_when_the_interface_was_opened() {
        beside_a_tap(|| {
            let features = Features::of("nook0").expect("its features");
            for off in [libc::TUN_F_TSO4, libc::TUN_F_CSUM, libc::TUN_F_TSO4 | libc::TUN_F_TSO6] {
                features.turn_off(off).expect("turning it off");
                drop(Tap::interface("nook0").expect("the interface"));
                assert_eq!(features.turned_off().expect("its features"), off);
                assert!(Command::new("ip").args(["link", "del", "nook0"]).status().expect("ip").success());
                assert!(
                    Command::new("ip")
                        .args(["tuntap", "add", "dev", "nook0", "mode", "tap"])
                        .status()
                        .expect("ip")
                        .success()
                );
            }
        });
    }

    #[test]
    #[ignore = "needs root"]
    fn what_a_cables_far_end_left_is_no_operators_wish() {
        beside_a_tap(|| {
            let features = Features::of("nook0").expect("its features");
            drop(Tap::cable("nook0", Default::default()).expect("the far end"));
            assert_eq!(features.turned_off().expect("its features"), ALL);
            drop(Tap::interface("nook0").expect("the interface"));
            assert_eq!(features.turned_off().expect("its features"), 0);
        });
    }
}
