//! CRC-32C (RFC 3720 section 12.1), by which Google Cloud KMS detects that a request or a response was damaged.

use crc::{CRC_32_ISCSI, Crc};

const CRC_32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    CRC_32C.checksum(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        // RFC 3720 appendix B.4, and the check value of CRC catalogues.
        assert_eq!(checksum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(checksum(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(checksum(b"123456789"), 0xe306_9283);
        assert_eq!(checksum(b""), 0);
    }
}
