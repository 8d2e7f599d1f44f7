//! Snapshots: what taking one costs and what it holds, what a look costs while packets move, and the way back to one.

use nook_runtime::{NetImage, Snapshot, SnapshotAttempt};
use nook_tests::{Device, Isolation, Rig, frame};

use super::{Extent, ns};
use crate::sample::Estimate;
use crate::{Report, ticks};

/// Frames that are under way when a look finds that something moves.
const FRAMES: u32 = 32;

impl Extent {
    fn snapshots(self) -> usize {
        match self {
            Extent::Tiny => 2,
            Extent::Quick => 30,
            Extent::Full => 100,
        }
    }
}

/// Notes `snapshot_take`, `snapshot_back` and `snapshot_look` in nanoseconds, and `snapshot_bytes`; of the e1000 driver
/// on the embedded model, with the log.
pub(super) fn measure(report: &mut Report, extent: Extent) {
    let mut rig = Rig::up(&Device::Model(Default::default()), Isolation::SfiTxn);
    let (mut take, mut look, mut back, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..extent.snapshots() {
        let (snapshot, spent) = taken(&mut rig);
        take.push(spent as f64);
        bytes = snapshot.len_bytes();
        rig.nook.backend_mut().to_send.extend((0..FRAMES).map(|n| frame(n, 60)));
        rig.turn().expect("the driver does not fault");
        let begin = ticks::now();
        let found = rig.nook.try_snapshot().expect("the driver does not fault");
        let spent = ticks::now() - begin;
        // The model may be done with all of them already.
        if matches!(found, SnapshotAttempt::Busy) {
            look.push(spent as f64);
        }
        rig.settle();
        let begin = ticks::now();
        rig.nook.restore(&snapshot).expect("the driver can be restored");
        back.push((ticks::now() - begin) as f64);
        rig.until("the link is up again", |rig| rig.nook.interface().is_some_and(|interface| interface.link.up));
    }
    for (name, samples) in [("take", &take), ("look", &look), ("back", &back)] {
        if !samples.is_empty() {
            report.figure(&format!("snapshot_{name}"), ns(samples), "ns");
        }
    }
    report.figure("snapshot_bytes", Estimate::exactly(bytes as f64), "B");
}

/// Lets the driver be until a snapshot is taken. Also says how many ticks the look took in which it was.
fn taken(rig: &mut Rig) -> (Box<Snapshot<NetImage>>, u64) {
    let mut taken = None;
    rig.until("nothing moves", |rig| {
        let begin = ticks::now();
        let found = rig.nook.try_snapshot().expect("the driver does not fault");
        let spent = ticks::now() - begin;
        if let SnapshotAttempt::Taken(snapshot) = found {
            taken = Some((snapshot, spent));
        }
        taken.is_some()
    });
    taken.expect("there is one now")
}
