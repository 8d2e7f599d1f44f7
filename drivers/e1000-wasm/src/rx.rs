//! Receiving.

use e1000_regs::rx::{self, error, status};
use e1000_regs::{RADV, RCTL, RDBAH, RDBAL, RDH, RDLEN, RDT, RDTR, RXCSUM};
use nook_sdk::{DescriptorRing, Kernel, Nook, Packet, PacketStatus, Pool, ProvideQueue, Regs, ReturnQueue, Status};

/// Descriptors in the ring.
const RING: usize = 256;
/// What each buffer is told to the controller to have; the pool's buffers have at least so much.
const BUFFER_BYTES: u32 = 2048;
/// RDMTS: RXDMT0 comes when an eighth of the ring is left.
const LOW_WATER: u32 = 2;
/// A frame is no shorter than its header: two addresses and a type.
const HEADER_BYTES: u32 = 14;

/// The receive ring and the buffers in it.
pub(crate) struct RxRing<K: Kernel> {
    ring: DescriptorRing<K, Packet, RING>,
    /// The rest of a frame that did not fit one buffer is on its way: it is dropped.
    dropping: bool,
    /// What RCTL holds: it is written only if it changes, because some controllers pause reception when it is.
    control: u32,
}

impl<K: Kernel> RxRing<K> {
    pub(crate) fn new(nook: Nook<K>) -> Result<Self, Status> {
        Ok(RxRing { ring: DescriptorRing::new(nook)?, dropping: false, control: 0 })
    }

    /// Programs an empty ring and turns the receiver on (section 14.4). `filter` is the filter's part of RCTL.
    pub(crate) fn start(&mut self, regs: &Regs<K>, filter: u32) {
        let iova = self.ring.iova();
        regs.write(RDBAL, iova as u32);
        regs.write(RDBAH, (iova >> 32) as u32);
        regs.write(RDLEN, self.ring.len_bytes());
        regs.write(RDH, 0);
        regs.write(RDT, 0);
        regs.write(RDTR, 0);
        regs.write(RADV, 0);
        regs.write(RXCSUM, 0);
        self.control = 0;
        self.dropping = false;
        self.set_control(regs, filter);
    }

    /// Writes RCTL with the filter's part of it, if that changes anything.
    pub(crate) fn set_control(&mut self, regs: &Regs<K>, filter: u32) {
        const SIZE: u32 = match e1000_regs::rctl_buffer_size(BUFFER_BYTES) {
            Some(bits) => bits,
            None => panic!("not a size of receive buffers"),
        };
        let control = RCTL::EN | RCTL::SECRC | RCTL::RDMTS.put(LOW_WATER) | SIZE | filter;
        if control != self.control {
            self.control = control;
            regs.write(RCTL, control);
        }
    }

    /// Hands received frames to the host: at most `budget` buffers. Says how many.
    #[inline]
    pub(crate) fn harvest(&mut self, budget: u32, queue: &mut ReturnQueue) -> u32 {
        let mut returning = queue.begin();
        let mut reap = self.ring.reap(status::DD);
        let mut count = 0;
        while count < budget {
            let Some(place) = returning.vacant() else { return budget };
            let Some(done) = reap.next() else { break };
            let (word, len_bytes) = (done.last_word(), rx::length_bytes(done.word(rx::LENGTH_WORD)));
            let whole = word & (status::EOP | error::FRAME) == status::EOP && !self.dropping;
            self.dropping = word & status::EOP == 0;
            // A length that no frame has, or that the buffer cannot hold, is the controller's mistake.
            place.put(if whole && (HEADER_BYTES..=done.kept.len_bytes).contains(&len_bytes) {
                done.kept.received(len_bytes)
            } else {
                done.kept.returned(0, PacketStatus::Failed)
            });
            count += 1;
        }
        count
    }

    /// Gives the controller as many empty buffers as there are and fit.
    #[inline]
    pub(crate) fn refill(&mut self, regs: &Regs<K>, queue: &mut ProvideQueue, pool: &Pool) {
        let mut fill = self.ring.fill();
        let mut provided = queue.begin();
        while let Some(slot) = fill.vacant() {
            let Some(entry) = provided.next() else { break };
            let packet = Packet::from(&entry);
            // The host's pool is checked by the SDK: an entry without an address cannot come from an honest host.
            let Some(address) = pool.frame_iova(&packet) else { continue };
            slot.put(address, 0, packet);
        }
        drop(provided);
        drop(fill);
        if let Some(tail) = self.ring.publish() {
            regs.write(RDT, tail);
        }
    }

    /// The controller is quiet: every buffer in the ring goes back unused.
    pub(crate) fn give_back(&mut self, queue: &mut ReturnQueue) {
        crate::tx::give_back(&mut self.ring, queue);
    }
}
