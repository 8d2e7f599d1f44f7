//! The far end of an exercise as a server on this machine's loopback: what QEMU's user network makes of 10.0.2.2.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nook_bus::Clock;

use crate::protocol::{self, Content, LONGEST_RESPONSE_BYTES, Progress, Session};

/// How long a thread waits before it looks whether it is to end.
const LOOK_AROUND: Duration = Duration::from_millis(100);

/// A client that says nothing for this long is gone.
const CLIENT_GONE_NS: u64 = 60_000_000_000;

/// QEMU and the kernel, which are between the two ends, work in real time.
const REAL: Clock = Clock::Monotonic;

/// Connections at the same time; others are closed at once.
const CONNECTIONS: usize = 8;

/// How many ports are tried until one is free for both TCP and UDP.
const PORTS_TRIED: u32 = 32;

/// A server of the exercise (see [`protocol`]) on 127.0.0.1, over TCP and UDP on one port.
///
/// It has its own threads, which end when it is dropped. It is reached from this machine only, and through QEMU's
/// user network, where a guest calls it 10.0.2.2.
pub struct Server {
    port: u16,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts one on a port that is free.
    ///
    /// # Errors
    /// If there is no port, or the threads cannot be started.
    pub fn start(content: Content) -> io::Result<Server> {
        let (tcp, udp) = bind()?;
        let port = tcp.local_addr()?.port();
        udp.set_read_timeout(Some(LOOK_AROUND))?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut server = Server { port, stop: stop.clone(), threads: Vec::new() };
        let spawn = |name: &str| std::thread::Builder::new().name(name.into());
        let stop_udp = stop.clone();
        server.threads.push(spawn("exercise-udp").spawn(move || respond(&udp, &stop_udp))?);
        server.threads.push(spawn("exercise-tcp").spawn(move || accept(&tcp, &content, &stop))?);
        Ok(server)
    }

    /// Returns the port, for [`Plan::port`](crate::Plan::port).
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Ends the wait for a connection.
        let _ = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)));
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the exercise's server panicked");
            }
        }
    }
}

/// Binds one port for both.
fn bind() -> io::Result<(TcpListener, UdpSocket)> {
    let mut tried = 0;
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        match UdpSocket::bind(tcp.local_addr()?) {
            Ok(udp) => return Ok((tcp, udp)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tried < PORTS_TRIED => tried += 1,
            Err(error) => return Err(error),
        }
    }
}

fn accept(listener: &TcpListener, content: &Content, stop: &AtomicBool) {
    std::thread::scope(|scope| {
        let mut conversations = Vec::new();
        loop {
            let accepted = listener.accept();
            if stop.load(Ordering::Relaxed) {
                break;
            }
            conversations.retain(|thread: &std::thread::ScopedJoinHandle<'_, ()>| !thread.is_finished());
            match accepted {
                Ok((stream, _)) if conversations.len() < CONNECTIONS => {
                    conversations.push(scope.spawn(move || {
                        if let Err(error) = converse(stream, content, stop) {
                            tracing::debug!("exercise server: a connection ends: {error}");
                        }
                    }));
                }
                Ok(_) => tracing::warn!("exercise server: more than {CONNECTIONS} connections: one is refused"),
                Err(error) => {
                    tracing::warn!("exercise server: {error}");
                    std::thread::sleep(LOOK_AROUND);
                }
            }
        }
    });
}

fn converse(mut stream: TcpStream, content: &Content, stop: &AtomicBool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LOOK_AROUND))?;
    stream.set_write_timeout(Some(LOOK_AROUND))?;
    let mut session = Session::default();
    let mut heard = (0, REAL.now_ns());
    while !stop.load(Ordering::Relaxed) {
        if session.advance(&mut stream, content)? == Progress::Done {
            return Ok(());
        }
        if session.moved_bytes() != heard.0 {
            heard = (session.moved_bytes(), REAL.now_ns());
        }
        if REAL.now_ns().saturating_sub(heard.1) > CLIENT_GONE_NS {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

fn respond(socket: &UdpSocket, stop: &AtomicBool) {
    let mut request = [0; 2048];
    let mut response = [0; LONGEST_RESPONSE_BYTES];
    while !stop.load(Ordering::Relaxed) {
        // A timeout, or the answer of a port that is closed by now: neither concerns the next request.
        let Ok((len, from)) = socket.recv_from(&mut request) else { continue };
        let Some(wanted) = protocol::response_bytes(&request[..len]) else { continue };
        let response = &mut response[..wanted];
        protocol::write_response(&request[..len], response);
        // One that cannot be sent is lost, as datagrams may be.
        let _ = socket.send_to(response, from);
    }
}
