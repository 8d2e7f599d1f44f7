//! A driver's private memory and globals, as they were at some moment.

use std::collections::BTreeMap;

use wasmtime::Val;

use crate::call_trace::{PAGE_BYTES, Page, pages};
use crate::{Bytes, Layout, Space};

/// What a driver had to itself at some moment: everything below its DMA window. The window belongs to
/// others too.
#[derive(Clone, Debug)]
pub struct Image {
    /// Pages that were not all zero, by address.
    pages: Vec<Page>,
    /// The module's mutable globals.
    pub(crate) globals: Vec<Val>,
    /// Which of a recorded run's it is.
    pub(crate) number: u64,
}

impl Image {
    /// Captures a wasm driver.
    pub(crate) fn of(space: &Space, layout: &Layout, globals: Vec<Val>, number: u64) -> Image {
        Image { pages: pages(space, [(0, layout.window)]), globals, number }
    }

    /// Creates the image of a state in which only these bytes below the DMA window are not zero.
    pub(crate) fn from_bytes(memory: &[Bytes<'_>], layout: &Layout, globals: Vec<Val>) -> Image {
        let mut pages: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for (begin, bytes) in memory {
            for (addr, byte) in (*begin..layout.window).zip(&**bytes) {
                let page = pages.entry(addr - addr % PAGE_BYTES).or_insert_with(|| vec![0; PAGE_BYTES as usize]);
                page[(addr % PAGE_BYTES) as usize] = *byte;
            }
        }
        let pages = pages.into_iter().map(|(addr, bytes)| Page { addr, bytes }).collect();
        Image { pages, globals, number: 0 }
    }

    /// Restores memory.
    pub(crate) fn put_back(&self, space: &Space, layout: &Layout) {
        const PAGE: usize = PAGE_BYTES as usize;
        let (mut bytes, mut kept) = (vec![0; PAGE], self.pages.iter().peekable());
        for addr in (0..layout.window).step_by(PAGE) {
            let Some(slice) = space.slice(addr, PAGE_BYTES) else { continue };
            match kept.next_if(|page| page.addr == addr) {
                Some(page) => slice.copy_from(&page.bytes),
                None => {
                    slice.copy_to(&mut bytes);
                    if bytes != [0; PAGE] {
                        slice.copy_from(&[0; PAGE]);
                    }
                }
            }
        }
    }

    /// Returns how much of memory is not zero, in bytes.
    pub fn len_bytes(&self) -> usize {
        self.pages.len() * PAGE_BYTES as usize
    }
}

#[cfg(test)]
#[expect(unsafe_code, reason = "a space of memory that the test has")]
mod tests {
    use nook_seed::Rng;

    use super::*;
    use crate::RegionAddrs;

    const PAGE: usize = PAGE_BYTES as usize;
    const PRIVATE: usize = 12 * PAGE;
    const WINDOW: usize = 2 * PAGE;

    fn layout() -> Layout {
        Layout {
            own_bytes: 0,
            heap_bytes: 0,
            host_page: 0,
            rings: [0; 4],
            rings_end: 0,
            window: PRIVATE as u64,
            window_bytes: WINDOW as u64,
            dma_bytes: 0,
        }
    }

    /// Writes here and there, whole pages of zeros among it.
    fn scribble(memory: &mut [u8], rng: &mut Rng) {
        for _ in 0..rng.index(40) {
            let (from, value) = (rng.index(memory.len()), rng.index(3) as u8);
            let len = [1, 8, 100, 2 * PAGE][rng.index(4)].min(memory.len() - from);
            memory[from..from + len].fill(value);
        }
        let page = rng.index(memory.len() / PAGE) * PAGE;
        memory[page..page + PAGE].fill(0);
    }

    #[test]
    fn an_image_is_made_of_bytes_wherever_they_begin() {
        let page = PAGE_BYTES;
        let memory: [Bytes<'_>; 3] =
            [(page - 1, vec![7; 3].into()), (5 * page + 8, vec![9].into()), (PRIVATE as u64 - 1, vec![3; 9].into())];
        let mut words = vec![u64::MAX; (PRIVATE + WINDOW) / 8];
        let places = RegionAddrs { heap: 0, host_page: 0, rings: [0; 4], window: PRIVATE as u64 };
        // SAFETY: it is mapped, and from here on nothing uses it but the space, and of that only slices.
        let space = unsafe { Space::new(words.as_mut_ptr().cast(), (PRIVATE + WINDOW) as u64, places) };
        Image::from_bytes(&memory, &layout(), Vec::new()).put_back(&space, &layout());
        let mut found = vec![0u8; PRIVATE + WINDOW];
        space.slice(0, (PRIVATE + WINDOW) as u64).unwrap().copy_to(&mut found);
        let mut expected = vec![0u8; PRIVATE];
        expected[PAGE - 1..PAGE + 2].fill(7);
        expected[5 * PAGE + 8] = 9;
        expected[PRIVATE - 1] = 3;
        assert!(found[..PRIVATE] == expected && found[PRIVATE..] == [0xff; WINDOW]);
    }

    #[test]
    fn private_memory_becomes_byte_for_byte_what_it_was_and_the_window_stays() {
        let mut rng = Rng::new(1);
        let mut words = vec![0u64; (PRIVATE + WINDOW) / 8];
        let places = RegionAddrs { heap: 0, host_page: 0, rings: [0; 4], window: PRIVATE as u64 };
        // SAFETY: it is mapped, and from here on nothing uses it but the space, and of that only slices.
        let space = unsafe { Space::new(words.as_mut_ptr().cast(), (PRIVATE + WINDOW) as u64, places) };
        let slice = space.slice(0, (PRIVATE + WINDOW) as u64).unwrap();
        let mut memory = vec![0u8; PRIVATE + WINDOW];
        for round in 0..300 {
            scribble(&mut memory, &mut rng);
            slice.copy_from(&memory);
            let image = Image::of(&space, &layout(), Vec::new(), 0);
            let before = memory.clone();
            scribble(&mut memory, &mut rng);
            slice.copy_from(&memory);
            image.put_back(&space, &layout());
            let window = memory[PRIVATE..].to_vec();
            slice.copy_to(&mut memory);
            assert!(memory[..PRIVATE] == before[..PRIVATE], "round {round}");
            assert!(memory[PRIVATE..] == window, "round {round}: the window is not the driver's alone");
        }
    }
}
