//! What the class has in the host page.

use core::mem::offset_of;

use crate::CLASS_WORDS;

/// What stands in [`HostPage::class`](crate::HostPage::class). Addresses are in the driver's own memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NetPage {
    /// The rings, in the order of [`Queue::ALL`](super::Queue::ALL).
    pub rings: [u64; 4],
    /// The side array of each ring, 0 if it has none: for each of its entries a [`Side`](super::Side) at the same
    /// index, which counts if the entry says so ([`entry_flags::SIDE`](super::entry_flags::SIDE)). Only `tx_provide`
    /// has one.
    pub sides: [u64; 4],
    /// The packet buffers.
    pub pool: PoolLayout,
    /// 1 if a filter is to be asked about each frame (`net_filter`), else 0.
    pub filters: u64,
    /// Mail to the host: filled by the `stats` entry.
    pub stats: NetStats,
    /// How many queues the operator wants the driver to use, at most: `poll_schedule` takes those below. 0 and 1 are
    /// one.
    pub queues: u64,
}

/// Where the packet buffers are. Buffer `id` begins at `offset + id * stride_bytes` in the window; the frame begins
/// `headroom_bytes` after that and has `room_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PoolLayout {
    /// Bytes from the start of the window to buffer 0.
    pub offset: u32,
    /// How many buffers.
    pub count: u32,
    /// Bytes from one to the next.
    pub stride_bytes: u32,
    /// Bytes before the frame.
    pub headroom_bytes: u32,
    /// Bytes for the frame.
    pub room_bytes: u32,
    /// Zero.
    pub reserved: u32,
}

/// A struct of words, and those words.
macro_rules! words {
    ($(#[$meta:meta])* pub struct $struct:ident { $($(#[$doc:meta])* pub $name:ident: u64,)* }) => {
        $(#[$meta])*
        pub struct $struct { $($(#[$doc])* pub $name: u64,)* }

        impl $struct {
            /// The names of the words, in their order.
            pub const NAMES: [&str; Self::WORDS] = [$(stringify!($name)),*];

            /// Returns the words as they lie in memory.
            pub const fn to_words(self) -> [u64; Self::WORDS] {
                let $struct { $($name),* } = self;
                [$($name),*]
            }

            /// Undoes [`to_words`](Self::to_words).
            pub const fn from_words(words: [u64; Self::WORDS]) -> Self {
                let [$($name),*] = words;
                $struct { $($name),* }
            }
        }
    };
}

words! {
    /// Counters since the driver's start, as the device and the driver count them.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[repr(C)]
    pub struct NetStats {
        /// Good frames received.
        pub rx_packets: u64,
        /// Bytes in them.
        pub rx_bytes: u64,
        /// Frames received with errors.
        pub rx_errors: u64,
        /// Good frames for which there was no room in the device.
        pub rx_missed: u64,
        /// Frames with a wrong check sequence.
        pub rx_crc_errors: u64,
        /// Frames received whose length was wrong.
        pub rx_length_errors: u64,
        /// Multicast frames received.
        pub multicast: u64,
        /// Frames sent.
        pub tx_packets: u64,
        /// Bytes in them.
        pub tx_bytes: u64,
        /// Frames not sent because of an error.
        pub tx_errors: u64,
        /// Collisions.
        pub collisions: u64,
        /// Times the driver found the transmitter stuck and reset it.
        pub tx_timeouts: u64,
    }
}

impl NetStats {
    /// Words that they have.
    pub const WORDS: usize = size_of::<NetStats>() / size_of::<u64>();
}

impl NetPage {
    /// The word of [`HostPage::class`](crate::HostPage::class) in which the counters begin.
    pub const STATS_WORD: usize = offset_of!(NetPage, stats) / size_of::<u64>();

    /// Returns the words as they lie in the host page of a little-endian machine.
    pub fn to_words(self) -> [u64; CLASS_WORDS] {
        let NetPage { rings, sides, pool, filters, stats, queues } = self;
        let PoolLayout { offset, count, stride_bytes, headroom_bytes, room_bytes, reserved } = pool;
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let pool = [pair(offset, count), pair(stride_bytes, headroom_bytes), pair(room_bytes, reserved)];
        let (filters, stats, queues) = ([filters], stats.to_words(), [queues]);
        let mut words = [0; CLASS_WORDS];
        let all = [&rings[..], &sides, &pool, &filters, &stats, &queues].into_iter().flatten();
        words.iter_mut().zip(all).for_each(|(word, value)| *word = *value);
        words
    }

    /// Undoes [`to_words`](Self::to_words).
    pub fn from_words(words: &[u64; CLASS_WORDS]) -> Self {
        let [r0, r1, r2, r3, s0, s1, s2, s3, p0, p1, p2, filters, ..] = *words;
        let pool = PoolLayout {
            offset: p0 as u32,
            count: (p0 >> 32) as u32,
            stride_bytes: p1 as u32,
            headroom_bytes: (p1 >> 32) as u32,
            room_bytes: p2 as u32,
            reserved: (p2 >> 32) as u32,
        };
        let stats = core::array::from_fn(|at| words[Self::STATS_WORD + at]);
        let stats = NetStats::from_words(stats);
        let queues = words[offset_of!(NetPage, queues) / size_of::<u64>()];
        NetPage { rings: [r0, r1, r2, r3], sides: [s0, s1, s2, s3], pool, filters, stats, queues }
    }
}

const _: () = assert!(size_of::<NetPage>() <= CLASS_WORDS * size_of::<u64>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_where_the_struct_has_it() {
        let words = core::array::from_fn(|at| ((2 * at as u64 + 1) << 32) | (2 * at as u64));
        let page = NetPage::from_words(&words);
        let word = |offset: usize| words[offset / 8];
        let half = |offset: usize| (word(offset) >> (offset % 8 * 8)) as u32;
        assert_eq!(page.rings[3], word(offset_of!(NetPage, rings) + 24));
        assert_eq!(page.sides[0], word(offset_of!(NetPage, sides)));
        assert_eq!(page.filters, word(offset_of!(NetPage, filters)));
        let PoolLayout { offset, count, stride_bytes, headroom_bytes, room_bytes, .. } = page.pool;
        assert_eq!((offset, count), (half(offset_of!(NetPage, pool.offset)), half(offset_of!(NetPage, pool.count))));
        assert_eq!(stride_bytes, half(offset_of!(NetPage, pool.stride_bytes)));
        assert_eq!(headroom_bytes, half(offset_of!(NetPage, pool.headroom_bytes)));
        assert_eq!(room_bytes, half(offset_of!(NetPage, pool.room_bytes)));
        assert_eq!(page.stats.rx_missed, word(offset_of!(NetPage, stats.rx_missed)));
        assert_eq!(page.stats.tx_timeouts, word(offset_of!(NetPage, stats.tx_timeouts)));
        assert_eq!(page.queues, word(offset_of!(NetPage, queues)));
        assert_eq!(page.to_words()[..25], words[..25]);
    }
}
