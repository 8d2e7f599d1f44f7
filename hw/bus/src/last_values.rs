//! What passed last between a driver and each register, to be looked at after a fault.

use nook_regs::RegisterMap;

use crate::{PerRegister, RegisterAddr, Width};

/// The index of no cell. There are fewer cells than registers in a map, which are at most half of this.
const NO_CELL: u16 = u16::MAX;

/// What passed last between a driver and one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastValue {
    /// The register.
    pub place: RegisterAddr,
    /// What was read or written.
    pub value: u64,
    /// It was written.
    pub written: bool,
}

/// A value for each register that was accessed.
///
/// They are what crossed the bus anyway. To read a device when its driver has faulted would say more, but costs time
/// in which nothing is served, may hang where it is the device that fails, and trusts the map's word that reading has
/// no effect at the one moment at which something is known to be wrong.
pub(crate) struct LastValues {
    /// For each register the index of its cell.
    indices: PerRegister<u16>,
    cells: Vec<Option<LastValue>>,
}

impl LastValues {
    pub(crate) fn of(map: &RegisterMap) -> Self {
        let mut indices = PerRegister::of(map, NO_CELL);
        let mut count = 0;
        for (place, _) in RegisterAddr::all_of(map) {
            indices.set(place, count);
            count += 1;
        }
        LastValues { indices, cells: vec![None; count.into()] }
    }

    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        self.cells.fill(None);
    }

    /// Notes an access.
    #[inline]
    pub(crate) fn note(&mut self, bar: u8, offset: u32, width: Width, value: u64, written: bool) {
        let at = self.indices.get(bar.into(), offset, width);
        if let Some(cell) = self.cells.get_mut(usize::from(at)) {
            *cell = Some(LastValue { place: RegisterAddr { bar, offset, width }, value, written });
        }
    }

    /// Returns those that there are, in the order of the map.
    pub(crate) fn all(&self) -> Vec<LastValue> {
        self.cells.iter().copied().flatten().collect()
    }
}
