//! The loops between a queue and a ring's slots.
//!
//! They are what a driver spends its time in, so they are made for that: how often one runs is known before it begins,
//! and pointers step from place to place, up to where queue or ring wraps. Whatever is not plain ends the loop, and is
//! the caller's.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{QueueMemory, Slots, Words, scratch};

/// Rounds for each jump back.
const AT_ONCE: usize = 4;

/// Calls `each` up to `count` times, until it answers `false`, and returns how often it answered `true`. It is given
/// the number of its round as the sum of two, of which the second is a constant to the compiler.
#[inline(always)]
fn rounds(count: usize, mut each: impl FnMut(usize, usize) -> bool) -> usize {
    let mut done = 0;
    while count - done >= AT_ONCE {
        for ahead in 0..AT_ONCE {
            if !each(done, ahead) {
                return done + ahead;
            }
        }
        done += AT_ONCE;
    }
    while done < count {
        if !each(done, 0) {
            return done;
        }
        done += 1;
    }
    done
}

/// Fills up to `count` slots from counter `to` on with what `plain` makes of the queue's entries from counter `from`
/// on, and keeps beside each what it says. Ends at the first entry of which it makes nothing; returns how many it
/// filled. The slots were free when the call began, and no device looks at them yet: a rollback leaves them and what is
/// kept beside them, see [`scratch`].
#[inline(always)]
pub(crate) fn fill<T, const ENTRY: usize, const WORDS: usize, const KEPT: usize, const SLOT: usize, const N: usize>(
    (queue, from): (&QueueMemory<ENTRY>, u32),
    (slots, kept, to): (Slots<SLOT, N>, &mut [T; N], u32),
    count: u32,
    plain: impl Fn([u64; ENTRY]) -> Option<([u64; WORDS], T)>,
) -> u32
where
    T: Words<KEPT>,
{
    const { assert!(WORDS * 8 == SLOT, "a slot is filled as a whole") };
    let mut filled = 0;
    while filled < count {
        let (entries, entries_left) = queue.run(from.wrapping_add(filled));
        let (places, places_left) = slots.run(to.wrapping_add(filled));
        let beside = kept[to.wrapping_add(filled) as usize & (N - 1)..].as_mut_ptr();
        let run = (count - filled).min(entries_left).min(places_left);
        let done = rounds(run as usize, |at, ahead| {
            // SAFETY: less than `entries_left` entries after `entries` is an entry (`run`), which this thread alone
            // uses now (`QueueMemory::new`).
            let entry = unsafe { entries.add(at).add(ahead).read() };
            let Some((words, keep)) = plain(entry) else { return false };
            // SAFETY: `at + ahead` is less than `places_left`, and `kept`, which is borrowed mutably, has as many
            // elements at `beside`, because it has N of them, one for each slot. One has the words that it says.
            unsafe { scratch::write(beside.add(at).cast::<[u64; KEPT]>(), ahead as u32, keep.words()) };
            // SAFETY: `at + ahead` is less than `places_left`: that many slots lie at `places` (`run`), and each has
            // WORDS words and is aligned to them (`Slots::new`).
            unsafe { scratch::write(places.add(at).cast::<[u64; WORDS]>(), ahead as u32, words.map(u64::to_le)) };
            true
        });
        filled += done as u32;
        if done < run as usize {
            break;
        }
    }
    filled
}

/// Puts into the queue, from counter `to` on, what `plain` makes of up to `count` slots from counter `from` on. It gets
/// pair `pair` of each (see [`Slots::pair`]; 0 if it wants none), its counter, and what was kept beside it. Ends at the
/// first slot of which it makes nothing; returns how many it put in. The entries are not between the queue's counters:
/// a rollback leaves them, see [`scratch`].
#[inline(always)]
pub(crate) fn reap<T: Copy, const ENTRY: usize, const SLOT: usize, const N: usize>(
    (slots, kept, from): (Slots<SLOT, N>, &[T; N], u32),
    (queue, to): (&QueueMemory<ENTRY>, u32),
    count: u32,
    pair: Option<usize>,
    plain: impl Fn(u64, u32, T) -> Option<[u64; ENTRY]>,
) -> u32 {
    let mut reaped = 0;
    while reaped < count {
        let (entries, entries_left) = queue.run(to.wrapping_add(reaped));
        let (places, places_left) = slots.run(from.wrapping_add(reaped));
        let beside = kept[from.wrapping_add(reaped) as usize & (N - 1)..].as_ptr();
        let run = (count - reaped).min(entries_left).min(places_left);
        let done = rounds(run as usize, |at, ahead| {
            // SAFETY: `at + ahead` is less than `places_left`: that many slots lie at `places` (`run`), and that many
            // elements at `beside`, because `kept` has N of them, one for each slot.
            let (place, beside) = unsafe { (places.add(at).add(ahead), beside.add(at).add(ahead)) };
            // SAFETY: `beside` is an element of `kept`, which is borrowed.
            let keep = unsafe { beside.read() };
            let value = pair.map_or(0, |pair| {
                // SAFETY: a slot has SLOT / 8 pairs and is aligned to them (`Slots::new`). Nothing but such loads
                // touches one that was handed over; no reference outlives this line.
                unsafe { AtomicU64::from_ptr(place.cast::<u64>().add(pair % (SLOT / 8))).load(Ordering::Acquire) }
            });
            let counter = from.wrapping_add(reaped).wrapping_add((at + ahead) as u32);
            let Some(entry) = plain(u64::from_le(value), counter, keep) else { return false };
            // SAFETY: less than `entries_left` entries after `entries` is an entry (`run`), which this thread alone
            // uses now (`QueueMemory::new`).
            unsafe { scratch::write(entries.add(at), ahead as u32, entry) };
            true
        });
        reaped += done as u32;
        if done < run as usize {
            break;
        }
    }
    reaped
}
