//! `poll`: packets that nobody looks into, on a device that costs next to nothing.

use super::{Axis, Extent, note_levels, note_sweep, ns};
use crate::Report;
use crate::levels::{Level, Program, levels};
use crate::rig::rounds;
use crate::sample::interleave;

/// Packets each way in a call. A ring of 256 descriptors holds 255.
const SIZES: &[u32] = &[1, 2, 4, 8, 16, 32, 64, 128, 255];
/// Those that goals are about.
const NAMED: &[u32] = &[1, 32, 255];

pub(super) fn measure(report: &mut Report, extent: Extent) {
    let sizes = if extent == Extent::Tiny { NAMED.to_vec() } else { SIZES.to_vec() };
    let each = |level: &Level| {
        let (launcher, instances) = (level.launcher(Program::E1000), level.instances(sizes.len()));
        sizes.iter().map(|&size| rounds(&launcher, instances, size, false)).collect::<Vec<_>>()
    };
    let mut subjects: Vec<_> = levels().iter().flat_map(each).collect();
    let samples = interleave(&mut subjects, extent.effort());
    for (at, size) in sizes.iter().enumerate().filter(|(_, size)| NAMED.contains(size)) {
        let of = |samples: &[Vec<f64>]| -> Vec<Vec<f64>> {
            samples.chunks(sizes.len()).map(|level| level[at].clone()).collect()
        };
        note_levels(report, &format!("poll_{size}"), levels(), &of(&samples.inside));
        note_levels(report, &format!("turn_{size}"), levels(), &of(&samples.whole));
        for (level, samples) in levels().iter().zip(of(&samples.inside)) {
            let pair = ns(&samples).scaled(1.0 / f64::from(*size));
            report.figure(&format!("pair_{size}_{}", level.key()), pair, "ns");
        }
    }
    let axis = Axis {
        name: "poll",
        title: "One call of poll that receives and sends a batch: the driver's call alone",
        x_label: "packets each way in a call",
        each: Some("packet each way"),
        sizes: &sizes,
    };
    note_sweep(report, &axis, levels(), &samples.inside);
    let axis = Axis { name: "turn", title: "The same with the host's work: one turn of the loop", ..axis };
    note_sweep(report, &axis, levels(), &samples.whole);
}
