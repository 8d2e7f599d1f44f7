//! What is written into a block: content that says which block it is, and which change wrote it.

use super::BLOCK_BYTES;

/// What each block begins with.
const MAGIC: u64 = u64::from_le_bytes(*b"durable?");

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// What a change wrote into a block, all of it.
    Written {
        /// The change's number.
        number: u64,
        /// The block that was meant.
        block: u64,
    },
    /// Zeros.
    Zeros,
    /// None of that, or parts of it.
    Other,
}

fn word(seed: u64, block: u64, number: u64, at: usize) -> u64 {
    match at {
        0 => MAGIC ^ seed,
        1 => block,
        2 => number,
        _ => {
            // Weyl's sequence and one round of multiplication: bytes that were moved are found, and that is all.
            let mixed = seed ^ block.rotate_left(40) ^ number.rotate_left(20) ^ at as u64;
            let z = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z ^ z >> 29
        }
    }
}

/// Fills a block.
pub(super) fn fill(bytes: &mut [u8], seed: u64, block: u64, number: u64) {
    for (at, place) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *place = word(seed, block, number, at).to_le_bytes();
    }
}

/// Returns what a block of [`BLOCK_BYTES`] holds.
pub(super) fn found(bytes: &[u8], seed: u64) -> Found {
    let words = bytes.as_chunks::<8>().0;
    let at = |at: usize| words.get(at).map_or(0, |word| u64::from_le_bytes(*word));
    let (block, number) = (at(1), at(2));
    let whole =
        |block, number| words.iter().enumerate().all(|(n, it)| u64::from_le_bytes(*it) == word(seed, block, number, n));
    if bytes.len() == BLOCK_BYTES && at(0) == MAGIC ^ seed && whole(block, number) {
        return Found::Written { number, block };
    }
    if words.iter().all(|word| *word == [0; 8]) { Found::Zeros } else { Found::Other }
}

/// Where a word of a block comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A write.
    Write(u64),
    /// Something that zeroed the block.
    Zeros,
    /// Nothing that was written there.
    Other(u64),
}

/// Returns of each word of a block which of these writes it comes from. The first two are left out: they are the same
/// for all.
pub(super) fn sources(bytes: &[u8], seed: u64, block: u64, numbers: &[u64]) -> Vec<Source> {
    let words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).enumerate();
    let source = |(at, it)| match numbers.iter().find(|&&number| word(seed, block, number, at) == it) {
        Some(&number) => Source::Write(number),
        None if it == 0 => Source::Zeros,
        None => Source::Other(it),
    };
    words.skip(2).map(source).collect()
}

/// Says it in words.
pub(super) fn told(sources: &[Source]) -> String {
    let mut parts: Vec<(Source, usize)> = Vec::new();
    for &source in sources {
        match parts.last_mut() {
            Some((last, words)) if *last == source => *words += 1,
            _ => parts.push((source, 1)),
        }
    }
    let told = parts.iter().take(6).map(|(source, words)| match source {
        Source::Write(number) => format!("{words} words of write {number}"),
        Source::Zeros => format!("{words} words of zeros"),
        Source::Other(word) => format!("{words} times {word:#018x}"),
    });
    told.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_says_what_it_is_only_if_all_of_it_is_there() {
        let block = |block, number| {
            let mut bytes = vec![0; BLOCK_BYTES];
            fill(&mut bytes, 7, block, number);
            bytes
        };
        assert_eq!(found(&block(3, 9), 7), Found::Written { number: 9, block: 3 });
        assert_eq!(found(&block(3, 9), 8), Found::Other);
        let torn = [&block(3, 9)[..256], &block(3, 8)[256..]].concat();
        assert_eq!(found(&torn, 7), Found::Other);
        assert_eq!(found(&[0; BLOCK_BYTES], 7), Found::Zeros);
        let parts = [vec![Source::Write(9); 30], vec![Source::Write(8); 32]].concat();
        assert_eq!(sources(&torn, 7, 3, &[8, 9]), parts);
        assert_eq!(told(&parts), "30 words of write 9, 32 words of write 8");
        let late = [&[0; 256], &block(3, 9)[256..]].concat();
        assert_eq!(found(&late, 7), Found::Other);
    }
}
