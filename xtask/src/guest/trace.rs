//! Counting register accesses in QEMU's trace `memory_region_ops`: what a driver asks of a device, seen from outside
//! it, and the same for any driver.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::Range;

/// The events that are counted.
pub const EVENTS: [&str; 2] = ["memory_region_ops_read", "memory_region_ops_write"];

/// Accesses to one card.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How often each register was read, by its offset in the BAR.
    reads: BTreeMap<u64, u64>,
    /// How often each was written.
    writes: BTreeMap<u64, u64>,
}

impl Counts {
    /// Counts the accesses to these ranges of addresses.
    pub fn of(log: &str, bars: &[Range<u64>]) -> Counts {
        let mut counts = Counts::default();
        for (is_write, address) in log.lines().filter_map(access) {
            if let Some(bar) = bars.iter().find(|bar| bar.contains(&address)) {
                let map = if is_write { &mut counts.writes } else { &mut counts.reads };
                *map.entry(address - bar.start).or_default() += 1;
            }
        }
        counts
    }

    /// Returns how many reads and how many writes.
    pub fn totals(&self) -> (u64, u64) {
        (self.reads.values().sum(), self.writes.values().sum())
    }

    /// For the report.
    pub fn to_json(&self) -> Value {
        let (reads, writes) = self.totals();
        let named = |map: &BTreeMap<u64, u64>| -> BTreeMap<String, u64> {
            map.iter().map(|(offset, count)| (format!("{offset:#06x}"), *count)).collect()
        };
        json!({"reads": reads, "writes": writes, "reads_of": named(&self.reads), "writes_of": named(&self.writes)})
    }
}

/// Returns whether it is a write, and the address, of a line like
/// `memory_region_ops_read cpu 0 mr 0x55d0 addr 0xfeb80008 value 0x3 size 4 name 'e1000-mmio'`.
fn access(line: &str) -> Option<(bool, u64)> {
    let (_, rest) = line.split_once("memory_region_ops_")?;
    let (kind, rest) = rest.split_once(' ')?;
    let (_, rest) = rest.split_once(" addr 0x")?;
    let digits = rest.split_once(' ')?.0;
    Some((kind == "write", u64::from_str_radix(digits, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
memory_region_ops_read cpu 0 mr 0x55d0 addr 0xfeb80008 value 0x3 size 4 name 'e1000-mmio'
memory_region_ops_write cpu 0 mr 0x55d0 addr 0xfeb83818 value 0x3 size 4 name 'e1000-mmio'
123@456.789:memory_region_ops_write cpu 0 mr 0x55d0 addr 0xfeb83818 value 0x4 size 4 name 'e1000-mmio'
memory_region_ops_write cpu 0 mr 0x55d8 addr 0x3f8 value 0x41 size 1 name 'serial'
memory_region_ops_read cpu 0 mr
something else
";

    #[test]
    fn only_accesses_to_the_card_are_counted_by_register() {
        let bars = [0xfeb8_0000..0xfeba_0000, 0xc000..0xc040];
        let counts = Counts::of(LOG, &bars);
        assert_eq!(counts.totals(), (1, 2));
        let expected = json!({"reads": 1, "writes": 2, "reads_of": {"0x0008": 1}, "writes_of": {"0x3818": 2}});
        assert_eq!(counts.to_json(), expected);
    }
}
