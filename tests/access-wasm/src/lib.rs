//! Accesses to DMA memory that a compiler would like to merge, drop or move, one case after the other, for
//! `tests/tests/accesses.rs`, which looks at what became of them in the compiled module.
//!
//! It is test equipment and drives no device: nothing calls it. Before each case stands a hostcall with its number, by
//! which the test finds it; the cases are listed there too.
#![cfg_attr(target_arch = "wasm32", no_std)] // A native cdylib would have to bring its own panic handler.
#![forbid(unsafe_code)]

use nook_sdk::{
    ByCounter, CompletionRing, DmaBytes, DmaRegion, Irq, Kernel, NetDriver, Nook, Phase, Poll, ProbeReason, Status,
};

/// The driver.
pub struct Access<K: Kernel> {
    nook: Nook<K>,
    memory: DmaRegion<K>,
    completions: CompletionRing<K, 64, 16, Phase<3, 0x1_0000>>,
    used: CompletionRing<K, 64, 8, ByCounter<16>>,
}

impl<K: Kernel> NetDriver<K> for Access<K> {
    fn probe(nook: Nook<K>, _reason: ProbeReason) -> Result<Self, Status> {
        let memory = nook.dma_alloc(4096, 4096)?;
        Ok(Access { nook, memory, completions: CompletionRing::new(nook)?, used: CompletionRing::with_head(nook, 8)? })
    }

    fn remove(self) {}

    fn open(&mut self) -> Result<(), Status> {
        values(self.nook, self.memory.bytes())
    }

    fn stop(&mut self) -> Result<(), Status> {
        content(self.nook, self.memory.bytes())
    }

    fn work(&mut self) {
        let case = |number| self.nook.delay_ns(number);
        // A completion that is waited for: its phase, then another of its words.
        case(301);
        let mut taken = self.completions.take();
        let first = loop {
            if let Some(done) = taken.next() {
                break done.word(0);
            }
        };
        drop(taken);
        // An index that is waited for, then what it announces.
        case(302);
        let index = loop {
            match self.used.head().read::<u16>(6) {
                Ok(0) => {}
                Ok(index) => break index,
                Err(_) => return,
            }
        };
        let second = self.used.take_to(index.into()).ok().and_then(|mut taken| Some(taken.next()?.word(1)));
        case(399);
        self.nook.timer_set(u64::from(first ^ second.unwrap_or(0)));
    }

    // Nothing is received.
    fn discard_rx(&mut self, _queue: u32) {}

    fn poll(&mut self, _queue: u32, _budget: u32) -> Poll {
        Poll::Idle
    }

    fn irq(&mut self, _vector: u32) -> Irq {
        Irq::NotMine
    }
}

#[inline(always)]
fn values<K: Kernel>(nook: Nook<K>, bytes: DmaBytes<'_>) -> Result<(), Status> {
    let case = |number| nook.delay_ns(number);
    // Two reads of one place.
    case(101);
    let first: u32 = bytes.read(64)?;
    let second: u32 = bytes.read(64)?;
    // A read of what was just written.
    case(102);
    bytes.write(64, first ^ second)?;
    let back: u32 = bytes.read(64)?;
    // Two writes to one place, and one of the value that is there.
    case(103);
    bytes.write(64, back)?;
    bytes.write(64, 7u32)?;
    bytes.write(64, 7u32)?;
    // A read whose result nobody wants.
    case(104);
    bytes.read::<u32>(64)?;
    // A loop that waits for a place that was read before it.
    case(105);
    let before: u32 = bytes.read(64)?;
    while bytes.read::<u32>(64)? == before {}
    // Each width.
    case(106);
    let sum = u64::from(bytes.read::<u8>(64)?) + u64::from(bytes.read::<u16>(64)?) + bytes.read::<u64>(64)?;
    bytes.write(72, sum as u8)?;
    bytes.write(72, sum as u16)?;
    bytes.write(72, sum)?;
    case(199);
    Ok(())
}

#[inline(always)]
fn content<K: Kernel>(nook: Nook<K>, bytes: DmaBytes<'_>) -> Result<(), Status> {
    let case = |number| nook.delay_ns(number);
    // Two copies out of one place, of a length that is known.
    case(201);
    let (mut first, mut second) = ([0; 8], [0; 8]);
    bytes.read_bytes(64, &mut first)?;
    bytes.read_bytes(64, &mut second)?;
    // Two copies into one place.
    case(202);
    bytes.write_bytes(64, &first)?;
    bytes.write_bytes(64, &second)?;
    // Filled twice.
    case(203);
    bytes.fill(64, 8, 0)?;
    bytes.fill(64, 8, 0)?;
    // Within the window.
    case(204);
    bytes.copy(128, bytes.part(64, 16)?)?;
    bytes.copy(128, bytes.part(64, 16)?)?;
    // Content, and then the word that hands it over.
    case(205);
    bytes.write_bytes(64, &first)?;
    bytes.write(128, 1u32)?;
    case(299);
    Ok(())
}

nook_sdk::nook_driver! {
    Access,
    class: net,
    name: "access",
    pci: "1234:0002",
    registers: "none",
    dma_bytes: 12288,
    dma_mask_bits: 64,
}
