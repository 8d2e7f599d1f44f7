//! The server: its socket, its clients' sockets, and what the disk is asked in turn for all of them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nook_block_api::{BlockBackend, Geometry, Outcome, Request};
use nook_bus::VolatileSlice;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::export::{Export, Refusal};
use crate::kernel::{self, AttachError, KernelDevice};
use crate::limits::{CLIENTS, HANDSHAKE_NS};
use crate::listen::{ListenError, Listener, NbdAddress};
use crate::netlink::Disk;
use crate::pieces::{Asked, Pieces};
use crate::protocol::error;
use crate::session::Session;

/// The listening socket among the events; clients have their keys.
const LISTENER: u64 = u64::MAX;

/// Events that are fetched at once; more are fetched with the next call.
const EVENTS: usize = CLIENTS + 1;

/// What a client gets of its socket in one go, in reads, before the others have their turn.
const READS: usize = 4;

/// Events of a client that the server waits for. Edge-triggered: bytes that stay unread on purpose must not wake the
/// loop again and again.
const CLIENT_EVENTS: EventFlags = EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

const MEDIUM: Refusal = Refusal { error: error::EIO, message: "the disk failed at it" };

/// What is served, apart from the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NbdOptions {
    /// The export's name; clients that name none get it, too.
    pub name: String,
    /// A description of it for people.
    pub description: String,
    /// Whether clients cannot write.
    pub read_only: bool,
}

/// Where clients come from.
enum Door {
    /// They connect to a socket.
    Socket(Listener),
    /// There is one, the kernel.
    Kernel(KernelDevice),
}

/// An NBD server above one disk.
pub struct NbdServer {
    epoll: OwnedFd,
    door: Door,
    options: NbdOptions,
    /// From when the disk is known.
    export: Option<Export>,
    was_attached: bool,
    clients: [Option<Client>; CLIENTS],
    /// How many clients there were.
    taken: u32,
    /// Whose turn it is to have something asked for it.
    turn: usize,
    pieces: Pieces,
    /// Whether connections may be waiting.
    waiting: bool,
    /// When it was called last, in nanoseconds of the nook's clock.
    now_ns: u64,
}

impl NbdServer {
    /// Begins to listen. Clients wait until the disk is attached.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn listen(address: &NbdAddress, options: NbdOptions) -> Result<Self, ListenError> {
        Export::check_strings(&options.name, &options.description).map_err(ListenError::Strings)?;
        let listener = Listener::open(address)?;
        let other = |error: Errno| ListenError::Other { address: address.clone(), source: error.into() };
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(other)?;
        // Edge-triggered: bytes that stay unread on purpose must not wake the loop again and again.
        // An edge here, too: connections wait in the kernel while there is no place for them.
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN | EventFlags::ET).map_err(other)?;
        Ok(Self::new(epoll, Door::Socket(listener), options))
    }

    /// Serves the kernel's block device, which is connected when the disk is attached, and prepares this process for
    /// that: its memory stays in RAM from now on. Of the options, only whether the kernel cannot write counts.
    ///
    /// # Errors
    /// If a right is missing, or there are no descriptors.
    pub fn for_kernel(device: KernelDevice, options: NbdOptions) -> Result<Self, AttachError> {
        kernel::prepare()?;
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(|source| AttachError::Other {
            what: "watching the kernel's socket".into(),
            source: source.into(),
        })?;
        Ok(Self::new(epoll, Door::Kernel(device), options))
    }

    fn new(epoll: OwnedFd, door: Door, options: NbdOptions) -> Self {
        let waiting = matches!(door, Door::Socket(_));
        NbdServer {
            epoll,
            door,
            options,
            export: None,
            was_attached: false,
            clients: [const { None }; CLIENTS],
            taken: 0,
            turn: 0,
            pieces: Pieces::default(),
            waiting,
            now_ns: 0,
        }
    }

    /// Returns where clients find it: an NBD URI, but for a socket that systemd passed and for the kernel's device.
    pub fn uri(&self) -> &str {
        match &self.door {
            Door::Socket(listener) => listener.uri(),
            Door::Kernel(device) => device.name(),
        }
    }

    /// Returns whether this is the kernel's device and the kernel does not use it any more, because somebody has
    /// detached it.
    pub fn is_deserted(&self) -> bool {
        matches!(self.door, Door::Kernel(_)) && self.was_attached && self.clients.iter().all(Option::is_none)
    }

    /// Begins to detach the kernel's device, if it is one, and returns whether that is over: to be called again until
    /// it is, while the server works, because what the kernel has cached is written before.
    pub fn let_go(&mut self) -> bool {
        match &mut self.door {
            Door::Socket(_) => true,
            Door::Kernel(device) => {
                device.begin_to_leave();
                device.has_left()
            }
        }
    }

    /// Fetches what the kernel has to say about the sockets.
    fn fetch_events(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&Default::default())) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            // Read by value: the structure is packed.
            let (key, flags) = (event.data.u64(), event.flags);
            if key == LISTENER {
                self.waiting = true;
            } else if let Some(client) = client_of(&mut self.clients, key) {
                client.readable |= flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP);
                client.ending |= flags.intersects(EventFlags::RDHUP | EventFlags::HUP);
                client.writable |= flags.contains(EventFlags::OUT);
                client.gone |= flags.contains(EventFlags::ERR);
            }
        }
        Ok(())
    }

    /// Takes connections that wait, as far as there are places. Before the disk is known they wait; after it was there
    /// and is gone they are closed.
    fn accept(&mut self) -> io::Result<()> {
        let Door::Socket(listener) = &self.door else { return Ok(()) };
        if self.export.is_none() && !self.was_attached {
            return Ok(());
        }
        while self.waiting {
            let place = match self.clients.iter().position(Option::is_none) {
                Some(place) => place,
                None => match self.slowest() {
                    Some(place) => place,
                    None => return Ok(()),
                },
            };
            let socket = match listener.accept() {
                Ok(Some(socket)) => socket,
                Ok(None) => {
                    self.waiting = false;
                    return Ok(());
                }
                // It was gone before it was taken; or there are no descriptors or memory now, and it goes on waiting.
                Err(error) => {
                    tracing::debug!("an NBD client could not be taken: {error}");
                    return Ok(());
                }
            };
            if self.export.is_none() {
                continue;
            }
            self.taken = self.taken.wrapping_add(1);
            let key = u64::from(self.taken) << 32 | place as u64;
            epoll::add(&self.epoll, &socket, EventData::new_u64(key), CLIENT_EVENTS)?;
            let mut client = Client::new(key, socket, Session::new(), self.now_ns);
            client.send();
            self.clients[place] = Some(client);
        }
        Ok(())
    }

    /// Has the kernel connect its device, if it is one that is served.
    fn connect_kernel(&mut self, export: &Export) -> io::Result<()> {
        let Door::Kernel(device) = &mut self.door else { return Ok(()) };
        let block_bytes = export.geometry.block_bytes.into();
        let socket = device.connect(&Disk { bytes: export.bytes(), block_bytes, flags: export.flags() })?;
        let key = 0;
        epoll::add(&self.epoll, &socket, EventData::new_u64(key), CLIENT_EVENTS)?;
        self.clients[0] = Some(Client::new(key, socket, Session::of_kernel(), self.now_ns));
        Ok(())
    }

    /// Returns the client that has been in the handshake for longest, and too long.
    fn slowest(&self) -> Option<usize> {
        let late = self.clients.iter().enumerate().filter_map(|(place, client)| {
            let client = client.as_ref()?;
            let late = client.session.is_in_handshake() && self.now_ns >= client.since_ns.saturating_add(HANDSHAKE_NS);
            late.then_some((client.since_ns, place))
        });
        late.min().map(|(_, place)| place)
    }

    /// Returns when a client in the handshake has to give way, if others wait for its place.
    fn handshake_due(&self) -> Option<u64> {
        if !self.waiting || self.clients.iter().any(Option::is_none) {
            return None;
        }
        let clients = self.clients.iter().flatten().filter(|client| client.session.is_in_handshake());
        clients.map(|client| client.since_ns.saturating_add(HANDSHAKE_NS)).min()
    }

    /// Sends what is to be sent, and ends connections that are over.
    fn send(&mut self) {
        for place in &mut self.clients {
            if place.as_mut().is_some_and(|client| !client.send()) {
                *place = None;
            }
        }
    }
}

impl BlockBackend for NbdServer {
    fn attach(&mut self, geometry: &Geometry) -> io::Result<()> {
        Export::check_geometry(geometry).map_err(|what| io::Error::new(io::ErrorKind::Unsupported, what))?;
        let NbdOptions { name, description, read_only } = self.options.clone();
        let export = Export { name, description, read_only, geometry: geometry.clone() };
        self.connect_kernel(&export)?;
        self.export = Some(export);
        self.was_attached = true;
        Ok(())
    }

    fn detach(&mut self) -> io::Result<()> {
        self.send();
        self.clients = [const { None }; CLIENTS];
        self.export = None;
        if let Door::Kernel(device) = &mut self.door {
            device.disconnect()?;
        }
        Ok(())
    }

    fn next(&mut self) -> io::Result<Option<Request>> {
        let Some(export) = &self.export else { return Ok(None) };
        for _ in 0..CLIENTS {
            let place = self.turn;
            self.turn = (place + 1) % CLIENTS;
            let Some(client) = &mut self.clients[place] else { continue };
            let Some(piece) = client.next_piece(export) else { continue };
            let block = u64::from(export.geometry.block_bytes);
            let (first, blocks) = (piece.at / block, (piece.len / block) as u32);
            let (op, fua) = (piece.op, piece.fua);
            let id = self.pieces.add(Asked { client: client.key, piece });
            return Ok(Some(Request { id, op, first, blocks, fua }));
        }
        self.send();
        // A place may have become free just now.
        self.accept()?;
        // Of those that sent much which came to nothing the rest is read in the next turn.
        for client in self.clients.iter_mut().flatten() {
            if client.has_more() {
                epoll::modify(&self.epoll, &client.socket, EventData::new_u64(client.key), CLIENT_EVENTS)?;
            }
        }
        Ok(None)
    }

    fn fill(&mut self, id: u64, buffer: VolatileSlice<'_>) -> io::Result<()> {
        let asked = self.pieces.get_mut(id).ok_or_else(unknown)?;
        let Some(data) = asked.piece.data.take() else { return Err(unknown()) };
        buffer.copy_from(&data);
        if let Some(client) = client_of(&mut self.clients, asked.client) {
            client.session.emptied(data);
        }
        Ok(())
    }

    fn complete(&mut self, id: u64, outcome: Outcome, data: Option<VolatileSlice<'_>>) -> io::Result<()> {
        let mut asked = self.pieces.remove(id).ok_or_else(unknown)?;
        let Some(client) = client_of(&mut self.clients, asked.client) else { return Ok(()) };
        if let Some(data) = asked.piece.data.take() {
            client.session.emptied(data);
        }
        let outcome = match outcome {
            Outcome::Done => Ok(()),
            Outcome::IoError => Err(MEDIUM),
        };
        client.session.completed(&asked.piece, outcome, data.as_ref());
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send();
        Ok(())
    }

    fn service(&mut self, now_ns: u64) -> io::Result<Option<u64>> {
        self.now_ns = now_ns;
        self.fetch_events()?;
        self.send();
        self.accept()?;
        Ok(self.handshake_due())
    }

    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        fds.push(self.epoll.as_fd().as_raw_fd());
    }
}

fn unknown() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the NBD server did not ask for this, or it was done before")
}

fn client_of(clients: &mut [Option<Client>; CLIENTS], key: u64) -> Option<&mut Client> {
    clients.get_mut(key as u32 as usize)?.as_mut().filter(|client| client.key == key)
}

/// A client, with its socket.
struct Client {
    key: u64,
    socket: OwnedFd,
    session: Session,
    /// When it came, in nanoseconds of the nook's clock.
    since_ns: u64,
    readable: bool,
    writable: bool,
    /// It sends no more: its last bytes, then the end.
    ending: bool,
    /// Nothing can be sent to it any more.
    gone: bool,
}

impl Client {
    fn new(key: u64, socket: OwnedFd, session: Session, since_ns: u64) -> Self {
        Client { key, socket, session, since_ns, readable: true, writable: true, ending: false, gone: false }
    }

    /// Returns what the disk is to be asked for it, after a look at the socket if nothing is there yet.
    fn next_piece(&mut self, export: &Export) -> Option<crate::session::Piece> {
        for _ in 0..READS {
            if self.gone {
                return None;
            }
            if let Some(piece) = self.session.next_piece(export) {
                return Some(piece);
            }
            if !self.read(export) {
                return None;
            }
        }
        self.session.next_piece(export)
    }

    /// Returns whether there is something to read, and room for it.
    fn has_more(&mut self) -> bool {
        self.readable && !self.gone && self.session.landing().is_some()
    }

    /// Reads once; false if there is nothing, or no room.
    fn read(&mut self, export: &Export) -> bool {
        if !self.readable {
            return false;
        }
        let Some(room) = self.session.landing() else { return false };
        let wanted = room.len();
        match recv(&self.socket, room, RecvFlags::DONTWAIT).map(|(len, _)| len) {
            Ok(0) => {
                self.readable = false;
                self.session.input_ended();
                false
            }
            Ok(len) => {
                // Less than asked: there is no more, and an edge will say when there is.
                self.readable = len == wanted || self.ending;
                self.session.landed(len, export);
                true
            }
            Err(Errno::INTR) => true,
            Err(Errno::AGAIN) => {
                self.readable = false;
                false
            }
            Err(_) => {
                self.gone = true;
                false
            }
        }
    }

    /// Sends what there is; false if the connection is over.
    fn send(&mut self) -> bool {
        while self.writable && !self.gone {
            let bytes = self.session.to_send();
            if bytes.is_empty() {
                break;
            }
            match send(&self.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(len) => {
                    self.writable = len == bytes.len();
                    self.session.sent(len);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.writable = false,
                Err(_) => self.gone = true,
            }
        }
        let why = self.session.over().or(self.gone.then_some("its connection is gone"));
        if let Some(why) = why {
            tracing::debug!("an NBD client is done: {why}");
        }
        why.is_none()
    }
}
