//! Which frames the MAC takes (sections 3.2.1, 13.4.22 and 13.5).

use e1000_regs::{MTA, RAH, RAL, RCTL, multicast_hash, rx};

pub(crate) const BROADCAST: [u8; 6] = [0xff; 6];

/// Receive addresses and the multicast table.
#[derive(Debug)]
pub(crate) struct RxFilter {
    addresses: [(u32, u32); RAL.count() as usize],
    multicast: [u32; MTA.count() as usize],
}

impl RxFilter {
    /// Creates a filter that holds what `word` gives for each register; no entry is valid.
    pub(crate) fn new(mut word: impl FnMut() -> u32) -> Self {
        let addresses = std::array::from_fn(|_| (word(), word() & !RAH::AV));
        RxFilter { addresses, multicast: std::array::from_fn(|_| word()) }
    }

    /// Resets the filter: only entry 0 is valid, with the address from the EEPROM (section 13.5.3).
    pub(crate) fn reset(&mut self, address: [u8; 6]) {
        self.addresses.iter_mut().for_each(|(_, high)| *high &= !RAH::AV);
        let [a, b, c, d, e, f] = address;
        self.addresses[0] = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, 0, 0]) | RAH::AV);
    }

    /// Returns the station's address, which is entry 0.
    pub(crate) fn station(&self) -> [u8; 6] {
        let (low, high) = self.addresses[0];
        let ([a, b, c, d], [e, f, ..]) = (low.to_le_bytes(), high.to_le_bytes());
        [a, b, c, d, e, f]
    }

    /// Returns the register at `offset`, if it is one of these.
    pub(crate) fn register(&mut self, offset: u32) -> Option<&mut u32> {
        let place = |first: u32, stride: u32| {
            let from = offset.checked_sub(first)?;
            from.is_multiple_of(stride).then_some((from / stride) as usize)
        };
        if let Some(at) = place(MTA.offset(), MTA.stride()).filter(|&at| at < self.multicast.len()) {
            return Some(&mut self.multicast[at]);
        }
        if let Some(at) = place(RAL.offset(), RAL.stride()).filter(|&at| at < self.addresses.len()) {
            return Some(&mut self.addresses[at].0);
        }
        if let Some(at) = place(RAH.offset(), RAH.stride()).filter(|&at| at < self.addresses.len()) {
            return Some(&mut self.addresses[at].1);
        }
        None
    }

    /// Returns whether a frame for `destination` passes, and the status bits that it gets for how.
    #[inline]
    pub(crate) fn passes(&self, destination: [u8; 6], rctl: u32) -> Option<u32> {
        let [a, b, c, d, e, f] = destination;
        let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, 0, 0]));
        // Valid, with ASEL 0 (the destination address), and equal.
        let compared = RAH::AV | RAH::ASEL.mask() | RAH::ADDR.mask();
        let exact = || self.addresses.iter().any(|&(l, h)| l == low && h & compared == high | RAH::AV);
        let multicast = a & 1 != 0;
        let promiscuous = match (destination == BROADCAST, multicast) {
            (true, _) => RCTL::BAM,
            (_, true) => RCTL::MPE,
            (_, false) => RCTL::UPE,
        };
        if rctl & promiscuous != 0 || exact() {
            return Some(0);
        }
        let (register, bit) = multicast_hash(destination, RCTL::MO.get(rctl));
        (multicast && self.multicast[register as usize] & bit != 0).then_some(rx::status::PIF)
    }
}
