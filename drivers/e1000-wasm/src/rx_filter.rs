//! Which frames are received: address registers, multicast table, and the bits of RCTL (sections 13.5 and 13.4.22).

use e1000_regs::{MTA, RAH, RAL, RCTL, multicast_hash, rctl_buffer_size};
use nook_sdk::{Kernel, MacAddress, Regs, RxMode, Status};

use crate::verbs::LONGEST_BYTES;

/// Address registers, and words of the multicast table.
const EXACT: usize = RAL.count() as usize;
const WORDS: usize = MTA.count() as usize;

/// RCTL.MO: the multicast table is indexed by bits 47 to 36 of the address.
const HASH: u32 = 0;

/// The size of a receive buffer as the chip has it. It has no size between this and 1024.
const BUFFER_BYTES: u32 = 2048;

/// What RCTL always has: the receiver is on, takes broadcasts, and strips the frame check sequence. Long frames,
/// damaged ones, and PAUSE frames that it obeys are dropped by the chip.
const ALWAYS: u32 = {
    assert!(LONGEST_BYTES <= BUFFER_BYTES, "a frame would take two buffers");
    let size = rctl_buffer_size(BUFFER_BYTES).expect("the chip has receive buffers of this size");
    RCTL::EN | RCTL::BAM | RCTL::DPF | RCTL::SECRC | RCTL::MO.put(HASH) | size
};

/// What is received, in the form in which the chip wants it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct RxFilter {
    /// Compared as a whole. The first is the interface's own, the others are groups.
    exact: [Option<MacAddress>; EXACT],
    /// Groups that had no room in `exact`, by their hash.
    table: [u32; WORDS],
    promiscuous: bool,
    all_multicast: bool,
}

impl RxFilter {
    /// Creates a filter that passes frames to `mac` and broadcasts.
    pub(crate) fn new(mac: MacAddress) -> Self {
        let mut exact = [None; EXACT];
        exact[0] = Some(mac);
        RxFilter { exact, table: [0; WORDS], promiscuous: false, all_multicast: false }
    }

    /// Changes the address.
    pub(crate) fn with_mac(mut self, mac: MacAddress) -> Self {
        self.exact[0] = Some(mac);
        self
    }

    /// Changes the mode and keeps the address. `Invalid` if the list has what is not a group.
    pub(crate) fn with_mode(&self, mode: RxMode<'_>) -> Result<Self, Status> {
        let RxMode { promiscuous, all_multicast, multicast } = mode;
        let mut filter = RxFilter { exact: [None; EXACT], table: [0; WORDS], promiscuous, all_multicast };
        filter.exact[0] = self.exact[0];
        if multicast.iter().any(|group| group[0] & 1 == 0) {
            return Err(Status::Invalid);
        }
        let mut groups = multicast.iter();
        for (place, &group) in filter.exact[1..].iter_mut().zip(&mut groups) {
            *place = Some(group);
        }
        for &group in groups {
            let (word, bit) = multicast_hash(group, HASH);
            filter.table[word as usize % WORDS] |= bit;
        }
        Ok(filter)
    }

    /// Returns the value of RCTL.
    pub(crate) fn rctl(&self) -> u32 {
        let unicast = if self.promiscuous { RCTL::UPE } else { 0 };
        let multicast = if self.promiscuous || self.all_multicast { RCTL::MPE } else { 0 };
        ALWAYS | unicast | multicast
    }

    /// Writes what differs from `known`, which the chip has already; everything if that is not known. RCTL is not
    /// among it.
    pub(crate) fn write<K: Kernel>(&self, regs: &Regs<K>, known: Option<&RxFilter>) {
        for (at, &word) in self.table.iter().enumerate() {
            if known.is_none_or(|known| known.table[at] != word) {
                regs.write(MTA.get(at as u32), word);
            }
        }
        for (at, &address) in self.exact.iter().enumerate() {
            if known.is_none_or(|known| known.exact[at] != address) {
                write_exact(regs, at as u32, address);
            }
        }
    }
}

/// Writes one address register: cleared from the high half, written from the low one (section 13.5.3), so that it is
/// not valid (RAH.AV) while it is half written.
fn write_exact<K: Kernel>(regs: &Regs<K>, at: u32, address: Option<MacAddress>) {
    regs.write(RAH.get(at), 0);
    if let Some([a, b, c, d, e, f]) = address {
        regs.write(RAL.get(at), u32::from_le_bytes([a, b, c, d]));
        regs.write(RAH.get(at), RAH::AV | RAH::ADDR.put(u32::from(u16::from_le_bytes([e, f]))));
    }
}

/// Writes RCTL, unless it has the value already. A device may take its time to receive again after a write: QEMU's
/// model takes 1 s.
pub(crate) fn write_rctl<K: Kernel>(regs: &Regs<K>, value: u32) {
    if regs.read(RCTL) != value {
        regs.write(RCTL, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddress = [2, 0, 0, 0, 0, 1];

    fn group(n: u8) -> MacAddress {
        [0x01, 0x00, 0x5e, 0, 0, n]
    }

    fn listening(multicast: &[MacAddress]) -> Result<RxFilter, Status> {
        RxFilter::new(MAC).with_mode(RxMode { promiscuous: false, all_multicast: false, multicast })
    }

    #[test]
    fn the_first_groups_are_compared_as_a_whole_and_the_others_by_hash() {
        let groups: [MacAddress; 18] = std::array::from_fn(|n| group(n as u8));
        let filter = listening(&groups).unwrap();
        assert_eq!(filter.exact[0], Some(MAC));
        assert!((1..16).all(|at| filter.exact[at] == Some(group(at as u8 - 1))));
        let bits: u32 = filter.table.iter().map(|word| word.count_ones()).sum();
        assert_eq!(bits, 3);
        let (word, bit) = multicast_hash(group(17), HASH);
        assert_ne!(filter.table[word as usize] & bit, 0);
    }

    #[test]
    fn a_station_in_the_list_of_groups_is_refused() {
        assert!(matches!(listening(&[group(1), MAC]), Err(Status::Invalid)));
    }

    #[test]
    fn another_address_keeps_the_groups() {
        let filter = listening(&[group(1)]).unwrap().with_mac([2, 0, 0, 0, 0, 9]);
        assert_eq!(filter.exact[..2], [Some([2, 0, 0, 0, 0, 9]), Some(group(1))]);
    }

    #[test]
    fn promiscuous_takes_groups_too() {
        let mode = |promiscuous, all_multicast| RxMode { promiscuous, all_multicast, multicast: &[] };
        let rctl = |mode| RxFilter::new(MAC).with_mode(mode).unwrap().rctl() & (RCTL::UPE | RCTL::MPE);
        assert_eq!(rctl(mode(true, false)), RCTL::UPE | RCTL::MPE);
        assert_eq!(rctl(mode(false, true)), RCTL::MPE);
        assert_eq!(rctl(mode(false, false)), 0);
    }
}
