//! A value for each naturally aligned 32-bit register of a map's BARs, which is what nearly all registers are: quick to
//! ask on each access.

use nook_regs::{RegisterMap, Width};

/// A PCI function has six base address registers.
const BARS: usize = 6;

/// The table. What is no such register, or lies in no BAR of the map, has no value.
#[derive(Clone, Debug)]
pub struct Words<T> {
    /// By BAR, where its values begin, and how many there are.
    bars: [(u32, u32); BARS],
    values: Vec<T>,
}

impl<T: Copy> Words<T> {
    /// A table for the BARs of `map` in which every value is `value`.
    pub fn of(map: &RegisterMap, value: T) -> Self {
        let (mut bars, mut len) = ([(0, 0); BARS], 0);
        for bar in map.bars {
            let words = bar.len_bytes / 4;
            bars[usize::from(bar.index)] = (len, words);
            len += words;
        }
        Words { bars, values: vec![value; len as usize] }
    }

    #[inline]
    fn place(&self, bar: u32, offset: u32, width: Width) -> Option<usize> {
        let &(first, words) = self.bars.get(bar as usize)?;
        (width == Width::B4 && offset.is_multiple_of(4) && offset / 4 < words).then(|| (first + offset / 4) as usize)
    }

    /// The value of a register.
    #[inline]
    pub fn get(&self, bar: u32, offset: u32, width: Width) -> Option<T> {
        self.values.get(self.place(bar, offset, width)?).copied()
    }

    /// The value of a register, to be changed.
    pub fn get_mut(&mut self, bar: u32, offset: u32, width: Width) -> Option<&mut T> {
        let place = self.place(bar, offset, width)?;
        self.values.get_mut(place)
    }
}

#[cfg(test)]
mod tests {
    use nook_regs::Bar;

    use super::*;

    #[test]
    fn each_bar_has_values_of_its_own() {
        const MAP: RegisterMap =
            RegisterMap::checked("two", &[Bar { index: 1, len_bytes: 8 }, Bar { index: 4, len_bytes: 4 }], &[]);
        let mut words = Words::of(&MAP, 0);
        for (bar, offset) in [(1, 0), (1, 4), (4, 0)] {
            *words.get_mut(bar, offset, Width::B4).unwrap() = 10 * bar + offset;
        }
        assert_eq!([(1, 0), (1, 4), (4, 0)].map(|(bar, at)| words.get(bar, at, Width::B4).unwrap()), [10, 14, 40]);
        for (bar, offset, width) in [
            (0, 0, Width::B4),
            (1, 8, Width::B4),
            (4, 4, Width::B4),
            (1, 2, Width::B4),
            (1, 0, Width::B2),
            (6, 0, Width::B4),
            (u32::MAX, u32::MAX - 3, Width::B4),
        ] {
            assert_eq!(words.get(bar, offset, width), None, "{bar} {offset} {width}");
        }
    }
}
