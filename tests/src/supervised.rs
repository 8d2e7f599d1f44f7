//! A nook under supervision.

use nook_net_api::Wire;
use nook_recovery::{Policy, Supervisor};
use nook_runtime::{Net, now_ns};

use crate::{FrameQueues, Rig, frame};

/// How long what must come is waited for.
const PATIENCE_NS: u64 = 60_000_000_000;

type Frames = Vec<Vec<u8>>;

/// What became of numbered frames that went both ways.
pub struct Exchanged {
    /// As they were given to either side.
    pub frames: Frames,
    /// As the far end saw them.
    pub arrived: Frames,
    /// As the interface did.
    pub received: Frames,
}

/// A driver that runs and has a link, under supervision, and the far end of its cable.
pub struct Supervised {
    /// Who supervises it.
    pub supervisor: Supervisor<Net<FrameQueues>>,
    /// The far end of its cable.
    pub far: Box<dyn Wire>,
}

impl Supervised {
    /// Puts a rig under supervision.
    pub fn new(rig: Rig, policy: Policy) -> Supervised {
        Supervised { supervisor: Supervisor::new(rig.nook, policy), far: rig.far }
    }

    /// Lets everything work until `done`.
    ///
    /// # Panics
    /// If the driver ends for good, or it takes a minute.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Supervised) -> bool) {
        let end = now_ns() + PATIENCE_NS;
        while !done(self) {
            let counters = self.supervisor.nook().counters();
            assert!(now_ns() < end, "{what} did not happen; {:?}, {counters:?}", self.supervisor.recoveries());
            self.supervisor.turn(now_ns() + 1_000_000).expect("the driver comes back");
        }
    }

    /// Returns everything that arrived at the far end.
    pub fn arrived(&mut self) -> Frames {
        let (mut frames, mut buffer) = (Vec::new(), vec![0; 65536]);
        while let Ok(Some(len)) = self.far.recv(&mut buffer) {
            frames.push(buffer[..len].to_vec());
        }
        frames
    }

    /// Sends `count` numbered frames both ways, until all are there.
    ///
    /// # Panics
    /// As [`until`](Self::until).
    pub fn exchange(&mut self, count: u32) -> Exchanged {
        let frames: Vec<_> = (1..=count).map(|n| frame(n, 60 + n as usize % 1400)).collect();
        self.supervisor.nook_mut().backend_mut().to_send.extend(frames.iter().cloned());
        let (mut sent, mut arrived) = (0, Vec::new());
        self.until("all frames arrived", |this| {
            let received = this.supervisor.nook().backend().received.len();
            // No more under way than the device can hold.
            while sent < frames.len() && sent < received + 32 {
                assert!(this.far.send(&frames[sent]).expect("the cable works"));
                sent += 1;
            }
            arrived.extend(this.arrived());
            arrived.len() >= frames.len() && received >= frames.len()
        });
        let received = std::mem::take(&mut self.supervisor.nook_mut().backend_mut().received);
        Exchanged { frames, arrived, received }
    }
}
