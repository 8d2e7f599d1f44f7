//! A value for each register of a map, quick to ask on each access.

use nook_regs::{RegisterMap, Width};

/// A PCI function has six base address registers.
const BARS: usize = 6;

/// Where a register is, and how wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RegisterAddr {
    /// Its BAR.
    pub bar: u8,
    /// Bytes from the start of the BAR.
    pub offset: u32,
    /// Its width, which is that of each access.
    pub width: Width,
}

impl RegisterAddr {
    /// Returns the addresses of all registers of a map, each element of an array, in the order of the map.
    pub fn all_of(map: &RegisterMap) -> impl Iterator<Item = (RegisterAddr, &'static nook_regs::RegisterInfo)> + use<> {
        map.registers().iter().flat_map(|info| {
            info.offsets().map(move |offset| (RegisterAddr { bar: info.bar, offset, width: info.width }, info))
        })
    }
}

/// A value for each register of a map, and one that stands for everything that is no register of it.
///
/// What is asked most, 32-bit registers, costs one load; the others, which are few, a search.
#[derive(Clone, Debug)]
pub struct PerRegister<T> {
    nothing: T,
    /// By BAR, where the values for its 32-bit registers begin, and how many there are.
    bars: [(usize, u32); BARS],
    /// A value for each multiple of four bytes up to a BAR's last 32-bit register.
    words: Vec<T>,
    /// Registers of other widths, in order.
    others: Vec<(RegisterAddr, T)>,
}

impl<T: Copy> PerRegister<T> {
    /// Creates a table in which no register has a value yet: each answer is `nothing`.
    pub fn of(map: &RegisterMap, nothing: T) -> Self {
        let (mut bars, mut len, mut others) = ([(0, 0); BARS], 0, Vec::new());
        for bar in map.bars() {
            let words = map.registers().iter().filter(|info| info.bar == bar.index && info.width == Width::B4);
            // A map's registers end at most 16 MiB after the start of their BAR.
            let count = words.map(|info| info.end().div_ceil(4) as u32).max().unwrap_or(0);
            bars[usize::from(bar.index)] = (len, count);
            len += count as usize;
        }
        others.extend(RegisterAddr::all_of(map).filter(|(at, _)| at.width != Width::B4).map(|(at, _)| (at, nothing)));
        others.sort_unstable_by_key(|&(at, _)| at);
        PerRegister { nothing, bars, words: vec![nothing; len], others }
    }

    #[inline]
    fn word(&self, bar: u32, offset: u32) -> Option<usize> {
        let &(first, count) = self.bars.get(bar as usize)?;
        (offset.is_multiple_of(4) && offset / 4 < count).then(|| first + offset as usize / 4)
    }

    fn other(&self, bar: u32, offset: u32, width: Width) -> Option<usize> {
        let at = RegisterAddr { bar: u8::try_from(bar).ok()?, offset, width };
        self.others.binary_search_by_key(&at, |&(at, _)| at).ok()
    }

    /// Returns the value of what is accessed, which is a register of the map only if place and width are the
    /// register's.
    #[inline]
    pub fn get(&self, bar: u32, offset: u32, width: Width) -> T {
        let value = match width {
            Width::B4 => self.word(bar, offset).and_then(|at| self.words.get(at)),
            _ => self.other(bar, offset, width).and_then(|at| self.others.get(at)).map(|(_, value)| value),
        };
        value.copied().unwrap_or(self.nothing)
    }

    /// Gives a register of the map a value; anything else has none to be given.
    pub fn set(&mut self, at: RegisterAddr, value: T) {
        let bar = at.bar.into();
        let place = match at.width {
            Width::B4 => self.word(bar, at.offset).and_then(|at| self.words.get_mut(at)),
            width => self.other(bar, at.offset, width).and_then(|at| self.others.get_mut(at)).map(|(_, value)| value),
        };
        if let Some(place) = place {
            *place = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use nook_regs::{Access, Bar, RegisterInfo};

    use super::*;

    const fn register(name: &'static str, bar: u8, offset: u32, width: Width, count: u32) -> RegisterInfo {
        RegisterInfo::declared(name, offset, width, count, 8, Access::Rw, "").in_bar(bar)
    }

    static MAP: RegisterMap = RegisterMap::checked(
        "two",
        &[Bar::memory(1, 0x40), Bar::memory(4, 0x20)],
        &[
            register("WORDS", 1, 0, Width::B4, 3),
            register("BYTES", 1, 5, Width::B1, 2),
            register("HALF", 1, 6, Width::B2, 1),
            register("LONG", 1, 0x38, Width::B8, 1),
            register("FAR", 4, 0x1c, Width::B4, 1),
            register("BYTE", 4, 0, Width::B1, 1),
        ],
    );

    #[test]
    fn each_register_of_each_width_has_its_own_value() {
        let mut values = PerRegister::of(&MAP, 0);
        let places: Vec<RegisterAddr> = RegisterAddr::all_of(&MAP).map(|(at, _)| at).collect();
        assert_eq!(places.len(), 9);
        for (value, &at) in (1..).zip(&places) {
            values.set(at, value);
        }
        for (value, at) in (1..).zip(places) {
            assert_eq!(values.get(at.bar.into(), at.offset, at.width), value, "{at:?}");
        }
    }

    #[test]
    fn what_is_no_register_has_nothing() {
        let mut values = PerRegister::of(&MAP, 7);
        for (bar, offset, width) in [
            (0, 0, Width::B4),
            (1, 0x14, Width::B4),
            (1, 2, Width::B4),
            (1, 0, Width::B2),
            (1, 5, Width::B2),
            (1, 6, Width::B1),
            (1, 0x38, Width::B4),
            (4, 0x20, Width::B4),
            (4, 0, Width::B4),
            (6, 0, Width::B4),
            (255, u32::MAX, Width::B1),
        ] {
            values.set(RegisterAddr { bar, offset, width }, 8);
            // In the reach of the 32-bit registers there is a value for each word, whether it is one or not.
            let word = width == Width::B4 && bar == 4 && offset == 0;
            assert_eq!(values.get(bar.into(), offset, width) == 8, word, "{bar} {offset} {width}");
        }
        assert_eq!(values.get(u32::MAX, u32::MAX - 3, Width::B4), 7);
        assert_eq!(values.get(257, 5, Width::B1), 7, "a BAR's number is not cut off");
    }
}
