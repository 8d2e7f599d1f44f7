//! What an exercise says to its far end: over TCP a stream each way with its hash, over UDP requests and responses.
//!
//! **TCP.** The client connects and sends a request of 16 bytes: `nook`, a verb (`P` put or `G` get), three zero
//! bytes, and a length in bytes (big-endian, 64 bits).
//! - *put*: that many bytes follow; the server answers with the SHA-256 of what it received (32 bytes).
//! - *get*: the server answers with a length (big-endian, 64 bits; at most the one asked for, less if its content is
//!   shorter), that many bytes, and their SHA-256.
//!
//! Then the client closes, and after it the server. Each end computes the hash itself, and the client compares.
//!
//! **UDP.** A request is a number (big-endian, 64 bits), the length of the response wanted (big-endian, 16 bits), and
//! filling. The response begins with the same number.
//!
//! Everything here works on any pair of [`Read`] and [`Write`]; on one that says `WouldBlock` it stops and can be
//! continued. So one implementation serves smoltcp's sockets, the kernel's, and the tests.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::PathBuf;

use nook_seed::word_at;
use sha2::{Digest, Sha256};

/// The port of the exercise, for TCP and UDP ("nook" on a telephone's keypad).
pub const EXERCISE_PORT: u16 = 6665;

/// Bytes of a hash.
pub const HASH_BYTES: usize = 32;

/// A SHA-256.
pub type Hash = [u8; HASH_BYTES];

/// The longest response over UDP, in bytes: what fits in one frame.
pub const LONGEST_RESPONSE_BYTES: usize = 1472;

const REQUEST_BYTES: usize = 16;
const REQUEST_MAGIC: [u8; 4] = *b"nook";
const SHORTEST_DATAGRAM_BYTES: usize = 10;
const SCRATCH_BYTES: usize = 32 * 1024;

/// Which way a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// From the client to the server.
    Put,
    /// From the server to the client.
    Get,
}

/// What the client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which way.
    pub verb: Verb,
    /// How long the stream is; for a get, how long it may be.
    pub bytes: u64,
}

impl Request {
    /// Encodes it as it is sent.
    pub fn encode(&self) -> [u8; REQUEST_BYTES] {
        let mut encoded = [0; REQUEST_BYTES];
        encoded[..4].copy_from_slice(&REQUEST_MAGIC);
        encoded[4] = match self.verb {
            Verb::Put => b'P',
            Verb::Get => b'G',
        };
        encoded[8..].copy_from_slice(&self.bytes.to_be_bytes());
        encoded
    }

    /// Decodes what was sent, if it is a request.
    pub fn decode(encoded: &[u8; REQUEST_BYTES]) -> Option<Request> {
        let (magic, rest) = encoded.split_first_chunk()?;
        let ([verb, zeros @ ..], length) = rest.split_first_chunk::<4>()?;
        let verb = match verb {
            b'P' => Verb::Put,
            b'G' => Verb::Get,
            _ => return None,
        };
        let bytes = u64::from_be_bytes(length.try_into().ok()?);
        (*magic == REQUEST_MAGIC && *zeros == [0; 3]).then_some(Request { verb, bytes })
    }
}

/// What a server sends when it is asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Bytes that look random and never repeat, as many as asked for.
    Generated,
    /// A file, or its beginning.
    File(PathBuf),
}

/// Where the bytes of one stream come from.
enum Source {
    Generated { at: u64 },
    File(File),
}

impl Source {
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Source::Generated { at } => {
                generate(at, buffer);
                Ok(())
            }
            Source::File(file) => file.read_exact(buffer),
        }
    }
}

/// Fills `buffer` with the words of seed 0 from the `at`-th on. A started word is used up.
fn generate(at: &mut u64, buffer: &mut [u8]) {
    for chunk in buffer.chunks_mut(8) {
        let word = word_at(0, *at);
        *at += 1;
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
}

/// How a conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It waits for the other end.
    Waiting,
    /// It is over.
    Done,
}

/// Turns a read or write that could not be finished now into `None`. A socket with a time limit says `Interrupted` too,
/// when its process was stopped and goes on (signal(7), "Interruption of system calls and library functions by stop
/// signals").
fn now<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads at least one byte; the end of the stream is an error here.
fn read_some(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match now(stream.read(buffer))? {
        Some(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the other end closed before its time")),
        other => Ok(other),
    }
}

/// A fixed number of bytes that arrive in pieces.
struct Collect<const N: usize> {
    bytes: [u8; N],
    got: usize,
}

impl<const N: usize> Collect<N> {
    const fn new() -> Self {
        Collect { bytes: [0; N], got: 0 }
    }

    fn read(&mut self, stream: &mut impl Read) -> io::Result<Option<[u8; N]>> {
        while self.got < N {
            let Some(more) = read_some(stream, &mut self.bytes[self.got..])? else { return Ok(None) };
            self.got += more;
        }
        Ok(Some(self.bytes))
    }
}

/// What both ends have: something to send, a hash of the stream, and how much has passed.
struct Pump {
    scratch: Vec<u8>,
    /// The part of `scratch` that waits to be sent.
    waiting: std::ops::Range<usize>,
    hash: Sha256,
    moved_bytes: u64,
}

impl Pump {
    fn new() -> Self {
        Pump { scratch: vec![0; SCRATCH_BYTES], waiting: 0..0, hash: Sha256::new(), moved_bytes: 0 }
    }

    /// Queues a few bytes that do not belong to the stream. Everything before them has been sent.
    fn say(&mut self, bytes: &[u8]) {
        self.scratch[..bytes.len()].copy_from_slice(bytes);
        self.waiting = 0..bytes.len();
    }

    /// Sends what waits; `false` if some is left.
    fn flush(&mut self, stream: &mut impl Write) -> io::Result<bool> {
        while !self.waiting.is_empty() {
            let Some(sent) = now(stream.write(&self.scratch[self.waiting.clone()]))? else { return Ok(false) };
            if sent == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            self.waiting.start += sent;
        }
        Ok(true)
    }

    /// Queues the next piece of the stream.
    fn send(&mut self, source: &mut Source, left: &mut u64) -> io::Result<()> {
        let len = (*left).min(SCRATCH_BYTES as u64) as usize;
        source.fill(&mut self.scratch[..len])?;
        self.hash.update(&self.scratch[..len]);
        self.waiting = 0..len;
        self.account(len, left);
        Ok(())
    }

    /// Takes a piece of the stream; `false` if there is none now.
    fn receive(&mut self, stream: &mut impl Read, left: &mut u64) -> io::Result<bool> {
        let room = (*left).min(SCRATCH_BYTES as u64) as usize;
        let Some(len) = read_some(stream, &mut self.scratch[..room])? else { return Ok(false) };
        self.hash.update(&self.scratch[..len]);
        self.account(len, left);
        Ok(true)
    }

    fn account(&mut self, len: usize, left: &mut u64) {
        *left -= len as u64;
        self.moved_bytes += len as u64;
    }

    /// Returns the hash of the stream, which is at its end.
    fn hash(&mut self) -> Hash {
        self.hash.finalize_reset().into()
    }
}

enum Serving {
    Request(Collect<REQUEST_BYTES>),
    Receiving {
        left: u64,
    },
    Sending {
        source: Source,
        left: u64,
    },
    /// Everything was said.
    Closing,
}

/// The server's end of one conversation.
pub struct Session {
    pump: Pump,
    state: Serving,
}

impl Default for Session {
    fn default() -> Self {
        Session { pump: Pump::new(), state: Serving::Request(Collect::new()) }
    }
}

impl Session {
    /// Returns the number of bytes of the stream that have passed through this end.
    pub fn moved_bytes(&self) -> u64 {
        self.pump.moved_bytes
    }

    /// Goes on as far as the stream lets it. It is done when the client has closed.
    ///
    /// # Errors
    /// If the stream fails or ends too early, the client does not keep to the protocol, or the content is not there.
    pub fn advance(&mut self, stream: &mut (impl Read + Write), content: &Content) -> io::Result<Progress> {
        loop {
            if !self.pump.flush(stream)? {
                return Ok(Progress::Waiting);
            }
            match &mut self.state {
                Serving::Request(request) => {
                    let Some(encoded) = request.read(stream)? else { return Ok(Progress::Waiting) };
                    let Some(request) = Request::decode(&encoded) else {
                        return Err(io::Error::new(ErrorKind::InvalidData, "not a request of the exercise"));
                    };
                    self.state = match request.verb {
                        Verb::Put => Serving::Receiving { left: request.bytes },
                        Verb::Get => {
                            let (source, length) = open(content, request.bytes)?;
                            self.pump.say(&length.to_be_bytes());
                            Serving::Sending { source, left: length }
                        }
                    };
                }
                Serving::Receiving { left: 0 } | Serving::Sending { left: 0, .. } => {
                    let hash = self.pump.hash();
                    self.pump.say(&hash);
                    self.state = Serving::Closing;
                }
                Serving::Receiving { left } => {
                    if !self.pump.receive(stream, left)? {
                        return Ok(Progress::Waiting);
                    }
                }
                Serving::Sending { source, left } => self.pump.send(source, left)?,
                Serving::Closing => {
                    return match now(stream.read(&mut [0]))? {
                        None => Ok(Progress::Waiting),
                        Some(0) => Ok(Progress::Done),
                        Some(_) => Err(io::Error::new(ErrorKind::InvalidData, "more than one request")),
                    };
                }
            }
        }
    }
}

fn open(content: &Content, at_most: u64) -> io::Result<(Source, u64)> {
    match content {
        Content::Generated => Ok((Source::Generated { at: 0 }, at_most)),
        Content::File(path) => {
            let file = File::open(path)?;
            let length = file.metadata()?.len().min(at_most);
            Ok((Source::File(file), length))
        }
    }
}

enum Asking {
    /// The stream to the server.
    Sending {
        left: u64,
    },
    /// The length of the stream from the server.
    Length(Collect<8>),
    /// The stream from the server.
    Receiving {
        left: u64,
    },
    /// Its hash, which is compared with ours.
    Comparing {
        theirs: Collect<HASH_BYTES>,
        ours: Hash,
    },
    Done(TransferOutcome),
}

/// What came of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferOutcome {
    /// The hash of the stream as computed here.
    pub hash: Hash,
    /// Whether the server computed the same.
    pub hash_ok: bool,
}

/// The client's end of one conversation.
pub struct Transfer {
    pump: Pump,
    request: Request,
    state: Asking,
}

impl Transfer {
    /// Creates a conversation that begins with `request`.
    pub fn new(request: Request) -> Self {
        let mut pump = Pump::new();
        pump.say(&request.encode());
        let state = match request.verb {
            Verb::Put => Asking::Sending { left: request.bytes },
            Verb::Get => Asking::Length(Collect::new()),
        };
        Transfer { pump, request, state }
    }

    /// Returns the number of bytes of the stream that have passed through this end.
    pub fn moved_bytes(&self) -> u64 {
        self.pump.moved_bytes
    }

    /// Returns the result, once it is done. Then the stream is to be closed.
    pub fn outcome(&self) -> Option<TransferOutcome> {
        match self.state {
            Asking::Done(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Goes on as far as the stream lets it.
    ///
    /// # Errors
    /// If the stream fails or ends too early, or the server does not keep to the protocol.
    pub fn advance(&mut self, stream: &mut (impl Read + Write)) -> io::Result<Progress> {
        // What a generated stream begins with is the same every time.
        let mut source = Source::Generated { at: self.pump.moved_bytes.div_ceil(8) };
        loop {
            if !self.pump.flush(stream)? {
                return Ok(Progress::Waiting);
            }
            match &mut self.state {
                Asking::Sending { left: 0 } | Asking::Receiving { left: 0 } => {
                    self.state = Asking::Comparing { theirs: Collect::new(), ours: self.pump.hash() };
                }
                Asking::Sending { left } => self.pump.send(&mut source, left)?,
                Asking::Length(length) => {
                    let Some(length) = length.read(stream)? else { return Ok(Progress::Waiting) };
                    let left = u64::from_be_bytes(length);
                    if left > self.request.bytes {
                        return Err(io::Error::new(ErrorKind::InvalidData, "the server sends more than asked for"));
                    }
                    self.state = Asking::Receiving { left };
                }
                Asking::Receiving { left } => {
                    if !self.pump.receive(stream, left)? {
                        return Ok(Progress::Waiting);
                    }
                }
                Asking::Comparing { theirs, ours } => {
                    let Some(theirs) = theirs.read(stream)? else { return Ok(Progress::Waiting) };
                    self.state = Asking::Done(TransferOutcome { hash: *ours, hash_ok: theirs == *ours });
                }
                Asking::Done(_) => return Ok(Progress::Done),
            }
        }
    }
}

/// Writes a UDP request: its length is that of `request`, which is at least 10 bytes.
pub fn write_datagram(request: &mut [u8], number: u64, response_bytes: u16) {
    request[..8].copy_from_slice(&number.to_be_bytes());
    request[8..SHORTEST_DATAGRAM_BYTES].copy_from_slice(&response_bytes.to_be_bytes());
    fill_datagram(&mut request[SHORTEST_DATAGRAM_BYTES..], number);
}

/// Returns the length of the response that a UDP request wants, if it is a request.
pub fn response_bytes(request: &[u8]) -> Option<usize> {
    let wanted = u16::from_be_bytes([*request.get(8)?, *request.get(9)?]);
    Some(usize::from(wanted).clamp(8, LONGEST_RESPONSE_BYTES))
}

/// Writes the response to a UDP request: its length is that of `response`, which [`response_bytes`] gave.
pub fn write_response(request: &[u8], response: &mut [u8]) {
    let Some(number) = request.first_chunk::<8>() else { return };
    response[..8].copy_from_slice(number);
    fill_datagram(&mut response[8..], u64::from_be_bytes(*number));
}

/// Returns the number of a UDP response, if it is whole and the filling is right.
pub fn check_response(response: &[u8]) -> Option<u64> {
    let (number, filling) = response.split_first_chunk::<8>()?;
    let number = u64::from_be_bytes(*number);
    filling.iter().enumerate().all(|(at, &byte)| byte == filling_byte(number, at)).then_some(number)
}

fn fill_datagram(filling: &mut [u8], number: u64) {
    for (at, byte) in filling.iter_mut().enumerate() {
        *byte = filling_byte(number, at);
    }
}

/// Differs between neighbours, both in place and in number.
fn filling_byte(number: u64, at: usize) -> u8 {
    (number as u8).wrapping_mul(31).wrapping_add(at as u8)
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
