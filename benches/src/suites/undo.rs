//! What the undo log holds: stores that a driver makes for a packet or a request, and records that are left of them.

use std::sync::atomic::Ordering;

use nook_block_api::Op;

use super::Extent;
use crate::Report;
use crate::disk_rig::{Load, told};
use crate::levels::Program;
use crate::rig::{peeking, round};
use crate::sample::Estimate;
use crate::stores::{self, Count};

/// Packets each way in a call.
const SIZES: [u32; 3] = [1, 32, 255];
const ROUNDS: u64 = 10;

/// Requests of 4 KiB at a time.
const DEPTHS: [u32; 3] = [1, 32, 127];

/// Notes `stores_per_packet_<batch>` and `records_per_packet_<batch>`, for a packet each way; and
/// `stores_per_request_<depth>` and `records_per_request_<depth>`. These are counts, the same in each run.
pub(super) fn measure(report: &mut Report, _: Extent) {
    for (name, count) in [("stores", Count::Stores), ("records", Count::Records)] {
        let launcher = stores::launcher(Program::E1000, count);
        for size in SIZES {
            let (mut nook, counted) = peeking(&launcher, size);
            let before = counted.load(Ordering::Relaxed);
            (0..ROUNDS).for_each(|_| round(&mut nook));
            let made = counted.load(Ordering::Relaxed) - before;
            let each = made as f64 / (ROUNDS * u64::from(size)) as f64;
            report.figure(&format!("{name}_per_packet_{size}"), Estimate::exactly(each), name);
        }
        let launcher = stores::launcher(Program::Nvme, count);
        for depth in DEPTHS {
            let made = told(&launcher, Load { op: Op::Read, bytes: 4096, depth });
            let each = made as f64 / f64::from(depth);
            report.figure(&format!("{name}_per_request_{depth}"), Estimate::exactly(each), name);
        }
    }
}
