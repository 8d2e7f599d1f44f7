//! An IP stack: smoltcp's interface and sockets over two queues of frames, with its own idea of when it is due.

use std::net::Ipv4Addr;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::{icmp, tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Cidr};

use crate::frames::FrameQueues;

/// Bytes of a TCP socket's buffers, each way. As a window, it is 180 full frames: less than the 256 buffers that a
/// driver has, so that a whole window may arrive at once without loss.
const TCP_BUFFER_BYTES: usize = 256 * 1024;

/// Datagrams that a UDP or ICMP socket holds, each way.
const DATAGRAMS: usize = 64;

/// Bytes of them.
const DATAGRAM_BYTES: usize = 64 * 1024;

/// Interface, sockets and frames of one host.
pub(crate) struct Stack {
    pub(crate) frames: FrameQueues,
    pub(crate) sockets: SocketSet<'static>,
    interface: Interface,
    due_ns: Option<u64>,
}

impl Stack {
    pub(crate) fn new(mac: [u8; 6], address: Ipv4Addr, prefix_len: u8, seed: u64, mut frames: FrameQueues) -> Self {
        let mut config = Config::new(hardware(mac));
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut frames, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            let cidr = IpCidr::Ipv4(Ipv4Cidr::new(address, prefix_len.min(32)));
            // The list is empty and holds two.
            let _ = addresses.push(cidr);
        });
        Stack { frames, sockets: SocketSet::new(Vec::new()), interface, due_ns: None }
    }

    /// Gives the interface another address. A multicast address is refused with `false`.
    pub(crate) fn set_mac(&mut self, mac: [u8; 6]) -> bool {
        let is_unicast = EthernetAddress(mac).is_unicast();
        if is_unicast {
            self.interface.set_hardware_addr(hardware(mac));
        }
        is_unicast
    }

    /// Returns whether [`poll`](Self::poll) has something to do.
    #[inline]
    pub(crate) fn wants(&self, now_ns: u64) -> bool {
        self.frames.can_be_read() || (!self.frames.is_full() && self.due_ns.is_some_and(|due| due <= now_ns))
    }

    /// Reads what has arrived, and sends what the sockets have to send.
    pub(crate) fn poll(&mut self, now_ns: u64) {
        let now = instant(now_ns);
        self.interface.poll(now, &mut self.frames, &mut self.sockets);
        let due = self.interface.poll_at(now, &self.sockets);
        self.due_ns = due.map(|at| at.total_micros().max(0) as u64 * 1000);
    }

    /// Notes that a socket was given something to do: the stack wants to be polled.
    pub(crate) fn touch(&mut self) {
        self.due_ns = Some(0);
    }

    /// Returns when the stack wants to be polled again. Not before frames are taken, if there are too many for it to
    /// send.
    pub(crate) fn due_ns(&self) -> Option<u64> {
        if self.frames.is_full() { None } else { self.due_ns }
    }

    pub(crate) fn add_tcp(&mut self) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; TCP_BUFFER_BYTES]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        // An acknowledgement leaves at the end of each poll, which answers everything that had arrived until then.
        // Waiting longer would only make a stream's last bytes late.
        socket.set_ack_delay(None);
        socket.set_nagle_enabled(false);
        self.sockets.add(socket)
    }

    pub(crate) fn add_udp(&mut self, port: u16) -> SocketHandle {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; DATAGRAMS], vec![0; DATAGRAM_BYTES]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        // Fails only for port 0 and for a socket that is bound already.
        let _ = socket.bind(port);
        self.sockets.add(socket)
    }

    pub(crate) fn add_icmp(&mut self, ident: u16) -> SocketHandle {
        let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; DATAGRAMS], vec![0; DATAGRAM_BYTES]);
        let mut socket = icmp::Socket::new(buffer(), buffer());
        // Fails only for a socket that is bound already.
        let _ = socket.bind(icmp::Endpoint::Ident(ident));
        self.sockets.add(socket)
    }

    pub(crate) fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub(crate) fn udp(&mut self, handle: SocketHandle) -> &mut udp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub(crate) fn icmp(&mut self, handle: SocketHandle) -> &mut icmp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Opens a connection.
    pub(crate) fn connect(
        &mut self,
        handle: SocketHandle,
        to: (Ipv4Addr, u16),
        local_port: u16,
    ) -> Result<(), tcp::ConnectError> {
        let socket: &mut tcp::Socket<'static> = self.sockets.get_mut(handle);
        socket.connect(self.interface.context(), to, local_port)
    }
}

fn instant(now_ns: u64) -> Instant {
    Instant::from_micros((now_ns / 1000) as i64)
}

fn hardware(mac: [u8; 6]) -> HardwareAddress {
    HardwareAddress::Ethernet(EthernetAddress(mac))
}
