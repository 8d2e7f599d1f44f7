//! The frame check sequence: CRC-32 of IEEE 802.3 (section 3.2.8 there), for the rare times when it passes through
//! memory.

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// Computes the four bytes after `frame`, in the order of the wire.
pub(crate) fn frame_check(frame: &[u8]) -> [u8; 4] {
    let crc = frame.iter().fold(!0u32, |crc, &byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)]);
    (!crc).to_le_bytes()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_usual_check_value_comes_out() {
        // CRC-32 of "123456789", the check value in catalogues of CRCs.
        assert_eq!(super::frame_check(b"123456789"), 0xcbf4_3926_u32.to_le_bytes());
    }
}
