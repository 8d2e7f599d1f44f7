//! Requests of a disk, on the calm model: all that are asked for at once, and then all that are answered.

use nook_block_api::Op;

use super::{Extent, note_levels};
use crate::Report;
use crate::disk_rig::{Load, rounds};
use crate::levels::{Level, Program, levels};
use crate::sample::interleave;

/// Requests at a time: the driver takes 127.
const DEPTHS: [u32; 4] = [1, 8, 32, 127];
/// What each is called in the report, and what it is.
const LOADS: [(&str, Load); 6] = [
    ("4k_1", reads(4096, DEPTHS[0])),
    ("4k_8", reads(4096, DEPTHS[1])),
    ("4k_32", reads(4096, DEPTHS[2])),
    ("4k_127", reads(4096, DEPTHS[3])),
    ("4k_32_write", Load { op: Op::Write, ..reads(4096, DEPTHS[2]) }),
    ("128k_8", reads(128 << 10, DEPTHS[1])),
];

const fn reads(bytes: u32, depth: u32) -> Load {
    Load { op: Op::Read, bytes, depth }
}

pub(super) fn measure(report: &mut Report, extent: Extent) {
    let each = |level: &Level| {
        let (launcher, instances) = (level.launcher(Program::Nvme), level.instances(LOADS.len()));
        LOADS.map(|(_, load)| rounds(&launcher, instances, load))
    };
    let mut subjects: Vec<_> = levels().iter().flat_map(each).collect();
    let samples = interleave(&mut subjects, extent.effort());
    for (at, (name, load)) in LOADS.iter().enumerate() {
        let of = |samples: &[Vec<f64>]| -> Vec<Vec<f64>> {
            let each = |values: &Vec<f64>| values.iter().map(|ticks| ticks / f64::from(load.depth)).collect();
            samples.chunks(LOADS.len()).map(|level| each(&level[at])).collect()
        };
        note_levels(report, &format!("request_{name}"), levels(), &of(&samples.inside));
        note_levels(report, &format!("request_turns_{name}"), levels(), &of(&samples.whole));
    }
}
