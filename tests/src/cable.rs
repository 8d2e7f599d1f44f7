//! Frames in memory: a cable between a device and a test, and the interface's other side.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use nook_abi::net::Side;
use nook_net_api::Wire;

use nook_net_api::{Incoming, KernelSettings, NetBackend, Outgoing, Room};

/// Frames that wait in one direction of a cable; more are lost, as on a real one.
const WAITING: usize = 4096;

type Queue = Arc<Mutex<VecDeque<Vec<u8>>>>;

fn locked<R>(queue: &Queue, run: impl FnOnce(&mut VecDeque<Vec<u8>>) -> R) -> R {
    run(&mut queue.lock().unwrap_or_else(PoisonError::into_inner))
}

/// One end of a cable in memory.
pub struct CableEnd {
    out: Queue,
    inward: Queue,
}

/// Both ends of a cable.
pub fn cable() -> (CableEnd, CableEnd) {
    let (there, back) = (Queue::default(), Queue::default());
    (CableEnd { out: there.clone(), inward: back.clone() }, CableEnd { out: back, inward: there })
}

impl Wire for CableEnd {
    fn send(&mut self, frame: &[u8]) -> io::Result<bool> {
        Ok(locked(&self.out, |queue| {
            let fits = queue.len() < WAITING;
            if fits {
                queue.push_back(frame.to_vec());
            }
            fits
        }))
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        Ok(locked(&self.inward, VecDeque::pop_front).map(|frame| {
            let len = frame.len().min(buffer.len());
            buffer[..len].copy_from_slice(&frame[..len]);
            len
        }))
    }

    fn due_ns(&mut self, now_ns: u64) -> Option<u64> {
        locked(&self.inward, |queue| !queue.is_empty()).then_some(now_ns)
    }
}

/// The interface's other side: what the driver received, and what it is to send.
#[derive(Default)]
pub struct FrameQueues {
    /// Frames that came up from the driver, oldest first.
    pub received: Vec<Vec<u8>>,
    /// Frames that the driver is to send.
    pub to_send: VecDeque<Vec<u8>>,
    /// Packets that the driver is to send, with what is to be done to them, before any other.
    pub to_leave: VecDeque<(Vec<u8>, Side)>,
    /// The link as the driver reported it, each change.
    pub links: Vec<bool>,
    /// The interface's address.
    pub mac: Option<[u8; 6]>,
    /// What the interface is set to, until the driver's side has asked.
    pub wanted: Option<KernelSettings>,
    /// MTUs to which it was set back.
    pub mtus: Vec<u32>,
    /// Frames that were too long for the driver, not told yet.
    pub unfit: u32,
    /// It cannot be set back.
    pub mtu_stays: bool,
}

impl NetBackend for FrameQueues {
    fn deliver(&mut self, frame: Incoming<'_>) -> io::Result<bool> {
        let mut bytes = vec![0; frame.len_bytes()];
        frame.copy_to(&mut bytes);
        self.received.push(bytes);
        Ok(true)
    }

    fn fetch(&mut self, room: &Room<'_>) -> io::Result<Option<Outgoing>> {
        if self.to_leave.front().is_some_and(|(packet, _)| packet.len() > room.total_bytes()) {
            // There is more room once the driver has sent some.
            return Ok(None);
        }
        if let Some((packet, side)) = self.to_leave.pop_front() {
            room.copy_from(0, &packet);
            return Ok(Some(Outgoing { len_bytes: packet.len(), side: Some(side) }));
        }
        while let Some(frame) = self.to_send.pop_front() {
            if frame.len() <= room.longest_bytes {
                room.copy_from(0, &frame);
                return Ok(Some(Outgoing { len_bytes: frame.len(), side: None }));
            }
            self.unfit += 1;
        }
        Ok(None)
    }

    fn unfit(&mut self) -> u32 {
        std::mem::take(&mut self.unfit)
    }

    fn link(&mut self, up: bool) -> io::Result<()> {
        self.links.push(up);
        Ok(())
    }

    fn set_mac(&mut self, mac: [u8; 6]) -> io::Result<()> {
        self.mac = Some(mac);
        Ok(())
    }

    fn set_mtu(&mut self, mtu_bytes: u32) -> io::Result<()> {
        if self.mtu_stays {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.mtus.push(mtu_bytes);
        Ok(())
    }

    fn wanted(&mut self) -> Option<KernelSettings> {
        self.wanted.take()
    }
}
