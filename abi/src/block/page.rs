//! What the class has in the host page.

use crate::CLASS_WORDS;

/// What stands in [`HostPage::class`](crate::HostPage::class). Addresses are in the driver's own memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BlockPage {
    /// The ring from which the driver takes requests.
    pub requests: u64,
    /// The ring into which it puts completions.
    pub completions: u64,
    /// The most requests that a driver has at a time: their ids are below it.
    pub most_requests: u32,
    /// Room for the data of each, in bytes: a multiple of 4096.
    pub transfer_bytes: u32,
    /// Which disk of the device the operator wants, by the device's own number: of an NVM Express controller the
    /// namespace. 0 leaves it to the driver; what there is not, the driver refuses.
    pub disk_number: u32,
    /// How many pairs of queues towards the device the operator wants, at most. 0 leaves it to the driver.
    pub queue_pairs: u32,
}

impl BlockPage {
    /// Returns the words as they lie in the host page of a little-endian machine.
    pub fn to_words(self) -> [u64; CLASS_WORDS] {
        let BlockPage { requests, completions, most_requests, transfer_bytes, disk_number, queue_pairs } = self;
        let mut words = [0; CLASS_WORDS];
        words[0] = requests;
        words[1] = completions;
        words[2] = u64::from(most_requests) | u64::from(transfer_bytes) << 32;
        words[3] = u64::from(disk_number) | u64::from(queue_pairs) << 32;
        words
    }

    /// Undoes [`to_words`](Self::to_words).
    pub fn from_words(words: &[u64; CLASS_WORDS]) -> Self {
        let [requests, completions, sizes, wanted, ..] = *words;
        let halves = |word: u64| (word as u32, (word >> 32) as u32);
        let ((most_requests, transfer_bytes), (disk_number, queue_pairs)) = (halves(sizes), halves(wanted));
        BlockPage { requests, completions, most_requests, transfer_bytes, disk_number, queue_pairs }
    }
}

const _: () = assert!(size_of::<BlockPage>() == 4 * size_of::<u64>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_survives_being_words() {
        let (requests, transfer_bytes) = (1 << 40 | 1, 4 << 20);
        let page =
            BlockPage { requests, completions: 2, most_requests: 3, transfer_bytes, disk_number: 5, queue_pairs: 6 };
        assert_eq!(BlockPage::from_words(&page.to_words()), page);
    }
}
