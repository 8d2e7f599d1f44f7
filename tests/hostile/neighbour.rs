//! A good driver in its own nook, on its own thread, with a stream of numbered frames in both directions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use e1000_model::ModelConfig;
use nook_runtime::now_ns;
use nook_tests::{Device, Isolation, Rig, frame};

/// Frames each way that are under way together.
const BATCH: u32 = 8;
/// The rest after each batch: the neighbour is busy, and leaves the machine to others.
const REST: Duration = Duration::from_millis(1);

/// How long a frame is waited for.
const PATIENCE_NS: u64 = 60_000_000_000;

/// The neighbour. Whatever happens to it ends its thread with a panic, and says what it was on stderr.
pub struct Neighbour {
    exchanged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Neighbour {
    /// Moves in, and returns when its stream runs.
    pub fn new() -> Neighbour {
        let (exchanged, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (exchanged, stop) = (exchanged.clone(), stop.clone());
            std::thread::spawn(move || live(&exchanged, &stop))
        };
        let neighbour = Neighbour { exchanged, stop, thread: Some(thread) };
        neighbour.goes_on().expect("the neighbour's stream runs");
        neighbour
    }

    /// Returns when more frames have come through after the call.
    ///
    /// # Errors
    /// If the stream has ended.
    pub fn goes_on(&self) -> Result<(), String> {
        let before = self.exchanged.load(Ordering::Relaxed);
        while self.exchanged.load(Ordering::Relaxed) < before + 4 * u64::from(BATCH) {
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                return Err("the neighbour's stream was disturbed".into());
            }
            std::thread::sleep(REST);
        }
        Ok(())
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it died of stands on stderr, and the cases that saw it have failed.
            let _ = thread.join();
        }
    }
}

fn live(exchanged: &AtomicU64, stop: &AtomicBool) {
    let mut rig = Rig::up(&Device::Model(ModelConfig::default()), Isolation::Sfi);
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        exchange(&mut rig, number, BATCH).unwrap_or_else(|error| panic!("{error}"));
        number = number.wrapping_add(BATCH);
        exchanged.fetch_add(u64::from(2 * BATCH), Ordering::Relaxed);
        std::thread::sleep(REST);
    }
}

/// Sends numbered frames both ways, and sees that each comes out at the other end: once, in order, unchanged.
///
/// # Errors
/// What went wrong.
pub fn exchange(rig: &mut Rig, first: u32, count: u32) -> Result<(), String> {
    let frames: Vec<_> = (first..first.wrapping_add(count)).map(|n| frame(n, 60 + n as usize % 1400)).collect();
    for frame in &frames {
        rig.nook.backend_mut().to_send.push_back(frame.clone());
        assert!(rig.far.send(frame).expect("a cable in memory works"), "the cable is full");
    }
    let mut arrived = Vec::new();
    until(rig, "all frames arrived", |rig| {
        arrived.extend(rig.arrived());
        arrived.len() >= frames.len() && rig.nook.backend().received.len() >= frames.len()
    })?;
    let received = std::mem::take(&mut rig.nook.backend_mut().received);
    for (what, got) in
        [("sent otherwise than they were given", arrived), ("received otherwise than they came", received)]
    {
        if got != frames {
            let numbers = |frames: &[Vec<u8>]| frames.iter().map(|frame| frame[14..18].to_vec()).collect::<Vec<_>>();
            return Err(format!("frames were {what}: {:?} instead of {:?}", numbers(&got), numbers(&frames)));
        }
    }
    Ok(())
}

/// Lets everything work until `done`.
///
/// # Errors
/// If it faults, or takes a minute.
pub fn until(rig: &mut Rig, what: &str, mut done: impl FnMut(&mut Rig) -> bool) -> Result<(), String> {
    let end = now_ns() + PATIENCE_NS;
    while !done(rig) {
        if now_ns() > end {
            return Err(format!("{what}: did not happen; counters: {:?}", rig.nook.counters()));
        }
        rig.turn().map_err(|error| format!("waiting until {what}: {error}"))?;
    }
    Ok(())
}
