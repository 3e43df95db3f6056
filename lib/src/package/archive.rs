//! The compressed file a package is: `NAME-vVERSION.btrfs.zst`, exactly what `btrfs send | zstd` writes.

use crate::base::name::PluginName;
use crate::base::{Error, Result};
use semver::Version;
use std::io::{self, Read, Write};

/// Bytes a package may have, compressed. It is kept in memory from its signature's check to its last byte, so that what
/// is unpacked is what was verified.
pub const MAX_BYTES: u64 = 16 << 20;
/// The most a decompressor may remember: `zstd -19` wants no more, and a forged frame could ask for gigabytes.
const WINDOW_LOG: u32 = 23;
/// Packages are compressed once and read often.
const LEVEL: i32 = 19;
const SUFFIX: &str = ".btrfs.zst";

/// The name of a package's file.
#[must_use]
pub fn file_name(name: &PluginName, version: &Version) -> String {
    format!("{name}-v{version}{SUFFIX}")
}

/// What a file's name says it is, when it is named as packages are.
#[must_use]
pub fn parse_file_name(file: &str) -> Option<(PluginName, Version)> {
    let stem = file.strip_suffix(SUFFIX)?;
    // Names may hold "-v" and versions too: the one whose right side is a version.
    stem.match_indices("-v").find_map(|(at, _)| {
        let version = Version::parse(&stem[at + 2..]).ok()?;
        Some((PluginName::new(&stem[..at]).ok()?, version))
    })
}

/// The stream in a package. What it gives is not bounded; its memory is.
pub fn decompress(bytes: &[u8]) -> Result<impl Read> {
    let attempt = |e: &io::Error| Error::untrusted(format!("the package cannot be decompressed: {e}"));
    if !bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Err(Error::untrusted("this is no package: it is not compressed with zstd")
            .hint("a package is what btrfs send | zstd writes"));
    }
    let mut decoder = zstd::Decoder::with_buffer(bytes).map_err(|e| attempt(&e))?;
    decoder.window_log_max(WINDOW_LOG).map_err(|e| attempt(&e))?;
    Ok(decoder)
}

/// Compresses a stream; the same bytes each time.
pub fn compress(stream: &[u8]) -> Result<Vec<u8>> {
    let attempt = |e: io::Error| Error::failed(format!("could not compress the package: {e}"));
    let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL).map_err(attempt)?;
    encoder.include_checksum(true).map_err(attempt)?;
    // Knowing the size, it takes no more memory than that size is worth.
    encoder.set_pledged_src_size(Some(stream.len() as u64)).map_err(attempt)?;
    encoder.write_all(stream).and_then(|()| encoder.finish()).map_err(attempt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names() {
        let parsed = |file: &str| parse_file_name(file).map(|(name, version)| format!("{name} {version}"));
        assert_eq!(parsed("packagekit-v1.0.0.btrfs.zst").as_deref(), Some("packagekit 1.0.0"));
        assert_eq!(parsed("a-v2-v1.0.0-v3.btrfs.zst").as_deref(), Some("a-v2 1.0.0-v3"));
        assert_eq!(parsed("x-v1.0.0-rc.1+b.btrfs.zst").as_deref(), Some("x 1.0.0-rc.1+b"));
        for other in
            ["packagekit.btrfs.zst", "x-v1.btrfs.zst", "X-v1.0.0.btrfs.zst", "x-v1.0.0.zst", "-v1.0.0.btrfs.zst"]
        {
            assert_eq!(parsed(other), None, "{other}");
        }
    }

    #[test]
    fn what_asks_for_much_memory_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
        let bytes = encoder.finish().unwrap();
        let read = decompress(&bytes).unwrap().read_to_end(&mut Vec::new());
        assert!(read.unwrap_err().to_string().contains("memory"));
        assert!(decompress(b"btrfs-stream\0").is_err());
        let fine = compress(b"text").unwrap();
        let mut text = String::new();
        decompress(&fine).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
    }
}
