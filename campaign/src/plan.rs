//! Which fault a trial has: it follows from the campaign's seed and the trial's number.

use nook_seed::{Rng, word_at};
use serde::{Deserialize, Serialize};

use crate::{DeviceClass, Extent, Failure, KernelClass};

/// Where a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// In the driver's code.
    Code,
    /// In its memory.
    Memory,
    /// In the device.
    Device,
    /// In what the operating system does for it.
    Kernel,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Code, Kind::Memory, Kind::Device, Kind::Kernel];
}

/// Of 20 trials in a row, how many are of which kind.
const SHARES: [(Kind, usize); 4] = [(Kind::Code, 14), (Kind::Memory, 2), (Kind::Device, 3), (Kind::Kernel, 1)];

/// Trials in a row whose mistakes share one module.
pub const BATCH: u64 = 128;

/// Everything that a campaign's trials follow from, together with the driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Campaign {
    /// Its seed.
    pub seed: u64,
    /// Kinds of faults, each once.
    pub kinds: Vec<Kind>,
}

/// When a fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With the driver.
    Start,
    /// So long after traffic began.
    Traffic(u64),
}

/// One trial's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Its number.
    pub number: u64,
    /// Everything about it is drawn from this.
    pub seed: u64,
    /// Where it is.
    pub kind: Kind,
    /// When it begins.
    pub begin: Begin,
    /// Which mistake of its batch's module, or 0.
    pub slot: u32,
    /// What fails, if it is not the driver, and for how long.
    pub failure: Option<(Failure, Extent)>,
}

impl Campaign {
    /// Returns the kind of a trial.
    fn kind(&self, number: u64) -> Kind {
        let shares: Vec<_> = SHARES
            .iter()
            .filter(|(kind, _)| self.kinds.contains(kind))
            .flat_map(|&(kind, count)| std::iter::repeat_n(kind, count))
            .collect();
        // Neighbouring numbers are of different kinds: 7 has no common divisor with 20.
        shares.get((number * 7 % shares.len().max(1) as u64) as usize).copied().unwrap_or(Kind::Code)
    }

    /// Returns the numbers of a batch's trials that have a mistake in their module; the first is selected by 1.
    pub fn mistakes(&self, batch: u64) -> impl Iterator<Item = u64> {
        (batch * BATCH..(batch + 1) * BATCH).filter(|&number| self.kind(number) == Kind::Code)
    }

    /// Returns what the mistakes of a batch's module are drawn from.
    pub fn mistake_seeds(&self, batch: u64) -> Vec<u64> {
        self.mistakes(batch).map(|number| word_at(self.seed, number)).collect()
    }

    /// Returns a trial.
    pub fn trial(&self, number: u64) -> Trial {
        let (kind, seed) = (self.kind(number), word_at(self.seed, number));
        let mut rng = Rng::new(seed ^ 0x7431_616c);
        let mid = Begin::Traffic(rng.below(10_000_000));
        let begin = if rng.one_in(4) { Begin::Start } else { mid };
        let slot = match kind {
            Kind::Code => 1 + self.mistakes(number / BATCH).take_while(|other| *other < number).count() as u32,
            _ => 0,
        };
        let extent = Extent::drawn(&mut rng);
        let (failure, begin) = match kind {
            Kind::Code => (None, begin),
            Kind::Memory => (None, mid),
            Kind::Device => {
                let class = DeviceClass::ALL[rng.index(DeviceClass::ALL.len())];
                let extent = match class {
                    DeviceClass::Removed => Extent { times: u64::MAX, for_ns: u64::MAX },
                    DeviceClass::RemovedAndBack | DeviceClass::Slow => {
                        Extent { times: u64::MAX, for_ns: 1_000_000 << rng.below(11) }
                    }
                    _ => extent,
                };
                (Some((Failure::Device(class), extent)), begin)
            }
            Kind::Kernel => {
                let class = KernelClass::ALL[rng.index(KernelClass::ALL.len())];
                // What never has room is a peer that does not read, which is nobody's fault.
                let passes = Extent { times: u64::MAX, for_ns: 20_000_000 };
                let extent = if class == KernelClass::NoRoom { passes } else { extent };
                (Some((Failure::Kernel(class), extent)), if class.at_start() { Begin::Start } else { mid })
            }
        };
        Trial { number, seed, kind, begin, slot, failure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trial_with_a_mistake_has_its_own_place_in_its_batch() {
        let campaign = Campaign { seed: 5, kinds: Kind::ALL.to_vec() };
        for batch in [0, 1, 7] {
            let slots: Vec<_> = campaign.mistakes(batch).map(|number| campaign.trial(number).slot).collect();
            let all: Vec<_> = (1..=slots.len() as u32).collect();
            assert_eq!(slots, all);
            assert_eq!(campaign.mistake_seeds(batch).len(), slots.len());
        }
    }

    #[test]
    fn kinds_come_in_their_shares() {
        let campaign = Campaign { seed: 1, kinds: Kind::ALL.to_vec() };
        for (kind, count) in SHARES {
            assert_eq!((0..20).filter(|&number| campaign.trial(number).kind == kind).count(), count);
        }
        let one = Campaign { seed: 1, kinds: vec![Kind::Device] };
        assert!((0..20).all(|number| one.trial(number).kind == Kind::Device));
    }
}
