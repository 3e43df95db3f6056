//! Content that travels as it was compressed on the disk: one extent of btrfs, at most 128 KiB when decompressed.

use super::command::Extent;
use crate::base::{Error, Result};
use std::io::Read;

/// The window of btrfs's own compression; what wants more memory is none of its making.
const WINDOW_LOG: u32 = 17;

/// The bytes of the file that an extent gives; its lengths were checked by the gate.
pub(super) fn decode(extent: &Extent, data: &[u8]) -> Result<Vec<u8>> {
    let length = usize::try_from(extent.length).unwrap_or_default();
    let mut bytes = match extent.compression {
        0 => data[..data.len().min(length)].to_vec(),
        1 => miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(data, length)
            .map_err(|e| Error::untrusted(format!("compressed content cannot be decompressed: {e}")))?,
        _ => {
            // What follows the frame fills its last sector.
            let mut bytes = Vec::with_capacity(length);
            let read = zstd::Decoder::with_buffer(data).map(zstd::Decoder::single_frame).and_then(|mut decoder| {
                decoder.window_log_max(WINDOW_LOG)?;
                decoder.take(extent.length).read_to_end(&mut bytes)
            });
            read.map_err(|e| Error::untrusted(format!("compressed content cannot be decompressed: {e}")))?;
            bytes
        }
    };
    // As btrfs does: what the data do not give is zero.
    bytes.resize(length, 0);
    let start = usize::try_from(extent.offset).unwrap_or_default();
    let count = usize::try_from(extent.file_length).unwrap_or_default();
    bytes.truncate(start + count);
    bytes.drain(..start);
    Ok(bytes)
}
