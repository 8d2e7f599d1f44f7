//! Which frames are received: addresses, multicast table, modes.

use e1000_regs::{MTA, RAH, RAL, RCTL, VFTA, multicast_hash};
use nook_sdk::{Kernel, MacAddress, Regs, RxMode};

/// Exact filters; the first is the interface's own address (section 13.5.2).
const EXACT: usize = 16;
/// Which bits of an address the multicast table is indexed by: 47 to 36.
const HASH_BITS: u32 = 0;

/// What is to be received, as registers hold it.
pub(crate) struct Filter {
    addresses: [Option<MacAddress>; EXACT],
    table: [u32; MTA.count() as usize],
    promiscuous: bool,
    all_multicast: bool,
}

impl Filter {
    /// Only `mac` and broadcast.
    pub(crate) fn new(mac: MacAddress) -> Self {
        let mut addresses = [None; EXACT];
        addresses[0] = Some(mac);
        Filter { addresses, table: [0; MTA.count() as usize], promiscuous: false, all_multicast: false }
    }

    pub(crate) fn set_mac(&mut self, mac: MacAddress) {
        self.addresses[0] = Some(mac);
    }

    /// Multicast addresses go into exact filters while there are some, the others into the table, which lets others
    /// with the same hash pass too.
    pub(crate) fn set_mode(&mut self, mode: RxMode<'_>) {
        self.promiscuous = mode.promiscuous;
        self.all_multicast = mode.all_multicast;
        self.table = [0; MTA.count() as usize];
        let mut wanted = mode.multicast.iter();
        for slot in &mut self.addresses[1..] {
            *slot = wanted.next().copied();
        }
        for &address in wanted {
            let (register, bit) = multicast_hash(address, HASH_BITS);
            self.table[register as usize % self.table.len()] |= bit;
        }
    }

    /// The bits of RCTL that belong to the filter.
    pub(crate) fn control(&self) -> u32 {
        let promiscuous = if self.promiscuous { RCTL::UPE | RCTL::MPE } else { 0 };
        let all_multicast = if self.all_multicast { RCTL::MPE } else { 0 };
        RCTL::BAM | RCTL::MO.put(HASH_BITS) | promiscuous | all_multicast
    }

    pub(crate) fn write_addresses<K: Kernel>(&self, regs: &Regs<K>) {
        for (index, address) in (0..).zip(&self.addresses) {
            let [a, b, c, d, e, f] = address.unwrap_or_default();
            let valid = if address.is_some() { RAH::AV } else { 0 };
            // Not valid while its two halves do not belong together.
            regs.write(RAH.get(index), 0);
            regs.write(RAL.get(index), u32::from_le_bytes([a, b, c, d]));
            regs.write(RAH.get(index), u32::from_le_bytes([e, f, 0, 0]) | valid);
        }
    }

    /// Addresses and multicast table.
    pub(crate) fn write<K: Kernel>(&self, regs: &Regs<K>) {
        self.write_addresses(regs);
        for (index, &bits) in (0..).zip(&self.table) {
            regs.write(MTA.get(index), bits);
        }
    }

    /// Everything, after a reset: the tables hold anything then (sections 13.5.1 and 13.5.4).
    pub(crate) fn write_all<K: Kernel>(&self, regs: &Regs<K>) {
        self.write(regs);
        for index in 0..VFTA.count() {
            regs.write(VFTA.get(index), 0);
        }
    }
}
