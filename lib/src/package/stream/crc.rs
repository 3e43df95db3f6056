//! CRC32C as btrfs streams use it: started at zero and not inverted at the end. It finds accidents, it proves nothing.

const TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut at = 0;
    while at < 7 * 256 {
        let (table, byte) = (at / 256, at % 256);
        let crc = tables[table][byte];
        tables[table + 1][byte] = tables[0][(crc & 0xff) as usize] ^ crc >> 8;
        at += 1;
    }
    tables
}

/// The checksum so far, `bytes` added. A stream's commands start with 0.
#[must_use]
pub fn crc32c(mut crc: u32, bytes: &[u8]) -> u32 {
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        let all = u64::from_le_bytes(*eight) ^ u64::from(crc);
        crc = 0;
        for (i, byte) in all.to_le_bytes().into_iter().enumerate() {
            crc ^= TABLES[7 - i][usize::from(byte)];
        }
    }
    for byte in rest {
        crc = TABLES[0][usize::from(*byte ^ crc.to_le_bytes()[0])] ^ crc >> 8;
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_check_value() {
        // "123456789" with all bits set before and inverted after is the standard's example.
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(0, b""), 0);
        for split in 0..9 {
            let (a, b) = b"123456789".split_at(split);
            assert_eq!(!crc32c(crc32c(!0, a), b), 0xe306_9283, "{split}");
        }
    }
}
