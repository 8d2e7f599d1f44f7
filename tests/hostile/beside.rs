//! A hostile driver beside a good one, on its own thread each. The good one is offered half of what it can do
//! alone, and is to lose nothing.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;

use e1000_model::{Behaviour, ModelConfig};
use nook_abi::{Fault, Hex};
use nook_recovery::{Policy, Supervisor};
use nook_runtime::now_ns;
use nook_tests::{Device, Isolation, Rig, frame};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::case::{Case, Level};
use crate::cases;
use crate::stage::persistent;

/// Who is beside: one that spins, one that floods the log, one that allocates, one whose interrupts storm.
pub const HOSTILE: [&str; 4] =
    ["poll_never_ends", "log_flood", "allocates_and_frees_for_ever", "interrupt_that_nobody_clears"];

/// Frames each way that are under way at most: what is offered beyond waits with the sender, and its wait counts.
const UNDER_WAY: usize = 256;
/// How long nothing may arrive.
const PATIENCE_NS: u64 = 60_000_000_000;
/// The hostile driver comes back at once, for ever.
const RESTLESS: Policy = Policy {
    restarts: u32::MAX,
    window_ns: 1,
    backoff_first_ns: 0,
    backoff_most_ns: 0,
    snapshots: 0,
    ..Policy::DEFAULT
};

/// What became of a stream of frames, both ways together.
#[derive(Clone, Debug, Serialize)]
pub struct Stream {
    /// Frames that were offered.
    pub offered: u64,
    /// Frames that did not arrive.
    pub lost: u64,
    /// SHA-256 of all that was offered.
    pub sha256: String,
    /// Whether all that arrived, in its order, has the same.
    pub hash_ok: bool,
    /// Frames a second that arrived.
    pub frames_per_s: u64,
    /// From when a frame was due to be offered until it had arrived, in nanoseconds.
    pub p50_ns: u64,
    /// See there.
    pub p99_ns: u64,
    /// See there.
    pub max_ns: u64,
}

/// The good driver beside a hostile one.
#[derive(Clone, Debug, Serialize)]
pub struct Beside {
    /// Who is beside.
    pub name: &'static str,
    /// How both are isolated.
    pub level: String,
    /// What the hostile one did first.
    pub fault: Option<String>,
    /// How often it faulted.
    pub faults: u64,
    /// Frames a second, both ways together, that the good driver can do alone.
    pub lone_frames_per_s: u64,
    /// Alone, offered half of that, shortly before.
    pub alone: Stream,
    /// Beside the hostile one, offered the same; none if it faulted.
    pub beside: Option<Stream>,
    /// What is not as it should be.
    pub problems: Vec<String>,
}

/// Measures what the good driver can do alone, and then offers it half of that, alone and beside each hostile one. Each
/// stream is offered for `for_ns`.
///
/// # Errors
/// If it does not even work alone.
pub fn play(level: Level, for_ns: u64, mut told: impl FnMut(&Beside)) -> Result<Vec<Beside>, String> {
    let isolation = match level {
        Level::Sfi => Isolation::Sfi,
        Level::SfiTxn => Isolation::SfiTxn,
    };
    // Without random behaviour: the times are the nook's, not the device's.
    let config = ModelConfig { behaviour: Behaviour::calm(), ..ModelConfig::default() };
    let mut rig = Rig::up(&Device::Model(config), isolation);
    let most = stream(&mut rig, for_ns, None)?;
    // There are two ways.
    let interval_ns = Some(4_000_000_000 / most.frames_per_s.max(1));
    let mut results = Vec::new();
    for case in HOSTILE.into_iter().filter_map(|name| cases::all().find(|case| case.name == name)) {
        let alone = stream(&mut rig, for_ns, interval_ns)?;
        let (begun, stop) = (AtomicBool::new(false), AtomicBool::new(false));
        let (beside, deeds) = std::thread::scope(|scope| {
            let hostile = scope.spawn(|| misbehave(case, level, &begun, &stop));
            while !begun.load(Ordering::Relaxed) && !hostile.is_finished() {
                std::thread::yield_now();
            }
            let beside = stream(&mut rig, for_ns, interval_ns);
            stop.store(true, Ordering::Relaxed);
            (beside, joined(hostile))
        });
        let result = judge(case, level, most.frames_per_s, alone, beside, deeds);
        told(&result);
        results.push(result);
    }
    Ok(results)
}

/// What the hostile driver did: the first fault in words, and how many there were.
type Deeds = Result<(Option<String>, u64), String>;

fn joined(thread: ScopedJoinHandle<'_, Deeds>) -> Deeds {
    thread.join().unwrap_or_else(|_| Err("the hostile driver's thread panicked".into()))
}

/// Runs a hostile driver, which comes back after each fault, until `stop`, and until its first fault: the
/// machine may have given it no time for one before.
fn misbehave(case: &Case, level: Level, begun: &AtomicBool, stop: &AtomicBool) -> Deeds {
    let nook = persistent(case, level).map_err(|error| error.to_string())?;
    let mut supervisor = Supervisor::new(nook, RESTLESS);
    supervisor.start().map_err(|error| error.to_string())?;
    begun.store(true, Ordering::Relaxed);
    let end = now_ns() + PATIENCE_NS;
    while !stop.load(Ordering::Relaxed) || supervisor.faults() == 0 && now_ns() < end {
        supervisor.turn(now_ns() + 1_000_000).map_err(|error| error.to_string())?;
    }
    Ok((supervisor.recoveries().first().map(|recovery| recovery.fault.clone()), supervisor.faults()))
}

fn judge(
    case: &Case,
    level: Level,
    lone_frames_per_s: u64,
    alone: Stream,
    beside: Result<Stream, String>,
    deeds: Deeds,
) -> Beside {
    let mut problems = Vec::new();
    let (fault, faults) = deeds.unwrap_or_else(|error| {
        problems.push(format!("the hostile driver: {error}"));
        (None, 0)
    });
    let due = case.fault_at(level).as_ref().map(Fault::to_string);
    if !due.as_ref().is_some_and(|due| fault.as_ref().is_some_and(|fault| fault.contains(due))) {
        problems.push(format!("the hostile driver was to come to {due:?}, and came to {fault:?}"));
    }
    let beside = beside.map_err(|error| problems.push(error)).ok();
    for (when, stream) in [("alone", Some(&alone)), ("beside it", beside.as_ref())] {
        if let Some(Stream { lost, hash_ok, .. }) = stream.filter(|stream| stream.lost > 0 || !stream.hash_ok) {
            problems.push(format!("{when}: {lost} frames were lost; hash right: {hash_ok}"));
        }
    }
    Beside { name: case.name, level: level.to_string(), fault, faults, lone_frames_per_s, alone, beside, problems }
}

/// When frames are offered.
struct Offer {
    from_ns: u64,
    until_ns: u64,
    /// From one to the next; without, there is always one more.
    interval_ns: Option<u64>,
}

impl Offer {
    /// Returns when the frame with this number is due, if there is such a frame.
    fn due(&self, number: u64, now: u64) -> Option<u64> {
        let due = self.interval_ns.map_or(now, |interval| self.from_ns + number * interval);
        (due < self.until_ns).then_some(due)
    }
}

/// One way of a stream.
#[derive(Default)]
struct Way {
    /// What was offered.
    offered: Sha256,
    count: u64,
    /// When each frame that is under way was due.
    under_way: VecDeque<u64>,
    /// What arrived.
    arrived: Sha256,
    waits_ns: Vec<u64>,
}

impl Way {
    /// Returns the next frame, if one is due now and there is room for it.
    fn next(&mut self, offer: &Offer, now: u64) -> Option<Vec<u8>> {
        let due = offer.due(self.count, now).filter(|&due| due <= now && self.under_way.len() < UNDER_WAY)?;
        let frame = frame(self.count as u32, 60 + self.count as usize % 1400);
        self.offered.update(&frame);
        self.count += 1;
        self.under_way.push_back(due);
        Some(frame)
    }

    fn arrives(&mut self, frame: &[u8], now: u64) {
        self.arrived.update(frame);
        self.waits_ns.extend(self.under_way.pop_front().map(|due| now - due));
    }
}

/// Sends frames both ways for a while, one each `interval_ns` or as many as go, and waits until all of them have
/// arrived.
///
/// # Errors
/// If the driver faults. What does not arrive is no error, but counted.
fn stream(rig: &mut Rig, for_ns: u64, interval_ns: Option<u64>) -> Result<Stream, String> {
    let (mut up, mut down) = (Way::default(), Way::default());
    let begun = now_ns();
    let offer = Offer { from_ns: begun, until_ns: begun + for_ns, interval_ns };
    let (mut now, mut last) = (begun, begun);
    loop {
        while let Some(frame) = up.next(&offer, now) {
            assert!(rig.far.send(&frame).expect("a cable in memory works"), "the cable is full");
        }
        while let Some(frame) = down.next(&offer, now) {
            rig.nook.backend_mut().to_send.push_back(frame);
        }
        let next = [&up, &down].into_iter().filter_map(|way| offer.due(way.count, now)).min();
        let waiting = up.under_way.len() + down.under_way.len() > 0;
        if next.is_none() && !waiting || waiting && now > last + PATIENCE_NS {
            return Ok(summary([up, down], last - begun));
        }
        let wait = next.unwrap_or(u64::MAX).min(now + 1_000_000);
        rig.nook.turn(wait).map_err(|error| format!("the neighbour: {error}"))?;
        now = now_ns();
        for frame in rig.arrived() {
            down.arrives(&frame, now);
            last = now;
        }
        for frame in std::mem::take(&mut rig.nook.backend_mut().received) {
            up.arrives(&frame, now);
            last = now;
        }
    }
}

fn summary(ways: [Way; 2], took_ns: u64) -> Stream {
    let mut waits: Vec<u64> = ways.iter().flat_map(|way| way.waits_ns.iter().copied()).collect();
    waits.sort_unstable();
    let at = |part: f64| waits.get((waits.len() as f64 * part) as usize).or(waits.last()).copied().unwrap_or(0);
    let offered = ways.iter().map(|way| way.count).sum();
    let lost = ways.iter().map(|way| way.under_way.len() as u64).sum();
    let [sent, got] = ways.into_iter().fold([Sha256::new(), Sha256::new()], |[sent, got], way| {
        [sent.chain_update(way.offered.finalize()), got.chain_update(way.arrived.finalize())]
    });
    let (sent, got) = (sent.finalize(), got.finalize());
    Stream {
        offered,
        lost,
        sha256: Hex::of(&sent).to_string(),
        hash_ok: sent == got,
        frames_per_s: (offered - lost) * 1_000_000_000 / took_ns.max(1),
        p50_ns: at(0.5),
        p99_ns: at(0.99),
        max_ns: at(1.0),
    }
}
