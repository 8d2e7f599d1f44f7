//! A TCP connection between the two namespaces that carries a stream whenever it is asked to.
//!
//! It stays open between two slices of a stream, so a slice can be a fraction of a second: nothing is started for it,
//! and all levels have theirs within the same few seconds.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nook_tests::namespaces::{Between, inside};

use crate::cpus::{self, Processors};

/// Where it leads.
const PORT: u16 = 7008;
/// A message of the paper's stream.
const MESSAGE_BYTES: usize = 32 << 10;
/// How often a stream at a rate sends what is due: as iperf3 does.
const PACE: Duration = Duration::from_millis(1);
/// The beginning of each slice, in which TCP finds its rate again, is not measured.
const WARM_UP: Duration = Duration::from_millis(60);
/// Nothing may stand still for longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a side that waits looks whether that is so.
const GLANCE: Duration = Duration::from_millis(200);

/// Both ends of the connection.
pub(super) struct Flow {
    near: TcpStream,
    far: TcpStream,
    processors: Option<Processors>,
    /// Bytes that have arrived since the beginning, and those that were sent.
    arrived: u64,
}

/// What a slice was.
pub(super) struct Slice<T> {
    /// Bits a second, as they arrived.
    pub(super) bits_per_second: f64,
    /// How long it was measured.
    pub(super) length: Duration,
    /// What was looked at when measuring began, and when it ended.
    pub(super) seen: [T; 2],
}

impl Flow {
    /// Connects the driver's end with the far end.
    pub(super) fn connect(between: &Between, processors: Option<Processors>) -> Result<Self> {
        let listener = inside(&between.names().far, || TcpListener::bind((Between::FAR, PORT)));
        let listener = listener.context("a socket for the stream")?;
        let near = inside(&between.names().near, || TcpStream::connect((Between::FAR, PORT)));
        let near = near.context("connecting for the stream")?;
        let (far, _) = listener.accept().context("the stream's far end")?;
        near.set_write_timeout(Some(GLANCE)).context("a time limit for a socket")?;
        far.set_read_timeout(Some(GLANCE)).context("a time limit for a socket")?;
        Ok(Flow { near, far, processors, arrived: 0 })
    }

    /// Carries a stream towards the far end, as fast as it goes or at a rate, and measures so much of it; `look` is
    /// called at the beginning and at the end of that.
    pub(super) fn carry<T>(
        &mut self,
        length: Duration,
        bits_per_second: Option<f64>,
        mut look: impl FnMut() -> Result<T>,
    ) -> Result<Slice<T>> {
        let Flow { near, far, processors, arrived } = self;
        let (count, done) = (AtomicU64::new(*arrived), AtomicBool::new(false));
        // How much will have arrived in the end.
        let all = AtomicU64::new(u64::MAX);
        let sent_before = *arrived;
        let (slice, sent, received) = std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                cpus::stay_on(processors.map(|it| it.near));
                let sent = send(near, bits_per_second, &done);
                // Without this number the far end would wait for ever.
                all.store(sent_before + *sent.as_ref().unwrap_or(&0), Ordering::Release);
                sent
            });
            let receiver = scope.spawn(|| {
                cpus::stay_on(processors.map(|it| it.far));
                receive(far, &count, &all)
            });
            let mut measured = || {
                std::thread::sleep(WARM_UP);
                let first = look()?;
                let (begin, before) = (Instant::now(), count.load(Ordering::Relaxed));
                std::thread::sleep(length);
                let (length, after) = (begin.elapsed(), count.load(Ordering::Relaxed));
                let bits = (after - before) as f64 * 8.0;
                Ok(Slice { bits_per_second: bits / length.as_secs_f64(), length, seen: [first, look()?] })
            };
            let slice: Result<Slice<T>> = measured();
            done.store(true, Ordering::Relaxed);
            (slice, sender.join(), receiver.join())
        });
        let (Ok(sent), Ok(received)) = (sent, received) else { bail!("a thread of the stream ended in a panic") };
        sent.context("sending")?;
        received.context("receiving")?;
        *arrived = count.into_inner();
        let slice = slice?;
        ensure!(slice.bits_per_second > 0.0, "nothing arrived for {:?}", slice.length);
        Ok(slice)
    }
}

/// Sends messages until it is `done`, and returns how many bytes that were.
fn send(mut near: &TcpStream, bits_per_second: Option<f64>, done: &AtomicBool) -> Result<u64> {
    let (message, begin, mut sent) = ([0; MESSAGE_BYTES], Instant::now(), 0);
    while !done.load(Ordering::Relaxed) {
        if let Some(rate) = bits_per_second
            && sent as f64 * 8.0 > rate * begin.elapsed().as_secs_f64()
        {
            std::thread::sleep(PACE);
            continue;
        }
        let mut rest = &message[..];
        let mut progress = Instant::now();
        while !rest.is_empty() {
            match near.write(rest) {
                Ok(0) => bail!("the connection was closed"),
                Ok(bytes) => {
                    (rest, progress) = (&rest[bytes..], Instant::now());
                    sent += bytes as u64;
                }
                Err(error) if waited(&error) => ensure!(progress.elapsed() < PATIENCE, "the stream stands still"),
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(sent)
}

/// Counts what arrives, until that is `all`.
fn receive(mut far: &TcpStream, count: &AtomicU64, all: &AtomicU64) -> Result<()> {
    let (mut bytes, mut progress) = (vec![0; 2 * MESSAGE_BYTES], Instant::now());
    while count.load(Ordering::Relaxed) < all.load(Ordering::Acquire) {
        match far.read(&mut bytes) {
            Ok(0) => bail!("the connection was closed"),
            Ok(bytes) => {
                count.fetch_add(bytes as u64, Ordering::Relaxed);
                progress = Instant::now();
            }
            Err(error) if waited(&error) => ensure!(progress.elapsed() < PATIENCE, "the stream stands still"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn waited(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
