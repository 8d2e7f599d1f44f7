//! The system calls of a TAP interface (Linux, Documentation/networking/tuntap.rst): opening it, its settings, and
//! packets in parts, some of which lie in memory that a driver or a device can write.
#![expect(unsafe_code, reason = "ioctls of TAP interfaces, and reads and writes of memory that others write too")]

use std::fs::{File, OpenOptions};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nook_bus::VolatileSlice;
use rustix::ioctl::{IntegerSetter, Opcode, Setter, Updater, ioctl};

use super::features::Features;
use crate::offload::VnetHeader;

const SET_INTERFACE: Opcode = libc::TUNSETIFF as Opcode;
const GET_INTERFACE: Opcode = libc::TUNGETIFF as Opcode;
const SET_HEADER_BYTES: Opcode = libc::TUNSETVNETHDRSZ as Opcode;
const SET_OFFLOAD: Opcode = libc::TUNSETOFFLOAD as Opcode;
const SET_CARRIER: Opcode = libc::TUNSETCARRIER as Opcode;
const SET_ADDRESS: Opcode = libc::SIOCSIFHWADDR as Opcode;
const GET_ADDRESS: Opcode = libc::SIOCGIFHWADDR as Opcode;
const SET_LITTLE_ENDIAN: Opcode = libc::TUNSETVNETLE as Opcode;
const SET_BIG_ENDIAN: Opcode = libc::TUNSETVNETBE as Opcode;
const SET_SEND_BUFFER: Opcode = libc::TUNSETSNDBUF as Opcode;
const SET_TX_FILTER: Opcode = libc::TUNSETTXFILTER as Opcode;
const DETACH_FILTER: Opcode = libc::TUNDETACHFILTER as Opcode;
const SET_FILTER_PROGRAM: Opcode = libc::TUNSETFILTEREBPF as Opcode;
const SET_STEERING_PROGRAM: Opcode = libc::TUNSETSTEERINGEBPF as Opcode;

/// A `struct tun_filter` that lets all frames pass: no flags, no addresses.
const NO_FILTER: [u16; 2] = [0, 0];
/// Where a program is asked for, this takes it away.
const NO_PROGRAM: libc::c_int = -1;

/// An open TAP interface, never waiting.
pub(super) struct Device(File);

impl Device {
    /// Makes the interface of this name, or takes one that is there. With a header, a [`VnetHeader`] precedes each
    /// packet, and what checksums and TCP's segmentation of a packet from the kernel are still to be done is ours to
    /// do.
    ///
    /// What belongs to the interface and not to this descriptor, and outlives the process that set it, is set or
    /// checked either way: see [`forget_earlier_owner`](Self::forget_earlier_owner).
    pub(super) fn open(name: &str, with_header: bool) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
        let mut request = interface_request();
        if name.len() >= request.ifr_name.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        let header = if with_header { libc::IFF_VNET_HDR } else { 0 };
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | header) as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes one ifreq.
        unsafe { ioctl(&file, Updater::<SET_INTERFACE, libc::ifreq>::new(&mut request)) }?;
        if with_header {
            // SAFETY: TUNSETVNETHDRSZ reads one int.
            unsafe { ioctl(&file, Setter::<SET_HEADER_BYTES, libc::c_int>::new(VnetHeader::BYTES as libc::c_int)) }?;
        }
        let device = Device(file);
        device.forget_earlier_owner()?;
        device.set_offloads(name, with_header)?;
        Ok(device)
    }

    /// Sets what may be left to do of a packet from the kernel: checksums and TCP's segmentation, if there is a header
    /// to say so. What an operator turned off of it (`ethtool -K`) stays off. If all of it is off, a program
    /// that had the interface before, such as a cable's far end, is taken to have done that.
    fn set_offloads(&self, name: &str, with_header: bool) -> io::Result<()> {
        const ALL: u32 = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
        let set = |offloads: u32| {
            // SAFETY: TUNSETOFFLOAD takes a number and no pointer.
            unsafe { ioctl(&self.0, IntegerSetter::<SET_OFFLOAD>::new_usize(offloads as usize)) }
        };
        if !with_header {
            return Ok(set(0)?);
        }
        // A kernel that does not say it is asked for everything.
        let features = Features::of(name).and_then(|features| Ok((features.turned_off()?, features)));
        set(ALL)?;
        if let Err(error) = &features {
            tracing::warn!(
                "{name}: what `ethtool -K` turned off of checksums and segmentation is turned on: asking for it failed: \
                 {error}"
            );
        }
        let Ok((off @ 1.., features)) = features else { return Ok(()) };
        if off == ALL {
            return Ok(());
        }
        tracing::info!("{name}: what `ethtool -K` turned off of checksums and segmentation stays off");
        // Who may not set features can still ask for less; the kernel segments only what it need not sum up.
        features.turn_off(off).or_else(|_| {
            let left = if off & libc::TUN_F_CSUM != 0 { 0 } else { ALL & !off };
            set(left).map_err(Into::into)
        })
    }

    /// Sets what an earlier owner of the interface may have left on it: the order of bytes in headers, the room for
    /// packets that are written, and three kinds of filters. With one of those in place frames would be lost without a
    /// trace.
    fn forget_earlier_owner(&self) -> io::Result<()> {
        let file = &self.0;
        // SAFETY: TUNSETVNETLE reads one int.
        unsafe { ioctl(file, Setter::<SET_LITTLE_ENDIAN, libc::c_int>::new(0)) }?;
        // SAFETY: TUNSETSNDBUF reads one int.
        unsafe { ioctl(file, Setter::<SET_SEND_BUFFER, libc::c_int>::new(libc::c_int::MAX)) }?;
        // SAFETY: TUNSETTXFILTER reads two words of 16 bits, and as many addresses as the second says: none.
        unsafe { ioctl(file, Setter::<SET_TX_FILTER, [u16; 2]>::new(NO_FILTER)) }?;
        // SAFETY: TUNDETACHFILTER uses no argument.
        unsafe { ioctl(file, IntegerSetter::<DETACH_FILTER>::new_usize(0)) }?;
        // The rest is not in every kernel; what a kernel does not have, nobody left there.
        // SAFETY: TUNSETVNETBE reads one int.
        let _ = unsafe { ioctl(file, Setter::<SET_BIG_ENDIAN, libc::c_int>::new(0)) };
        // SAFETY: TUNSETFILTEREBPF reads one int.
        let _ = unsafe { ioctl(file, Setter::<SET_FILTER_PROGRAM, libc::c_int>::new(NO_PROGRAM)) };
        // SAFETY: TUNSETSTEERINGEBPF reads one int.
        let _ = unsafe { ioctl(file, Setter::<SET_STEERING_PROGRAM, libc::c_int>::new(NO_PROGRAM)) };
        // Its kind of addresses can be changed too, and then it carries no Ethernet frames.
        let mut request = interface_request();
        // SAFETY: on a TAP's descriptor SIOCGIFHWADDR writes one ifreq.
        unsafe { ioctl(file, Updater::<GET_ADDRESS, libc::ifreq>::new(&mut request)) }?;
        // SAFETY: it wrote the address, and any bytes are one.
        let kind = unsafe { request.ifr_ifru.ifru_hwaddr.sa_family };
        if kind == libc::ARPHRD_ETHER { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EINVAL)) }
    }

    pub(super) fn set_carrier(&self, on: bool) -> io::Result<()> {
        // SAFETY: TUNSETCARRIER reads one int.
        Ok(unsafe { ioctl(&self.0, Setter::<SET_CARRIER, libc::c_int>::new(on.into())) }?)
    }

    /// Sets its address. Its owner may do so on this descriptor without CAP_NET_ADMIN.
    pub(super) fn set_mac(&self, mac: [u8; 6]) -> io::Result<()> {
        let mut data = [0; 14];
        for (to, from) in data.iter_mut().zip(mac) {
            *to = from as libc::c_char;
        }
        let mut request = interface_request();
        request.ifr_ifru.ifru_hwaddr = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: data };
        // SAFETY: on a TAP's descriptor SIOCSIFHWADDR reads one ifreq.
        Ok(unsafe { ioctl(&self.0, Setter::<SET_ADDRESS, libc::ifreq>::new(request)) }?)
    }

    /// Returns the interface's name, which may have been changed.
    pub(super) fn name(&self) -> io::Result<String> {
        let name = self.request()?.ifr_name;
        Ok(name.iter().take_while(|&&byte| byte != 0).map(|&byte| char::from(byte as u8)).collect())
    }

    /// Returns whether it stays when it is closed: somebody else made it.
    pub(super) fn is_persistent(&self) -> io::Result<bool> {
        let request = self.request()?;
        // SAFETY: TUNGETIFF writes the flags, and any bytes are some.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        Ok(libc::c_int::from(flags) & libc::IFF_PERSIST != 0)
    }

    fn request(&self) -> io::Result<libc::ifreq> {
        let mut request = interface_request();
        // SAFETY: TUNGETIFF writes one ifreq.
        unsafe { ioctl(&self.0, Updater::<GET_INTERFACE, libc::ifreq>::new(&mut request)) }?;
        Ok(request)
    }

    /// Returns the network namespace in which the interface is. It takes CAP_NET_ADMIN there.
    pub(super) fn namespace(&self) -> io::Result<OwnedFd> {
        // SAFETY: TUNGETDEVNETNS takes no argument; it returns a new descriptor, or -1.
        let fd = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TUNGETDEVNETNS) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just made, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Writes one packet.
    #[inline]
    pub(super) fn write(&self, parts: &[Part<'_>]) -> io::Result<usize> {
        // SAFETY: a part is its vector (`repr(transparent)`), and borrows the memory that it names; the kernel only
        // reads that, whatever is there.
        let written = unsafe { libc::writev(self.0.as_raw_fd(), parts.as_ptr().cast(), parts.len() as libc::c_int) };
        usize::try_from(written).map_err(|_| io::Error::last_os_error())
    }

    /// Reads one packet; 0 if there is none any more.
    #[inline]
    pub(super) fn read(&self, parts: &mut [PartMut<'_>]) -> io::Result<usize> {
        // SAFETY: a part is its vector (`repr(transparent)`), and borrows the memory that it names, exclusively or as
        // volatile memory, to which there are no references.
        let read = unsafe { libc::readv(self.0.as_raw_fd(), parts.as_ptr().cast(), parts.len() as libc::c_int) };
        usize::try_from(read).map_err(|_| io::Error::last_os_error())
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Returns a request about an interface, empty.
fn interface_request() -> libc::ifreq {
    // SAFETY: an ifreq is integers and arrays of them, for which zeros are a value.
    unsafe { std::mem::zeroed() }
}

/// Part of a packet to write.
#[repr(transparent)]
pub(super) struct Part<'a> {
    vector: libc::iovec,
    memory: PhantomData<&'a [u8]>,
}

impl<'a> From<&'a [u8]> for Part<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Part { vector: vector(bytes.as_ptr(), bytes.len()), memory: PhantomData }
    }
}

impl<'a> From<&'a VolatileSlice<'a>> for Part<'a> {
    fn from(slice: &'a VolatileSlice<'a>) -> Self {
        Part { vector: vector(slice.ptr_guard().as_ptr(), slice.len()), memory: PhantomData }
    }
}

/// Part of a packet to read.
#[repr(transparent)]
pub(super) struct PartMut<'a> {
    vector: libc::iovec,
    memory: PhantomData<&'a mut [u8]>,
}

impl<'a> From<&'a mut [u8]> for PartMut<'a> {
    fn from(bytes: &'a mut [u8]) -> Self {
        PartMut { vector: vector(bytes.as_mut_ptr(), bytes.len()), memory: PhantomData }
    }
}

impl<'a> From<&'a VolatileSlice<'a>> for PartMut<'a> {
    fn from(slice: &'a VolatileSlice<'a>) -> Self {
        PartMut { vector: vector(slice.ptr_guard_mut().as_ptr(), slice.len()), memory: PhantomData }
    }
}

fn vector(base: *const u8, len: usize) -> libc::iovec {
    libc::iovec { iov_base: base.cast_mut().cast(), iov_len: len }
}
