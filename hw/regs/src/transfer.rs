//! Transfers: DMA whose addresses and length stand in several registers, and which one register starts. Which of the
//! addresses lies in memory may depend on the value that starts it, so no register can be judged by itself.

use crate::check::{Rule, same};
use crate::{Bits, Guard, ReadEffect, RegisterInfo, RegisterMap, Restore, Width, WriteEffect};

/// What a register starts. The host remembers what the registers that it names were last written with, and looks at all
/// of them when it is started. Until a driver has read the register without a bit of [`start`](Transfer::start), a
/// transfer may be under way: neither this register nor those that it names may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Writing any of these bits starts it. They read as ones until it is over.
    pub start: u64,
    /// The register that holds its length in bytes.
    pub length: &'static str,
    /// How many bits of an address in memory the device has: it cuts off others.
    pub address_bits: u32,
    /// What may be started: the first that matches the value counts, and a value that none matches is refused.
    pub directions: &'static [Direction],
}

/// One direction of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// What the value must be that starts it.
    pub now: Bits,
    /// From where, to where.
    pub places: &'static [Place],
}

/// One end of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The register that holds where it begins, as a whole: 32 or 64 bits.
    pub register: &'static str,
    /// Where all of it must lie.
    pub region: Region,
}

/// Where an end of a transfer may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// In memory: the driver's DMA window.
    Window,
    /// In the device's own memory. The host looks because of what the device may make of an address outside.
    Device {
        /// First address.
        first: u64,
        /// Last address.
        last: u64,
    },
}

impl Place {
    /// Creates an end in memory.
    pub const fn window(register: &'static str) -> Self {
        Place { register, region: Region::Window }
    }

    /// Creates an end in the device's own memory, from `first` to `last`.
    pub const fn device(register: &'static str, first: u64, last: u64) -> Self {
        Place { register, region: Region::Device { first, last } }
    }
}

impl Transfer {
    /// Returns the direction that `value` starts; `None` if it starts one that there is not.
    pub fn direction(&self, value: u64) -> Option<&'static Direction> {
        self.directions.iter().find(|direction| direction.now.hold(value))
    }

    /// Returns the registers that it names, some perhaps more than once.
    pub fn registers(&self) -> impl Iterator<Item = &'static str> + use<> {
        let places = self.directions.iter().flat_map(|direction| direction.places);
        places.map(|place| place.register).chain([self.length])
    }

    /// Returns the rule that the transfer of `info` breaks, and by which register.
    pub(crate) const fn broken(&self, info: &RegisterInfo, map: &RegisterMap) -> Option<(Rule, &'static str)> {
        let all = info.width.all_ones();
        let is_plain = matches!(info.write, WriteEffect::Plain) && matches!(info.restore, Restore::Nothing);
        let reads_quietly = info.access.reads() && matches!(info.read, ReadEffect::None) && !info.posts_only;
        if !is_plain || !reads_quietly || info.guard.is_some() || info.count != 1 {
            return Some((Rule::TransferStart, ""));
        }
        let bits = self.address_bits;
        if self.start == 0 || self.start & !all != 0 || bits == 0 || bits > 64 || self.directions.is_empty() {
            return Some((Rule::TransferBits, ""));
        }
        if !map.may_be_named(self.length, false) {
            return Some((Rule::TransferRegister, self.length));
        }
        let mut at = 0;
        while at < self.directions.len() {
            let Direction { now, places } = &self.directions[at];
            if !now.can_hold(all) || places.is_empty() {
                return Some((Rule::TransferBits, ""));
            }
            let mut place = 0;
            while place < places.len() {
                let Place { register, region } = places[place];
                if !map.may_be_named(register, true) {
                    return Some((Rule::TransferRegister, register));
                }
                if let Region::Device { first, last } = region
                    && first > last
                {
                    return Some((Rule::TransferBits, register));
                }
                place += 1;
            }
            at += 1;
        }
        None
    }
}

impl RegisterMap {
    /// Returns whether a transfer may name this register: it is one, holds what is written and does nothing besides.
    const fn may_be_named(&self, name: &str, as_address: bool) -> bool {
        let mut at = 0;
        while at < self.registers.len() {
            let RegisterInfo { name: found, width, count, access, write, restore, guard, transfer, .. } =
                &self.registers[at];
            if same(name, found) {
                let guard: &Option<Guard> = guard;
                let is_plain = matches!(write, WriteEffect::Plain) && matches!(restore, Restore::Nothing);
                let fits = !as_address || matches!(width, Width::B4 | Width::B8);
                return access.writes() && is_plain && fits && *count == 1 && guard.is_none() && transfer.is_none();
            }
            at += 1;
        }
        false
    }
}
