//! A client of an NBD server that keeps a ledger of all that it asks.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Error, Result};
use std::net::Shutdown;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use nook_block_api::Op;
use nook_seed::Rng;

use super::nbd::{self, Reply, Request};
use super::{After, BLOCK_BYTES, Ledger, Must, Verdict};

/// A busy machine, and drivers that restart, take their time.
const PATIENCE: Duration = Duration::from_secs(120);
/// Numbers of reads are above those of all else.
const READS: u64 = 1 << 40;
/// One of this many answers is noted with the log that makes nothing durable.
const NOTED: u64 = 16;
/// The longest request.
const MOST_BLOCKS: u64 = 64;

/// Which blocks of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The first.
    pub first: u64,
    /// How many.
    pub blocks: u64,
}

/// A moment at which something was acknowledged.
pub struct Acknowledged {
    /// What has to be there after a power cut at that moment.
    pub must: Must,
    /// How long the log of the disk's writes was then, in bytes.
    pub log_bytes: u64,
}

/// What came over a connection, and how long the log was.
type Message = (usize, Result<Option<Reply>>, u64);

struct Connection {
    stream: UnixStream,
    receiver: JoinHandle<()>,
}

/// What was asked and is not answered.
enum Open {
    /// A change or a flush.
    Asked { durable: bool },
    /// A read: its first block, and what it has to find.
    Read { first: u64, least: Vec<u64> },
}

/// A client with several requests under way on a part of a disk, which is its own.
///
/// With several connections each has its own blocks, because requests on different ones have no order; a flush on any
/// of them covers all, as the server promises.
pub struct Checker {
    region: Region,
    ledger: Ledger,
    rng: Rng,
    depth: usize,
    connections: Vec<Connection>,
    messages: (Sender<Message>, Receiver<Message>),
    open: HashMap<u64, Open>,
    next_read: u64,
    verdict: Verdict,
    answered: u64,
    failed_reads: u64,
    log: Option<PathBuf>,
    acknowledged: Vec<Acknowledged>,
}

impl Checker {
    /// Begins, connected to nothing.
    pub fn new(region: Region, seed: u64, depth: usize) -> Self {
        Checker {
            region,
            ledger: Ledger::new(region.blocks, seed),
            rng: Rng::new(seed),
            depth,
            connections: Vec::new(),
            messages: channel(),
            open: HashMap::new(),
            next_read: READS,
            verdict: Verdict::default(),
            answered: 0,
            failed_reads: 0,
            log: None,
            acknowledged: Vec::new(),
        }
    }

    /// Notes what has to be durable whenever something has become so, and at some other answers; and how long this file
    /// is then.
    pub fn watch_log(&mut self, log: PathBuf) {
        self.log = Some(log);
    }

    /// Returns what came of all reads and comparisons so far.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Returns how many requests were answered, and how many of them with an error.
    pub fn counts(&self) -> (u64, u64) {
        (self.answered, self.ledger.failed() + self.failed_reads)
    }

    /// Returns what was noted of it.
    pub fn acknowledged(&self) -> &[Acknowledged] {
        &self.acknowledged
    }

    /// Returns what was asked.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Connects to the server at this socket.
    ///
    /// # Errors
    /// If it is not there, or its disk is too small.
    pub fn connect(&mut self, socket: &Path, connections: usize) -> Result<()> {
        for at in 0..connections {
            let (stream, blocks) = nbd::connect(socket)?;
            if blocks < self.region.first + self.region.blocks {
                return Err(Error::other(format!("the disk has {blocks} blocks, too few for {:?}", self.region)));
            }
            let (messages, log) = (self.messages.0.clone(), self.log.clone());
            let mut reader = BufReader::with_capacity(1 << 16, stream.try_clone()?);
            let receiver = std::thread::spawn(move || {
                loop {
                    let reply = nbd::receive(&mut reader);
                    let over = !matches!(reply, Ok(Some(_)));
                    let log_bytes = log.as_ref().and_then(|path| path.metadata().ok()).map_or(0, |meta| meta.len());
                    if messages.send((at, reply, log_bytes)).is_err() || over {
                        break;
                    }
                }
            });
            self.connections.push(Connection { stream, receiver });
        }
        Ok(())
    }

    /// Ends its connections, and forgets what was not answered.
    pub fn disconnect(&mut self) {
        for Connection { stream, receiver } in self.connections.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
            let _ = receiver.join();
        }
        self.messages = channel();
        self.open.clear();
    }

    /// Writes every block, so that each holds something that can be lost, and flushes.
    ///
    /// # Errors
    /// If a connection breaks.
    pub fn fill(&mut self) -> Result<()> {
        let (connections, blocks) = (self.connections.len() as u64, self.region.blocks);
        for connection in 0..connections {
            let [from, to] = [connection, connection + 1].map(|nth| nth * blocks / connections);
            let mut first = from;
            while first < to {
                let count = MOST_BLOCKS.min(to - first);
                self.make_room()?;
                self.ask(connection as usize, Op::Write, first, count, false)?;
                first += count;
            }
        }
        self.drain()?;
        self.ask(0, Op::Flush, 0, 0, false)?;
        self.drain()?;
        // Until now blocks may hold what was there before.
        self.acknowledged.clear();
        Ok(())
    }

    /// Asks for one thing more, after as many answers as make room for it.
    ///
    /// # Errors
    /// If a connection breaks, or no answer comes for two minutes.
    pub fn step(&mut self) -> Result<()> {
        self.make_room()?;
        let connections = self.connections.len();
        let connection = self.rng.index(connections);
        let [from, to] = [connection, connection + 1].map(|nth| (nth as u64) * self.region.blocks / connections as u64);
        let long = if self.rng.one_in(4) { MOST_BLOCKS } else { 8 };
        let blocks = 1 + self.rng.below(long);
        let first = from + self.rng.below(to - from - blocks);
        let op = match self.rng.below(32) {
            0 => return self.ask(connection, Op::Flush, 0, 0, false),
            1 => Op::WriteZeroes,
            // The server makes zeroes of it, as it says.
            2 => Op::Discard,
            3..10 => Op::Read,
            _ => Op::Write,
        };
        let fua = op != Op::Read && self.rng.one_in(16);
        self.ask(connection, op, first, blocks, fua)
    }

    /// Waits until everything is answered.
    ///
    /// # Errors
    /// As of [`step`](Self::step).
    pub fn drain(&mut self) -> Result<()> {
        while !self.open.is_empty() {
            self.learn()?;
        }
        Ok(())
    }

    /// Reads all blocks back and judges them; drivers may have ended.
    ///
    /// # Errors
    /// As of [`step`](Self::step).
    pub fn read_back(&mut self) -> Result<()> {
        self.drain()?;
        let mut first = 0;
        while first < self.region.blocks {
            let count = MOST_BLOCKS.min(self.region.blocks - first);
            self.make_room()?;
            self.ask(0, Op::Read, first, count, false)?;
            first += count;
        }
        self.drain()
    }

    /// Judges the file behind a disk that was stopped in order.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn judge_image(&mut self, image: &Path) -> Result<()> {
        let mut medium = vec![0; self.region.blocks as usize * BLOCK_BYTES];
        File::open(image)?.read_exact_at(&mut medium, self.region.first * BLOCK_BYTES as u64)?;
        self.verdict.add(self.ledger.judge(&self.ledger.must(After::Drivers), &medium, 0));
        Ok(())
    }

    fn make_room(&mut self) -> Result<()> {
        while self.open.len() >= self.depth {
            self.learn()?;
        }
        Ok(())
    }

    fn ask(&mut self, connection: usize, op: Op, first: u64, blocks: u64, fua: bool) -> Result<()> {
        let mut data = Vec::new();
        let number = if op == Op::Read {
            self.next_read += 1;
            self.open.insert(self.next_read, Open::Read { first, least: self.ledger.ask_read(first, blocks) });
            self.next_read
        } else {
            // What is trimmed reads as zeros, and this ledger says so.
            let noted = if op == Op::Discard { Op::WriteZeroes } else { op };
            let number = self.ledger.ask(noted, first, blocks, fua);
            self.open.insert(number, Open::Asked { durable: fua || op == Op::Flush });
            number
        };
        if op == Op::Write {
            data = self.ledger.data(number);
        }
        let first = if op == Op::Flush { 0 } else { self.region.first + first };
        let request = Request { number, op, first, blocks, fua, data: &data };
        nbd::send(&mut self.connections[connection].stream, &request)
    }

    /// Takes one answer.
    fn learn(&mut self) -> Result<()> {
        let waited = self.messages.1.recv_timeout(PATIENCE);
        let (connection, reply, log_bytes) = waited.map_err(|_| {
            Error::other(format!("no answer for {PATIENCE:?}, and {} requests are open", self.open.len()))
        })?;
        let reply = reply?.ok_or_else(|| Error::other(format!("the server has ended connection {connection}")))?;
        let Reply { number, error, data } = reply;
        let open = self.open.remove(&number);
        self.answered += 1;
        match open.ok_or_else(|| Error::other(format!("an answer to nothing: {number}, error {error}")))? {
            Open::Read { .. } if error != 0 => self.failed_reads += 1,
            Open::Read { first, least } => {
                let mut verdict = self.ledger.judge_read(first, &least, &data);
                let what = format!("of a read of {} blocks at {first} on connection {connection}: ", least.len());
                verdict.first.iter_mut().for_each(|found| found.insert_str(0, &what));
                self.verdict.add(verdict);
            }
            Open::Asked { durable } => {
                self.ledger.answer(number, error == 0);
                let noted = durable || number.is_multiple_of(NOTED);
                if noted && error == 0 && self.log.is_some() {
                    self.acknowledged.push(Acknowledged { must: self.ledger.must(After::PowerCut), log_bytes });
                }
            }
        }
        Ok(())
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.disconnect();
    }
}
