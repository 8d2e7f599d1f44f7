//! What a driver keeps of the requests that it has.

use core::marker::PhantomData;

use super::queues::RequestTicket;
use crate::raw::{self, write_free};

/// Set in the word of a place that has a request; ids and generations are below.
const LIVE: u64 = 1 << 63;

/// What a driver keeps of a request, as words: little costs less than a structure of many fields, of which each is a
/// store.
pub trait Record<const WORDS: usize>: Copy {
    /// Returns it as words.
    fn to_words(self) -> [u64; WORDS];

    /// Returns what these words are.
    fn from_words(words: [u64; WORDS]) -> Self;
}

/// The requests that a driver has, by their ids, which are below `N`: the ticket of each, and an `R` of `WORDS` words.
///
/// What is kept with a request is scratch at first: it means nothing without the ticket, and that is put
/// back by a rollback. Not so if the place had another request in the same call, which may be made again.
///
/// ```
/// # use nook_sdk::{Record, RequestTable};
/// /// Where a command's data is, and when it was sent.
/// #[derive(Clone, Copy)]
/// struct Sent {
///     iova: u64,
///     at_ns: u64,
/// }
///
/// impl Record<2> for Sent {
///     fn to_words(self) -> [u64; 2] {
///         [self.iova, self.at_ns]
///     }
///     fn from_words([iova, at_ns]: [u64; 2]) -> Self {
///         Sent { iova, at_ns }
///     }
/// }
///
/// let table = RequestTable::<Sent, 2, 64>::new();
/// assert!(table.get(0).is_none());
/// ```
pub struct RequestTable<R, const WORDS: usize, const N: usize> {
    /// Ticket and [`LIVE`]; of a place without a request the number of the call that took it out.
    tickets: [u64; N],
    records: [[u64; WORDS]; N],
    record: PhantomData<R>,
}

impl<R: Record<WORDS>, const WORDS: usize, const N: usize> Default for RequestTable<R, WORDS, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Record<WORDS>, const WORDS: usize, const N: usize> RequestTable<R, WORDS, N> {
    /// Creates one without requests.
    pub const fn new() -> Self {
        RequestTable { tickets: [0; N], records: [[0; WORDS]; N], record: PhantomData }
    }

    /// Keeps a request; gives the ticket back if there is no such place, or it has one: a host that gives such a
    /// request is broken.
    #[inline(always)]
    pub fn keep(&mut self, ticket: RequestTicket, record: R) -> Result<u32, RequestTicket> {
        let id = ticket.id();
        match (self.tickets.get_mut(id as usize), self.records.get_mut(id as usize)) {
            (Some(kept), Some(place)) if *kept & LIVE == 0 => {
                let was_taken_in_this_call = *kept == u64::from(raw::call());
                *kept = ticket.into_word() | LIVE;
                if was_taken_in_this_call {
                    *place = record.to_words();
                } else {
                    write_free(place, record.to_words());
                }
                Ok(id)
            }
            _ => Err(ticket),
        }
    }

    /// Returns what was kept with a request, if the driver has it.
    #[inline(always)]
    pub fn get(&self, id: u32) -> Option<R> {
        let live = self.tickets.get(id as usize)? & LIVE != 0;
        live.then_some(R::from_words(*self.records.get(id as usize)?))
    }

    /// Keeps something else with a request, if the driver has it.
    #[inline]
    pub fn set(&mut self, id: u32, record: R) {
        if self.has(id)
            && let Some(place) = self.records.get_mut(id as usize)
        {
            *place = record.to_words();
        }
    }

    /// Returns whether the driver has the request with this id.
    #[inline(always)]
    pub fn has(&self, id: u32) -> bool {
        self.tickets.get(id as usize).is_some_and(|kept| kept & LIVE != 0)
    }

    /// Takes a request's ticket out, to complete it.
    #[inline(always)]
    pub fn take(&mut self, id: u32) -> Option<RequestTicket> {
        let kept = self.tickets.get_mut(id as usize).filter(|kept| **kept & LIVE != 0)?;
        let ticket = RequestTicket::from_word(*kept & !LIVE);
        *kept = raw::call().into();
        Some(ticket)
    }

    /// Returns the ids of the requests that the driver has.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.tickets).filter(|(_, kept)| **kept & LIVE != 0).map(|(id, _)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Pair(u64, u64);

    impl Record<2> for Pair {
        fn to_words(self) -> [u64; 2] {
            [self.0, self.1]
        }
        fn from_words([first, second]: [u64; 2]) -> Self {
            Pair(first, second)
        }
    }

    fn ticket(id: u64, generation: u64) -> RequestTicket {
        RequestTicket::from_word(id | generation << 32)
    }

    #[test]
    fn a_request_is_kept_until_its_ticket_is_taken_once() {
        let mut table = RequestTable::<Pair, 2, 4>::new();
        assert_eq!(table.keep(ticket(3, 9), Pair(1, 2)), Ok(3));
        assert_eq!((table.get(3), table.has(3), table.ids().collect::<Vec<_>>()), (Some(Pair(1, 2)), true, [3].into()));
        table.set(3, Pair(5, 6));
        table.set(2, Pair(7, 7));
        assert_eq!((table.get(3), table.get(2)), (Some(Pair(5, 6)), None));
        assert_eq!((table.take(3), table.take(3)), (Some(ticket(3, 9)), None));
        assert_eq!((table.get(3), table.has(3)), (None, false));
        // Again, in the same call.
        assert_eq!(table.keep(ticket(3, 10), Pair(3, 4)), Ok(3));
        assert_eq!(table.get(3), Some(Pair(3, 4)));
    }

    #[test]
    fn what_a_broken_host_gives_twice_or_beyond_the_table_is_given_back() {
        let mut table = RequestTable::<Pair, 2, 4>::new();
        assert_eq!(table.keep(ticket(0, 0), Pair(1, 1)), Ok(0));
        assert_eq!(table.keep(ticket(0, 1), Pair(2, 2)), Err(ticket(0, 1)));
        assert_eq!(table.keep(ticket(4, 1), Pair(2, 2)), Err(ticket(4, 1)));
        assert_eq!((table.get(0), table.get(4), table.take(4)), (Some(Pair(1, 1)), None, None));
    }
}
