//! The cable that an embedded device is plugged into.

use std::io;
use std::os::fd::RawFd;

/// The far end of a network cable: whole Ethernet frames, without the frame check sequence.
///
/// Implemented by what a model's cable can be plugged into (a TAP interface, the in-process peer, nothing at all);
/// used by device models, from the nook's thread.
pub trait Wire: Send {
    /// Puts a frame on the cable. A frame that the other end cannot take now is lost, as on a real cable, and the
    /// answer is `false`.
    fn send(&mut self, frame: &[u8]) -> io::Result<bool>;

    /// Takes the next frame that has arrived into `buffer` and says how long it is; `None` if there is none.
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>>;

    /// Returns whether there is a link partner.
    fn carrier(&self) -> bool {
        true
    }

    /// Returns when the far end wants to be asked again even if nothing happens (nanoseconds of the nook's clock).
    fn due_ns(&mut self, now_ns: u64) -> Option<u64> {
        let _ = now_ns;
        None
    }

    /// Adds descriptors that become readable when a frame arrives.
    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        let _ = fds;
    }
}
