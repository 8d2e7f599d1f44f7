//! What says that there is something to be popped.

use crate::check::same;
use crate::{RegisterInfo, RegisterMap, Rule};

/// The register that says that another one, from which reading pops, has something: a driver asks it first. With it the
/// values that a call had popped can be given back when that call is rolled back, and those bits are set
/// as long as they are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// That register's name. It is in the same BAR, and no array.
    pub register: &'static str,
    /// Its bits that are set while there is something.
    pub bits: u64,
}

impl Ready {
    /// Returns the rule that the register `info`, from which reading pops, breaks with it.
    pub(crate) const fn broken(&self, info: &RegisterInfo, map: &RegisterMap) -> Option<(Rule, &'static str)> {
        let wrong = Some((Rule::Ready, self.register));
        if !matches!(info.read, crate::ReadEffect::Pops) || info.count != 1 || same(info.name, self.register) {
            return wrong;
        }
        let mut at = 0;
        while at < map.registers.len() {
            let found = &map.registers[at];
            if same(found.name, self.register) {
                let reads = found.access.reads() && !matches!(found.read, crate::ReadEffect::Pops);
                let fits = found.bar == info.bar && found.count == 1 && self.bits != 0 && found.width.holds(self.bits);
                return if reads && fits { None } else { wrong };
            }
            at += 1;
        }
        wrong
    }
}
