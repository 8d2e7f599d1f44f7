//! A host at the far end of an embedded device's cable.

use std::io;
use std::net::Ipv4Addr;

use nook_net_api::Wire;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Duration;

use crate::frames::{FrameQueues, SHORTEST_FRAME_BYTES};
use crate::protocol::{self, Content, EXERCISE_PORT, Progress, Session};
use crate::stack::Stack;
use crate::stream::Stream;

/// Connections at the same time.
const CONNECTIONS: usize = 4;

/// RFC 862.
const ECHO_PORT: u16 = 7;

/// A client that says nothing for this long is gone.
const CLIENT_GONE: Duration = Duration::from_secs(60);

/// It is asked this often whether it is there.
const ASK_CLIENT: Duration = Duration::from_secs(20);

/// How often sockets and stack are looked at in turn, at most, before the device gets its turn again.
const ROUNDS: u32 = 16;

/// Who the peer is.
#[derive(Clone, Copy, Debug)]
pub struct PeerConfig {
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Its IP address.
    pub address: Ipv4Addr,
    /// Bits of the network's part of it.
    pub prefix_len: u8,
    /// From which sequence numbers come.
    pub seed: u64,
}

impl Default for PeerConfig {
    /// Returns 10.0.2.2/24, as the host is called in QEMU's user network.
    fn default() -> Self {
        PeerConfig {
            mac: [0x02, 0x00, 0x0a, 0x00, 0x02, 0x02],
            address: Ipv4Addr::new(10, 0, 2, 2),
            prefix_len: 24,
            seed: 2,
        }
    }
}

/// A host in this process, as the far end of a cable.
///
/// It answers ARP, ICMP echo requests, UDP on port 7 (echo), and the exercise over TCP and UDP (see
/// [`protocol`]). It works when [`due_ns`](Wire::due_ns) tells it the time.
pub struct Peer {
    stack: Stack,
    connections: Vec<Connection>,
    requests: SocketHandle,
    echo: SocketHandle,
    datagram: Vec<u8>,
    /// Connections that were ever begun.
    begun: u64,
}

impl Peer {
    /// Creates a peer with nothing to do yet.
    pub fn new(config: PeerConfig) -> Self {
        let frames = FrameQueues::new(SHORTEST_FRAME_BYTES);
        let mut stack = Stack::new(config.mac, config.address, config.prefix_len, config.seed, frames);
        let connections = (0..CONNECTIONS).map(|_| Connection::new(&mut stack)).collect();
        let requests = stack.add_udp(EXERCISE_PORT);
        let echo = stack.add_udp(ECHO_PORT);
        Peer { stack, connections, requests, echo, datagram: Vec::new(), begun: 0 }
    }

    fn run(&mut self, now_ns: u64) {
        for _ in 0..ROUNDS {
            if !self.stack.wants(now_ns) {
                break;
            }
            self.stack.poll(now_ns);
            let mut moved = false;
            for connection in &mut self.connections {
                moved |= connection.advance(self.stack.tcp(connection.handle), &mut self.begun);
            }
            self.keep_a_place();
            moved |= answer_requests(self.stack.udp(self.requests), &mut self.datagram);
            moved |= echo(self.stack.udp(self.echo), &mut self.datagram);
            if moved {
                self.stack.touch();
            }
        }
    }
}

impl Peer {
    /// Lets go of the oldest connection that was only begun, if otherwise the next one would find no place.
    fn keep_a_place(&mut self) {
        let Peer { stack, connections, .. } = self;
        if connections.iter().any(|connection| stack.tcp(connection.handle).is_listening()) {
            return;
        }
        let begun = connections.iter_mut().filter(|connection| connection.begun.is_some());
        if let Some(oldest) = begun.min_by_key(|connection| connection.begun) {
            let socket = stack.tcp(oldest.handle);
            socket.abort();
            oldest.listen(socket);
        }
    }
}

impl Wire for Peer {
    fn send(&mut self, frame: &[u8]) -> io::Result<bool> {
        Ok(self.stack.frames.arrive(frame.len(), |bytes| bytes.copy_from_slice(frame)))
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(frame) = self.stack.frames.leave() else { return Ok(None) };
        // No frame of ours is longer than what Ethernet allows, which every receiver has room for.
        let len = frame.len().min(buffer.len());
        buffer[..len].copy_from_slice(&frame[..len]);
        Ok(Some(len))
    }

    fn due_ns(&mut self, now_ns: u64) -> Option<u64> {
        self.run(now_ns);
        if self.stack.frames.has_left() { Some(now_ns) } else { self.stack.due_ns() }
    }
}

/// A socket that listens, and the conversation over it once somebody has called.
struct Connection {
    handle: SocketHandle,
    session: Option<Session>,
    /// The connection's number among all that were begun, while the caller has not shown that it hears us.
    begun: Option<u64>,
}

impl Connection {
    fn new(stack: &mut Stack) -> Self {
        let handle = stack.add_tcp();
        let socket = stack.tcp(handle);
        socket.set_timeout(Some(CLIENT_GONE));
        socket.set_keep_alive(Some(ASK_CLIENT));
        let mut connection = Connection { handle, session: None, begun: None };
        connection.listen(socket);
        connection
    }

    fn listen(&mut self, socket: &mut tcp::Socket<'static>) {
        // Fails only for port 0 and for a socket that is open.
        let _ = socket.listen(EXERCISE_PORT);
        self.session = None;
        self.begun = None;
    }

    /// Goes on with the conversation; says whether it did. `begun` counts connections.
    fn advance(&mut self, socket: &mut tcp::Socket<'static>, begun: &mut u64) -> bool {
        if socket.state() == tcp::State::SynReceived {
            *begun += u64::from(self.begun.is_none());
            self.begun.get_or_insert(*begun);
            return false;
        }
        self.begun = None;
        match socket.state() {
            tcp::State::Listen | tcp::State::SynSent | tcp::State::SynReceived => return false,
            tcp::State::Closed | tcp::State::TimeWait => {
                self.listen(socket);
                return true;
            }
            tcp::State::Established | tcp::State::CloseWait => {}
            // This end has said everything and closed.
            tcp::State::FinWait1 | tcp::State::FinWait2 | tcp::State::Closing | tcp::State::LastAck => return false,
        }
        let session = self.session.get_or_insert_default();
        let mut stream = Stream::new(socket);
        let outcome = session.advance(&mut stream, &Content::Generated);
        let moved = stream.moved();
        match outcome {
            Ok(Progress::Waiting) => moved,
            Ok(Progress::Done) => {
                socket.close();
                true
            }
            Err(error) => {
                tracing::debug!("peer: a connection ends: {error}");
                socket.abort();
                true
            }
        }
    }
}

/// Answers every request that waits; says whether there was one.
fn answer_requests(socket: &mut udp::Socket<'static>, request: &mut Vec<u8>) -> bool {
    let mut any = false;
    while socket.can_send() {
        let Ok((received, from)) = socket.recv() else { break };
        any = true;
        let Some(len) = protocol::response_bytes(received) else { continue };
        request.clear();
        request.extend_from_slice(received);
        // With no room for it, the response is lost, as datagrams may be.
        if let Ok(response) = socket.send(len, from) {
            protocol::write_response(request, response);
        }
    }
    any
}

/// Sends back what has come; says whether there was something.
fn echo(socket: &mut udp::Socket<'static>, datagram: &mut Vec<u8>) -> bool {
    let mut any = false;
    while socket.can_send() {
        let Ok((received, from)) = socket.recv() else { break };
        any = true;
        datagram.clear();
        datagram.extend_from_slice(received);
        // With no room for it, it is lost, as datagrams may be.
        let _ = socket.send_slice(datagram, from);
    }
    any
}
