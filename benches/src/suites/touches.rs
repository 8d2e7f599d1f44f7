//! A driver that touches every byte, from 64 B to 1 MiB in a call.

use touch_driver::job;

use super::{Axis, Extent, note_levels, note_sweep};
use crate::Report;
use crate::levels::levels;
use crate::rig::{jobs, touching};
use crate::sample::interleave;

/// Bytes in a call. 1500 is a frame's payload.
const SIZES: &[u32] = &[64, 128, 256, 512, 1024, 1500, 2048, 4096, 8192, 16384, 32768, 65536, 262144, 1048576];
/// In a separate process each register read is a question to the host and an answer: more than this takes the time of
/// a call that does not end.
const MOST_PIO_BYTES: u32 = 4096;
/// The sizes under which ratios are noted.
const NAMED: &[u32] = &[64, 1500, 65536];

const JOBS: [(&str, u32, &str); 4] = [
    ("checksum", job::CHECKSUM, "Checksum of every byte of a call"),
    ("copy", job::COPY, "Copy as a whole (memory.copy)"),
    ("touch", job::TOUCH, "Copy word by word with a sum: a load and a store for every word"),
    ("pio", job::PIO, "Programmed I/O: a register read for every four bytes"),
];

pub(super) fn measure(report: &mut Report, extent: Extent) {
    let all = if extent == Extent::Tiny { NAMED } else { SIZES };
    let drivers: Vec<_> = levels().iter().map(touching).collect();
    for (name, what, title) in JOBS {
        let most = if what == job::PIO { MOST_PIO_BYTES } else { u32::MAX };
        let sizes: Vec<u32> = all.iter().copied().filter(|&size| size <= most).collect();
        let each = |drivers| sizes.iter().map(move |&bytes| jobs(drivers, what, bytes));
        let mut subjects: Vec<_> = drivers.iter().flat_map(each).collect();
        let samples = interleave(&mut subjects, extent.effort());
        for (at, size) in sizes.iter().enumerate().filter(|(_, size)| NAMED.contains(size)) {
            let costs: Vec<_> = samples.whole.chunks(sizes.len()).map(|level| level[at].clone()).collect();
            note_levels(report, &format!("{name}_{size}"), levels(), &costs);
        }
        note_sweep(
            report,
            &Axis { name, title, x_label: "bytes in a call", each: Some("byte"), sizes: &sizes },
            levels(),
            &samples.whole,
        );
    }
}
