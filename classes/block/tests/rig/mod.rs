//! A disk in memory that takes the place of runtime, driver and device: it asks the server as the block class does, and
//! answers in an order that a seed decides. And programs of others that are clients.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nook_block::{NbdAddress, NbdOptions, NbdServer};
use nook_block_api::{BlockBackend, Geometry, Op, Outcome, Request};
use nook_bus::VolatileSlice;
use nook_seed::Rng;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a test waits for what must come, before it fails.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Returns a disk of this many MiB, in blocks of 512 bytes, with everything that a disk can have.
pub fn geometry(mib: u64) -> Geometry {
    Geometry {
        block_bytes: 512,
        blocks: mib << 11,
        max_blocks: 256,
        read_only: false,
        volatile_cache: true,
        discard: true,
        write_zeroes: true,
        serial: "in memory".into(),
    }
}

/// Returns what the first bytes of a disk are at the beginning: of each 512 the number, in a byte.
pub fn first_content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 512 % 251) as u8).collect()
}

/// What a disk holds at the end, and what was done.
pub struct Medium {
    /// As it reads.
    pub content: Vec<u8>,
    /// As it would read after a power cut that loses all that may be lost.
    pub durable: Vec<u8>,
    /// How many requests there were of each kind: read, write, flush, discard, write zeroes.
    pub counts: HashMap<Op, u64>,
    /// How many of them were FUA.
    pub fua: u64,
    /// The longest request, in blocks.
    pub longest: u32,
}

/// The disk.
struct Disk {
    geometry: Geometry,
    medium: Medium,
    /// When each block was written last, and which of that is durable: numbers of writes.
    written: Vec<u64>,
    kept: Vec<u64>,
    writes: u64,
    under_way: Vec<Work>,
    /// A block at which reads and writes fail.
    poison: Option<u64>,
}

struct Work {
    request: Request,
    data: Vec<u8>,
    /// Of a flush: what was on the disk when it was asked for, block by block.
    flushed: Vec<(u64, u64, Vec<u8>)>,
}

impl Disk {
    fn new(geometry: &Geometry, poison: Option<u64>) -> Self {
        let bytes = geometry.len_bytes() as usize;
        let content = first_content(bytes);
        let medium = Medium { durable: content.clone(), content, counts: HashMap::new(), fua: 0, longest: 0 };
        let none = vec![0; geometry.blocks as usize];
        Disk {
            geometry: geometry.clone(),
            medium,
            written: none.clone(),
            kept: none,
            writes: 0,
            under_way: Vec::new(),
            poison,
        }
    }

    fn range(&self, request: &Request) -> std::ops::Range<usize> {
        let block = u64::from(self.geometry.block_bytes);
        let start = request.first * block;
        start as usize..(start + u64::from(request.blocks) * block) as usize
    }

    /// Takes what the server asks, as the runtime does: what is not as the trait says fails the test.
    fn take(&mut self, server: &mut NbdServer, request: Request) {
        let Request { id, op, first, blocks, fua } = request;
        assert!(self.under_way.iter().all(|other| other.request.id != id), "one number for two requests");
        match op {
            Op::Flush => assert_eq!((first, blocks, fua), (0, 0, false)),
            _ => assert!(blocks > 0 && first + u64::from(blocks) <= self.geometry.blocks, "{request:?}"),
        }
        if matches!(op, Op::Read | Op::Write) {
            assert!(blocks <= self.geometry.max_blocks, "{request:?}");
        }
        assert!(!self.geometry.read_only || !op.writes(), "{request:?}");
        let mut data = Vec::new();
        if op == Op::Write {
            data.resize(self.range(&request).len(), 0xee);
            server.fill(id, VolatileSlice::from(&mut data[..])).unwrap();
        }
        let mut flushed = Vec::new();
        if op == Op::Flush {
            let block = self.geometry.block_bytes as usize;
            for (at, (&written, &kept)) in self.written.iter().zip(&self.kept).enumerate() {
                if written > kept {
                    flushed.push((at as u64, written, self.medium.content[at * block..][..block].to_vec()));
                }
            }
        }
        *self.medium.counts.entry(op).or_default() += 1;
        self.medium.fua += u64::from(fua);
        self.medium.longest = self.medium.longest.max(blocks);
        self.under_way.push(Work { request, data, flushed });
    }

    fn keep(&mut self, block: u64, write: u64, content: &[u8]) {
        if self.kept[block as usize] < write {
            self.kept[block as usize] = write;
            let len = content.len();
            self.medium.durable[block as usize * len..][..len].copy_from_slice(content);
        }
    }

    /// Does one of what is under way, and says so.
    fn work(&mut self, server: &mut NbdServer, rng: &mut Rng) {
        let mut work = self.under_way.swap_remove(rng.index(self.under_way.len()));
        let request = work.request;
        let range = self.range(&request);
        let blocks = request.first..request.first + u64::from(request.blocks);
        if self.poison.is_some_and(|block| blocks.contains(&block)) {
            server.complete(request.id, Outcome::IoError, None).unwrap();
            return;
        }
        match request.op {
            Op::Read => {
                work.data = self.medium.content[range].to_vec();
                let data = VolatileSlice::from(&mut work.data[..]);
                server.complete(request.id, Outcome::Done, Some(data)).unwrap();
                return;
            }
            Op::Write => self.medium.content[range.clone()].copy_from_slice(&work.data),
            Op::WriteZeroes => self.medium.content[range.clone()].fill(0),
            // What can no longer be relied on.
            Op::Discard => self.medium.content[range.clone()].fill(0xdd),
            Op::Flush => {
                for (block, write, content) in std::mem::take(&mut work.flushed) {
                    self.keep(block, write, &content);
                }
            }
        }
        if request.op.writes() {
            self.writes += 1;
            let size = self.geometry.block_bytes as usize;
            let content = self.medium.content[range].to_vec();
            for (block, content) in blocks.zip(content.chunks_exact(size)) {
                self.written[block as usize] = self.writes;
                if request.fua {
                    self.keep(block, self.writes, content);
                }
            }
        }
        server.complete(request.id, Outcome::Done, None).unwrap();
    }
}

/// What is served, and how.
#[derive(Clone)]
pub struct Plan {
    /// The disk.
    pub geometry: Geometry,
    /// Name, description, read-only.
    pub options: NbdOptions,
    /// What decides the order of answers.
    pub seed: u64,
    /// How many requests the disk has at a time.
    pub depth: usize,
    /// A block that fails.
    pub poison: Option<u64>,
    /// TCP instead of a Unix socket.
    pub tcp: bool,
}

impl Plan {
    /// A disk of this many MiB.
    pub fn disk(mib: u64) -> Self {
        Plan { geometry: geometry(mib), options: NbdOptions::default(), seed: 1, depth: 16, poison: None, tcp: false }
    }

    /// Begins to serve.
    pub fn serve(self) -> Serving {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("disk.sock");
        let address = if self.tcp { "tcp:0".parse().unwrap() } else { NbdAddress::Unix(socket.clone()) };
        let server = NbdServer::listen(&address, self.options.clone()).unwrap();
        let uri = server.uri().to_owned();
        let stop = Arc::new(AtomicBool::new(false));
        let turns = Arc::new(AtomicU64::new(0));
        let (wake, wakes) = UnixStream::pair().unwrap();
        let (said, orders) = mpsc::channel();
        let thread = std::thread::spawn({
            let stop = stop.clone();
            let turns = turns.clone();
            move || serve(server, &self, &stop, &turns, wakes.as_fd(), &orders)
        });
        Serving { uri, socket, folder, stop, turns, wake, orders: said, thread: Some(thread) }
    }
}

/// What a test can have done between two turns.
pub type Order = Box<dyn FnOnce(&mut NbdServer) + Send>;

/// Asks the server and answers, until it is to stop.
pub fn serve(
    mut server: NbdServer,
    plan: &Plan,
    stop: &AtomicBool,
    turns: &AtomicU64,
    wakes: BorrowedFd<'_>,
    orders: &mpsc::Receiver<Order>,
) -> Medium {
    let mut disk = Disk::new(&plan.geometry, plan.poison);
    let mut rng = Rng::new(plan.seed);
    let begin = Instant::now();
    server.attach(&plan.geometry).unwrap();
    while !stop.load(Ordering::SeqCst) {
        turns.fetch_add(1, Ordering::Relaxed);
        let now = begin.elapsed().as_nanos() as u64;
        let due = server.service(now).unwrap();
        for order in orders.try_iter() {
            order(&mut server);
        }
        while disk.under_way.len() < plan.depth
            && let Some(request) = server.next().unwrap()
        {
            disk.take(&mut server, request);
        }
        if !disk.under_way.is_empty() {
            for _ in 0..=rng.index(disk.under_way.len()) {
                disk.work(&mut server, &mut rng);
            }
            server.flush().unwrap();
            continue;
        }
        let mut fds = Vec::new();
        server.event_fds(&mut fds);
        assert_eq!(fds.len(), 1);
        // SAFETY: the server keeps its descriptor open as long as it lives, which is past the wait.
        let readable = unsafe { BorrowedFd::borrow_raw(fds[0].as_raw_fd()) };
        let mut polled = [PollFd::from_borrowed_fd(readable, PollFlags::IN), PollFd::new(&wakes, PollFlags::IN)];
        let wait = due.map(|due| Duration::from_nanos(due.saturating_sub(now)));
        let wait = wait.map(|wait| Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() });
        match poll(&mut polled, wait.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
        let mut woken = [0; 16];
        let _ = rustix::net::recv(wakes, &mut woken, rustix::net::RecvFlags::DONTWAIT);
    }
    disk.medium
}

/// A disk that is being served.
pub struct Serving {
    /// Where.
    pub uri: String,
    /// Its socket, unless it is TCP.
    pub socket: PathBuf,
    /// A folder for what a test writes.
    pub folder: TempDir,
    stop: Arc<AtomicBool>,
    turns: Arc<AtomicU64>,
    wake: UnixStream,
    orders: mpsc::Sender<Order>,
    thread: Option<JoinHandle<Medium>>,
}

impl Serving {
    /// Has something done by the server's thread, and waits until it is.
    pub fn order(&mut self, order: impl FnOnce(&mut NbdServer) + Send + 'static) {
        let (done, is_done) = mpsc::channel();
        let order = move |server: &mut NbdServer| {
            order(server);
            let _ = done.send(());
        };
        self.orders.send(Box::new(order)).unwrap();
        self.wake.write_all(&[1]).unwrap();
        is_done.recv_timeout(PATIENCE).unwrap();
    }

    /// Waits until the server sleeps: a loop that is woken again and again, with nothing to do, never comes to that.
    pub fn comes_to_rest(&self) {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let before = self.turns.load(Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(100));
            if self.turns.load(Ordering::Relaxed) == before {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Ends it and returns the disk.
    pub fn end(mut self) -> Medium {
        self.stop.store(true, Ordering::SeqCst);
        self.wake.write_all(&[1]).unwrap();
        self.thread.take().unwrap().join().unwrap()
    }

    /// Returns a path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Connects a client that is made by hand.
    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Runs a Python script with libnbd's `nbd` and `h`, a handle that is not connected; `uri` is the server's.
    pub fn nbdsh(&self, script: &str) -> String {
        let head = format!("uri = {:?}\nimport errno, os, struct\n", self.uri);
        // Its module is Debian's Python's; another Python that comes first in PATH has none.
        let path = std::env::var("PATH").unwrap_or_default();
        run(Command::new("nbdsh").env("PATH", format!("/usr/bin:{path}")).args(["-c", &(head + script)]))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.wake.write_all(&[1]);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs a program of others to its end and returns what it printed; fails the test if it fails.
pub fn run(command: &mut Command) -> String {
    let (succeeded, text) = outcome(command);
    assert!(succeeded, "{} failed: {text}", command.get_program().display());
    text
}

/// Runs a program of others to its end; whether it succeeded, and what it printed.
pub fn outcome(command: &mut Command) -> (bool, String) {
    let program = command.get_program().display().to_string();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child =
        child.unwrap_or_else(|error| panic!("cannot start {program}: {error}; `cargo xtask setup` installs it"));
    let id = Pid::from_child(&child);
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || ended.send(child.wait_with_output()));
    let output = end.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        // It was not waited for yet, so the number is still its own.
        let _ = kill_process(id, Signal::KILL);
        panic!("{program} did not end in {PATIENCE:?}");
    });
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text.into_owned())
}

/// Writes a file of bytes that look random; returns them.
pub fn random_file(path: &Path, len: usize, seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let bytes: Vec<u8> = std::iter::repeat_with(|| rng.word().to_le_bytes()).flatten().take(len).collect();
    File::create(path).unwrap().write_all(&bytes).unwrap();
    bytes
}

/// Reads a file.
pub fn content(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}
