//! The oracle of network drivers: frames that go both ways, each of which it knows to the byte. It shares no code with
//! a driver and none with what drivers are plugged into otherwise.
//!
//! A frame's number and direction say what is in all of it. One that did not arrive is sent again, later each time, as
//! protocols do; none is ever given up. So a flow is complete when every frame of it and every older one came, and what
//! came changed, or was never sent, is corrupted.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nook_bus::Clock;
use nook_net_api::{Incoming, NetBackend, Outgoing, Room, Wire};
use nook_seed::{Rng, word_at};

use crate::traffic::{FLOW, Flow, NOT_TAKEN_NS, OVERDUE_NS, RESEND_FIRST_NS, RESEND_MOST_NS, Tally, Traffic};

/// Frames that are under way each way at most.
const UNDER_WAY: usize = 64;
/// The experimental Ethernet type (IEEE 802).
const TYPE: [u8; 2] = [0x88, 0xb5];
const HEADER_BYTES: usize = 24;
const SHORTEST_BYTES: u64 = 60;
const LONGEST_BYTES: u64 = 1514;

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the cable, through the driver, to the host.
    Received,
    /// From the host, through the driver, to the cable.
    Sent,
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    first_ns: u64,
    due_ns: u64,
    wait_ns: u64,
}

#[derive(Debug, Default)]
struct Side {
    next: u64,
    under_way: BTreeMap<u64, UnderWay>,
    next_new_ns: u64,
    delivered: u64,
    duplicates: u64,
    lost: u64,
    corrupted: u64,
}

#[derive(Debug)]
struct State {
    seed: u64,
    clock: Clock,
    /// Between two frames of one way; `None` while there is no traffic.
    pace_ns: Option<u64>,
    sides: [Side; 2],
    first_failure_ns: Option<u64>,
}

/// The oracle, to be held by both ends and by what judges.
#[derive(Clone, Debug)]
pub struct Oracle(Arc<Mutex<State>>);

impl Oracle {
    /// Creates it; nothing is sent before [`pace`](Self::pace).
    pub fn new(seed: u64, clock: Clock) -> Self {
        let sides = Default::default();
        Oracle(Arc::new(Mutex::new(State { seed, clock, pace_ns: None, sides, first_failure_ns: None })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, way: Way, write: impl FnOnce(&[u8]) -> usize) -> Option<usize> {
        let mut state = self.state();
        let number = state.next(way)?;
        let frame = frame(state.seed, way, number);
        Some(write(&frame))
    }

    fn arrive(&self, way: Way, bytes: &[u8]) {
        self.state().arrive(way, bytes);
    }

    fn due_ns(&self, way: Way) -> Option<u64> {
        let state = self.state();
        let side = &state.sides[way as usize];
        let again = side.under_way.values().map(|frame| frame.due_ns).min();
        let new = (side.under_way.len() < UNDER_WAY && state.pace_ns.is_some()).then_some(side.next_new_ns);
        let due_ns = [again, new].into_iter().flatten().min()?;
        Some(due_ns.max(state.clock.now_ns() + NOT_TAKEN_NS))
    }
}

impl Traffic for Oracle {
    fn pace(&self, pace_ns: u64) {
        let mut state = self.state();
        let now_ns = state.clock.now_ns();
        state.pace_ns = Some(pace_ns);
        for side in &mut state.sides {
            side.next_new_ns = now_ns;
        }
    }

    fn flow(&self) -> Flow {
        let state = self.state();
        Flow([0, 1].map(|side| state.sides[side].next))
    }

    fn is_complete(&self, flow: Flow) -> bool {
        let state = self.state();
        state
            .sides
            .iter()
            .zip(flow.0)
            .all(|(side, from)| side.next >= from + FLOW && side.under_way.range(..from + FLOW).next().is_none())
    }

    fn first_failure_ns(&self) -> Option<u64> {
        let mut state = self.state();
        state.look();
        state.first_failure_ns
    }

    fn tally(&self) -> Tally {
        let state = self.state();
        let sum = |of: fn(&Side) -> u64| state.sides.iter().map(of).sum();
        Tally {
            delivered: sum(|side| side.delivered),
            duplicates: sum(|side| side.duplicates),
            lost: sum(|side| side.lost),
            corrupted: sum(|side| side.corrupted),
            damaged: 0,
        }
    }

    fn standing(&self) -> Vec<&'static str> {
        let state = self.state();
        let now_ns = state.clock.now_ns();
        let is_late = |side: &Side| side.under_way.values().any(|frame| frame.first_ns + OVERDUE_NS < now_ns);
        let ways = ["received", "sent"].into_iter().zip(&state.sides);
        ways.filter(|(_, side)| is_late(side)).map(|(way, _)| way).collect()
    }
}

impl State {
    fn look(&mut self) {
        let now_ns = self.clock.now_ns();
        let frames = self.sides.iter().flat_map(|side| side.under_way.values());
        let overdue = frames.map(|frame| frame.first_ns).filter(|first_ns| first_ns + OVERDUE_NS < now_ns).min();
        self.first_failure_ns = [self.first_failure_ns, overdue].into_iter().flatten().min();
    }

    /// Returns the number of the frame that is to be sent now.
    fn next(&mut self, way: Way) -> Option<u64> {
        let (now_ns, pace_ns) = (self.clock.now_ns(), self.pace_ns?);
        let side = &mut self.sides[way as usize];
        if let Some((&number, frame)) = side.under_way.iter_mut().find(|(_, frame)| frame.due_ns <= now_ns) {
            side.lost += 1;
            frame.wait_ns = (frame.wait_ns * 2).min(RESEND_MOST_NS);
            frame.due_ns = now_ns + frame.wait_ns;
            return Some(number);
        }
        if side.under_way.len() >= UNDER_WAY || now_ns < side.next_new_ns {
            return None;
        }
        let number = side.next;
        side.next += 1;
        side.next_new_ns = now_ns + pace_ns;
        let frame = UnderWay { first_ns: now_ns, due_ns: now_ns + RESEND_FIRST_NS, wait_ns: RESEND_FIRST_NS };
        side.under_way.insert(number, frame);
        Some(number)
    }

    fn arrive(&mut self, way: Way, bytes: &[u8]) {
        self.look();
        let seed = self.seed;
        let side = &mut self.sides[way as usize];
        let known = number_of(bytes).filter(|number| *number < side.next && frame(seed, way, *number) == bytes);
        match known {
            None => side.corrupted += 1,
            Some(number) if side.under_way.remove(&number).is_some() => side.delivered += 1,
            Some(_) => side.duplicates += 1,
        }
    }
}

fn number_of(bytes: &[u8]) -> Option<u64> {
    let number = bytes.get(HEADER_BYTES - 8..HEADER_BYTES)?;
    Some(u64::from_be_bytes(number.try_into().ok()?))
}

/// Returns the frame with this number: a broadcast, so that no address is needed.
fn frame(seed: u64, way: Way, number: u64) -> Vec<u8> {
    let mut rng = Rng::new(word_at(seed ^ (way as u64) << 63, number));
    let len = SHORTEST_BYTES + rng.below(LONGEST_BYTES - SHORTEST_BYTES + 1);
    let mut frame = vec![0xff; 6];
    frame.extend([0x02, 0, 0, 0, 0, 1 + way as u8]);
    frame.extend(TYPE);
    frame.extend([way as u8, 0]);
    frame.extend(number.to_be_bytes());
    while frame.len() < len as usize {
        frame.extend(rng.word().to_le_bytes());
    }
    frame.truncate(len as usize);
    frame
}

/// The other side of the driver's interface. With a fault, what it does with frames fails.
pub struct HostEnd {
    oracle: Oracle,
    fault: Option<crate::BackendFault>,
}

impl HostEnd {
    /// Creates it.
    pub fn new(oracle: Oracle, fault: Option<crate::BackendFault>) -> Self {
        HostEnd { oracle, fault }
    }
}

impl NetBackend for HostEnd {
    fn deliver(&mut self, frame: Incoming<'_>) -> io::Result<bool> {
        if let Some(fault) = &self.fault
            && let Some(outcome) = fault.delivers()
        {
            return outcome;
        }
        let mut bytes = vec![0; frame.len_bytes()];
        frame.copy_to(&mut bytes[..]);
        self.oracle.arrive(Way::Received, &bytes);
        Ok(true)
    }

    fn fetch(&mut self, room: &Room<'_>) -> io::Result<Option<Outgoing>> {
        if let Some(fault) = &self.fault {
            fault.fetches()?;
        }
        let taken = self.oracle.take(Way::Sent, |bytes| {
            room.copy_from(0, bytes);
            bytes.len()
        });
        Ok(taken.map(|len_bytes| Outgoing { len_bytes, side: None }))
    }

    fn link(&mut self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn set_mac(&mut self, _: [u8; 6]) -> io::Result<()> {
        Ok(())
    }

    fn service(&mut self, _: u64) -> io::Result<Option<u64>> {
        Ok(self.oracle.due_ns(Way::Sent))
    }
}

/// The far end of the card's cable.
pub struct CableEnd(pub Oracle);

impl Wire for CableEnd {
    fn send(&mut self, frame: &[u8]) -> io::Result<bool> {
        self.0.arrive(Way::Sent, frame);
        Ok(true)
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        Ok(self.0.take(Way::Received, |bytes| {
            let len = bytes.len().min(buffer.len());
            buffer[..len].copy_from_slice(&bytes[..len]);
            len
        }))
    }

    fn due_ns(&mut self, _: u64) -> Option<u64> {
        self.0.due_ns(Way::Received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn oracle() -> (Oracle, Clock) {
        let clock = Clock::new_virtual();
        let oracle = Oracle::new(7, clock.clone());
        oracle.pace(MS);
        (oracle, clock)
    }

    fn sent(oracle: &Oracle) -> Option<Vec<u8>> {
        let mut taken = Vec::new();
        oracle.take(Way::Sent, |bytes| {
            taken = bytes.to_vec();
            0
        })?;
        Some(taken)
    }

    #[test]
    fn a_frame_that_comes_twice_is_a_duplicate_and_one_that_was_changed_or_never_sent_is_corrupted() {
        let (oracle, _) = oracle();
        let good = sent(&oracle).unwrap();
        let mut bad = good.clone();
        bad[40] ^= 1;
        oracle.arrive(Way::Sent, &bad);
        oracle.arrive(Way::Sent, &good);
        oracle.arrive(Way::Sent, &good);
        oracle.arrive(Way::Received, &good);
        let expected = Tally { delivered: 1, duplicates: 1, lost: 0, corrupted: 2, damaged: 0 };
        assert_eq!(oracle.tally(), expected);
    }

    #[test]
    fn a_frame_that_does_not_come_is_sent_again_and_a_flow_is_complete_when_all_of_it_came() {
        let (oracle, clock) = oracle();
        let flow = oracle.flow();
        let lost = sent(&oracle).unwrap();
        clock.charge(16 * MS);
        assert!(oracle.first_failure_ns().is_some() && oracle.standing() == ["sent"]);
        clock.charge(4 * MS);
        let again = sent(&oracle).unwrap();
        assert_eq!((&again, oracle.tally().lost), (&lost, 1));
        oracle.arrive(Way::Sent, &again);
        for _ in 0..200 {
            clock.charge(MS);
            if let Some(frame) = sent(&oracle) {
                oracle.arrive(Way::Sent, &frame);
            }
            assert!(!oracle.is_complete(flow), "the other way, nothing came");
        }
        let mut buffer = [0; 2048];
        for _ in 0..FLOW {
            clock.charge(MS);
            let len = CableEnd(oracle.clone()).recv(&mut buffer).unwrap().unwrap();
            oracle.arrive(Way::Received, &buffer[..len]);
        }
        assert!(oracle.is_complete(flow));
    }

    #[test]
    fn a_flow_is_not_complete_while_an_older_frame_never_comes() {
        let (oracle, clock) = oracle();
        let never = sent(&oracle).unwrap();
        let flow = oracle.flow();
        let mut buffer = [0; 2048];
        for _ in 0..1000 {
            clock.charge(MS);
            if let Some(frame) = sent(&oracle).filter(|frame| *frame != never) {
                oracle.arrive(Way::Sent, &frame);
            }
            if let Some(len) = CableEnd(oracle.clone()).recv(&mut buffer).unwrap() {
                oracle.arrive(Way::Received, &buffer[..len]);
            }
            assert!(!oracle.is_complete(flow));
        }
        assert!(oracle.tally().lost > 0 && oracle.tally().delivered > 4 * FLOW);
        oracle.arrive(Way::Sent, &never);
        assert!(oracle.is_complete(flow));
    }
}
