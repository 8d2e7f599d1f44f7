//! TCP segmentation (section 3.5): one packet, many frames.

use e1000_regs::tx::{Context, command};

use crate::checksum::{insert_by_context, ones_sum};

/// TCP flags that only the last segment has (section 3.5.6.2).
const FIN_AND_PSH: u8 = 1 << 0 | 1 << 3;

/// The most segments of a packet. It is a limit of the model, above what 64 KiB of the least payload that Linux puts
/// into a segment make (48 bytes): a driver decides how much work one descriptor is.
const MOST_SEGMENTS: usize = 2048;

/// How a packet is cut.
pub(crate) struct Segments {
    context: Context,
    /// Insert the checksums of IP, of TCP or UDP.
    options: (bool, bool),
    header_bytes: usize,
    payload_bytes: usize,
    done: usize,
    count: u16,
}

impl Segments {
    /// Begins with a packet of `packet_bytes`. `None` if what the context says of it cannot be, or is more
    /// than the model does: the manual does not say what becomes of it then.
    pub(crate) fn new(context: Context, options: (bool, bool), packet_bytes: usize, room: usize) -> Option<Self> {
        let header_bytes = usize::from(context.header_bytes);
        let payload_bytes = context.payload_bytes as usize;
        let (ip, upper) = (usize::from(context.ip_start), usize::from(context.l4_start));
        let is_tcp = context.command & command::TCP != 0;
        let upper_bytes = if is_tcp { 20 } else { 8 };
        let holds = ip + 20 <= upper && upper + upper_bytes <= header_bytes;
        let fits = context.mss > 0 && header_bytes + usize::from(context.mss) <= room;
        let are_few = payload_bytes <= usize::from(context.mss) * MOST_SEGMENTS;
        (holds && fits && are_few && payload_bytes > 0 && header_bytes + payload_bytes == packet_bytes)
            .then_some(Segments { context, options, header_bytes, payload_bytes, done: 0, count: 0 })
    }

    /// Makes the next frame of `packet` in `frame`. Returns its length; `None` if that was all.
    pub(crate) fn next(&mut self, packet: &[u8], frame: &mut [u8]) -> Option<usize> {
        let Segments { context, options, header_bytes, payload_bytes, done, count } = *self;
        if done == payload_bytes {
            return None;
        }
        let bytes = usize::from(context.mss).min(payload_bytes - done);
        let len = header_bytes + bytes;
        let frame = &mut frame[..len];
        frame[..header_bytes].copy_from_slice(&packet[..header_bytes]);
        frame[header_bytes..].copy_from_slice(&packet[header_bytes + done..][..bytes]);
        let (ip, upper) = (usize::from(context.ip_start), usize::from(context.l4_start));
        let put = |frame: &mut [u8], at: usize, value: u16| frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
        let get = |frame: &[u8], at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        if context.command & command::IP != 0 {
            put(frame, ip + 2, (len - ip) as u16);
            let identification = get(frame, ip + 4).wrapping_add(count);
            put(frame, ip + 4, identification);
        } else {
            put(frame, ip + 4, (len - ip).saturating_sub(40) as u16);
        }
        if context.command & command::TCP != 0 {
            let at = upper + 4;
            let sequence = u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
            frame[at..at + 4].copy_from_slice(&sequence.wrapping_add(done as u32).to_be_bytes());
            if done + bytes < payload_bytes {
                frame[upper + 13] &= !FIN_AND_PSH;
            }
        } else {
            put(frame, upper + 4, (len - upper) as u16);
        }
        let at = usize::from(context.l4_put);
        if options.1 && at + 2 <= len {
            // What is there is the sum of the pseudo header but for the length, which is each segment's own.
            let pseudo = [get(frame, at).to_be_bytes(), ((len - upper) as u16).to_be_bytes()];
            put(frame, at, ones_sum(pseudo.as_flattened()));
        }
        insert_by_context(frame, &context, options.0, options.1);
        (self.done, self.count) = (done + bytes, count.wrapping_add(1));
        Some(len)
    }
}
