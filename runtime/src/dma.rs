//! DMA regions: what `dma_alloc` gives out of the part of the window before the class's buffers.

use nook_abi::{Fault, Hostcall};

/// The most regions at a time: a driver needs a few rings, not thousands.
pub(crate) const MAX_REGIONS: usize = 256;

/// One region.
#[derive(Clone, Copy, Debug)]
struct Region {
    offset: u32,
    len_bytes: u32,
}

/// A slot of the handle table: the generation changes each time it is used again.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    generation: u16,
    region: Option<Region>,
}

/// All regions of one driver instance.
#[derive(Clone, Debug)]
pub(crate) struct DmaRegions {
    len_bytes: u32,
    slots: Vec<Slot>,
}

impl DmaRegions {
    /// Creates a map in which `len_bytes` from the start of the window can be given out.
    pub(crate) fn new(len_bytes: u32) -> Self {
        DmaRegions { len_bytes, slots: Vec::new() }
    }

    /// Returns how much can be given out, in bytes.
    pub(crate) fn len_bytes(&self) -> u32 {
        self.len_bytes
    }

    /// Allocates by first fit. Returns the handle and the offset in the window.
    pub(crate) fn alloc(&mut self, len_bytes: u32, align_bytes: u32) -> Option<(u32, u32)> {
        let mut taken: Vec<Region> = self.slots.iter().filter_map(|slot| slot.region).collect();
        taken.sort_by_key(|region| region.offset);
        let mut offset = 0u32;
        for region in &taken {
            if offset.checked_add(len_bytes)? <= region.offset {
                break;
            }
            offset = (region.offset + region.len_bytes).checked_next_multiple_of(align_bytes)?;
        }
        if offset.checked_add(len_bytes)? > self.len_bytes {
            return None;
        }
        let index = match self.slots.iter().position(|slot| slot.region.is_none()) {
            Some(index) => index,
            None if self.slots.len() < MAX_REGIONS => {
                self.slots.push(Slot::default());
                self.slots.len() - 1
            }
            None => return None,
        };
        let slot = &mut self.slots[index];
        slot.region = Some(Region { offset, len_bytes });
        Some((handle(index, slot.generation), offset))
    }

    /// Says why a region of `len_bytes` was not given out, and what would change that.
    pub(crate) fn why_no_room(&self, len_bytes: u32) -> String {
        if self.count() == MAX_REGIONS {
            return format!(
                "{MAX_REGIONS} regions are given out, which is the most: put several rings into one region"
            );
        }
        let given: u32 = self.slots.iter().filter_map(|slot| slot.region).map(|region| region.len_bytes).sum();
        format!(
            "of {} bytes, {given} are given out, and there is no place for {len_bytes} more: raise `dma_bytes` in the \
             driver's manifest to what all its regions take together, each from a multiple of its alignment on",
            self.len_bytes
        )
    }

    /// Gives a region back.
    pub(crate) fn free(&mut self, handle: u32) -> Result<(), Fault> {
        let slot = self.given(handle)?;
        slot.region = None;
        slot.generation = slot.generation.wrapping_add(1) & GENERATION;
        Ok(())
    }

    /// Checks that a region is given out, to be given back later.
    pub(crate) fn check(&mut self, handle: u32) -> Result<(), Fault> {
        self.given(handle).map(|_| ())
    }

    fn given(&mut self, handle: u32) -> Result<&mut Slot, Fault> {
        let (index, generation) = ((handle & 0xff) as usize, (handle >> 8) as u16 & GENERATION);
        let slot = self.slots.get_mut(index).filter(|slot| slot.generation == generation && handle >> 23 == 0);
        slot.filter(|slot| slot.region.is_some()).ok_or(Fault::StaleHandle { call: Hostcall::DmaFree, handle })
    }

    /// Returns where the last of them ends.
    pub(crate) fn end(&self) -> u32 {
        let regions = self.slots.iter().filter_map(|slot| slot.region);
        regions.map(|region| region.offset + region.len_bytes).max().unwrap_or(0)
    }

    /// Returns how many are given out.
    pub(crate) fn count(&self) -> usize {
        self.slots.iter().filter(|slot| slot.region.is_some()).count()
    }
}

/// Generations have 15 bits, so that a handle in the upper half of a status-or-value is never negative.
const GENERATION: u16 = 0x7fff;

fn handle(index: usize, generation: u16) -> u32 {
    u32::from(generation) << 8 | index as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_do_not_overlap_and_are_aligned() {
        let mut regions = DmaRegions::new(65536);
        let (_, a) = regions.alloc(100, 16).unwrap();
        let (_, b) = regions.alloc(4096, 4096).unwrap();
        let (_, c) = regions.alloc(16, 128).unwrap();
        assert_eq!((a, b % 4096, c % 128), (0, 0, 0));
        assert!(b >= 100 && (c >= b + 4096 || c + 16 <= b));
    }

    #[test]
    fn what_does_not_fit_is_refused_and_what_was_freed_fits_again() {
        let mut regions = DmaRegions::new(8192);
        let (first, _) = regions.alloc(8192, 4096).unwrap();
        assert!(regions.alloc(1, 1).is_none());
        regions.free(first).unwrap();
        assert!(regions.alloc(8192, 1).is_some());
        assert!(regions.alloc(u32::MAX, 4096).is_none());
    }

    #[test]
    fn what_is_refused_says_what_would_change_that() {
        let mut regions = DmaRegions::new(8192);
        regions.alloc(4096, 4096).unwrap();
        assert!(regions.alloc(8192, 4096).is_none());
        let why = regions.why_no_room(8192);
        assert!(why.starts_with("of 8192 bytes, 4096 are given out, and there is no place for 8192 more"), "{why}");
        assert!(why.contains("raise `dma_bytes` in the driver's manifest"), "{why}");
        let mut regions = DmaRegions::new(1 << 20);
        while regions.alloc(16, 16).is_some() {}
        assert!(regions.why_no_room(16).starts_with("256 regions are given out"), "{}", regions.why_no_room(16));
    }

    #[test]
    fn a_handle_is_stale_once_it_was_given_back() {
        let mut regions = DmaRegions::new(8192);
        let (handle, _) = regions.alloc(16, 16).unwrap();
        regions.free(handle).unwrap();
        assert!(regions.free(handle).is_err());
        let (again, _) = regions.alloc(16, 16).unwrap();
        assert_ne!(handle, again);
        assert!(regions.free(handle).is_err() && regions.free(0x7fff_ffff).is_err());
        assert_eq!(regions.count(), 1);
    }
}
