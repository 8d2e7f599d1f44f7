//! What passes a card's cable: the capture that QEMU's `filter-dump` writes.

use anyhow::{Context, Result, bail};

/// Bytes before the first frame, and before each (draft-ietf-opsawg-pcap, sections 4 and 5).
const FILE_HEADER_BYTES: usize = 24;
const FRAME_HEADER_BYTES: usize = 16;

/// Frames that passed, in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    /// All of them.
    pub all: u64,
    /// Those in which a byte is not zero.
    pub with_content: u64,
}

impl Frames {
    /// Counts the frames of a capture.
    pub fn of(capture: &[u8]) -> Result<Frames> {
        let mut frames = Frames::default();
        let mut rest = capture.get(FILE_HEADER_BYTES..).context("a capture without its header")?;
        while !rest.is_empty() {
            let Some((header, after)) = rest.split_at_checked(FRAME_HEADER_BYTES) else { break };
            // The third of four words, in the order of the machine that wrote it: this one.
            let len = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]) as usize;
            let Some((frame, after)) = after.split_at_checked(len) else { bail!("a capture ends within a frame") };
            frames.all += 1;
            frames.with_content += u64::from(frame.iter().any(|&byte| byte != 0));
            rest = after;
        }
        Ok(frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(frames: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0; FILE_HEADER_BYTES];
        for frame in frames {
            bytes.extend([0; 8]);
            bytes.extend((frame.len() as u32).to_ne_bytes());
            bytes.extend((frame.len() as u32).to_ne_bytes());
            bytes.extend(*frame);
        }
        bytes
    }

    #[test]
    fn frames_of_zeros_are_distinguished_from_those_that_say_something() {
        let frames = Frames::of(&capture(&[&[0; 60], &[0, 0, 7], &[]])).unwrap();
        assert_eq!(frames, Frames { all: 3, with_content: 1 });
        assert_eq!(Frames::of(&capture(&[])).unwrap(), Frames::default());
    }

    #[test]
    fn half_a_frame_is_an_error() {
        let whole = capture(&[&[1; 60]]);
        assert!(Frames::of(&whole[..whole.len() - 1]).is_err());
        assert!(Frames::of(&[]).is_err());
    }
}
