//! ONNX Runtime as it is published: the libraries out of an archive of it, whichever kind that is.
//!
//! Nothing is written here, and names in an archive are compared and never followed.

use crate::base::{Error, Result};
use flate2::read::GzDecoder;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use tar::Archive;
use zip::ZipArchive;

/// What one library may have, and all of them; the largest that is published for processors has 50 MB, for GPUs 400.
const MAX_BYTES: u64 = 2 << 30;

const HINT: &str = "the archive of a release, a Python wheel or libonnxruntime.so itself will do";

/// The libraries in `bytes`, each with its name: `bytes` is a library itself, a tar archive, also packed by gzip, or a zip
/// archive such as a Python wheel.
pub fn libraries(bytes: Vec<u8>) -> Result<Vec<(String, Vec<u8>)>> {
    let found = match &bytes[..] {
        [0x7f, b'E', b'L', b'F', ..] => vec![("libonnxruntime.so".to_owned(), bytes)],
        [0x1f, 0x8b, ..] => of_tar(GzDecoder::new(&bytes[..]))?,
        [b'P', b'K', 3, 4, ..] => of_zip(&bytes)?,
        _ => of_tar(&bytes[..])?,
    };
    if found.iter().any(|(name, _)| is_runtime(name)) {
        return Ok(found);
    }
    Err(Error::bad_input("there is no libonnxruntime.so in it").hint(HINT))
}

/// The libraries in a folder, each with its name. Links are left out: what they lead to is there, too.
pub fn in_folder(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let attempt = |e: std::io::Error| Error::io("read the folder", folder, &e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(attempt)? {
        let entry = entry.map_err(attempt)?;
        let is_plain = entry.file_type().is_ok_and(|kind| kind.is_file());
        found.extend(
            library(&entry.file_name().to_string_lossy()).filter(|_| is_plain).map(|name| (name, entry.path())),
        );
    }
    found.sort();
    if found.iter().any(|(name, _)| is_runtime(name)) {
        return Ok(found);
    }
    Err(Error::bad_input("there is no libonnxruntime.so in this folder"))
}

/// The library that is opened; the others are providers that it opens.
fn is_runtime(name: &str) -> bool {
    name == "libonnxruntime.so" || name.starts_with("libonnxruntime.so.")
}

/// The last part of the name of a library of ONNX Runtime.
fn library(path: &str) -> Option<String> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_library = is_runtime(name) || (name.starts_with("libonnxruntime_providers_") && name.ends_with(".so"));
    is_library.then(|| name.to_owned())
}

fn of_tar(bytes: impl Read) -> Result<Vec<(String, Vec<u8>)>> {
    let wrong = |error: std::io::Error| Error::bad_input(format!("the archive cannot be read: {error}")).hint(HINT);
    let mut found = Vec::new();
    let mut archive = Archive::new(bytes.take(MAX_BYTES));
    for entry in archive.entries().map_err(wrong)? {
        let mut entry = entry.map_err(wrong)?;
        let name = entry.path().ok().and_then(|path| library(&path.to_string_lossy()));
        // The names that are links lead to the one that is not.
        if let (Some(name), true) = (name, entry.header().entry_type().is_file()) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(wrong)?;
            found.push((name, bytes));
        }
    }
    Ok(found)
}

fn of_zip(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let wrong = |error: String| Error::bad_input(format!("the archive cannot be read: {error}")).hint(HINT);
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| wrong(error.to_string()))?;
    let (mut found, mut left) = (Vec::new(), MAX_BYTES);
    for at in 0..archive.len() {
        let entry = archive.by_index(at).map_err(|error| wrong(error.to_string()))?;
        let Some(name) = entry.name().ok().and_then(|name| library(&name)) else { continue };
        let mut bytes = Vec::new();
        let read = entry.take(left).read_to_end(&mut bytes).map_err(|error| wrong(error.to_string()))?;
        left -= read as u64;
        found.push((name, bytes));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn libraries_are_found_in_each_kind() {
        let wanted = vec![
            ("libonnxruntime.so.1.32.0".to_owned(), b"\x7fELF1".to_vec()),
            ("libonnxruntime_providers_shared.so".to_owned(), b"\x7fELF2".to_vec()),
        ];
        let files: [(&str, &[u8]); 4] = [
            ("onnxruntime/README.md", b"x"),
            ("onnxruntime/lib/libonnxruntime.so.1.32.0", b"\x7fELF1"),
            ("onnxruntime/lib/libonnxruntime_providers_shared.so", b"\x7fELF2"),
            ("onnxruntime/lib/libother.so", b"\x7fELF3"),
        ];
        let plain = tar(&files);
        assert_eq!(libraries(plain.clone()).unwrap(), wanted);
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&plain).unwrap();
        assert_eq!(libraries(packed.finish().unwrap()).unwrap(), wanted);
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in files {
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        assert_eq!(libraries(zip.finish().unwrap().into_inner()).unwrap(), wanted);
        assert_eq!(libraries(b"\x7fELF1".to_vec()).unwrap()[0].0, "libonnxruntime.so");
    }

    #[test]
    fn what_is_none_is_refused() {
        let mut whole = tar(&[("lib/libonnxruntime.so.1", &[7; 4000])]);
        assert!(libraries(whole.clone()).is_ok());
        whole.truncate(2000);
        for wrong in
            [whole, vec![], b"PK\x03\x04 and then nothing".to_vec(), vec![0x1f, 0x8b, 8, 0, 1], vec![b'x'; 5000]]
        {
            assert!(libraries(wrong).is_err());
        }
        assert!(libraries(tar(&[("x/libonnxruntime.so/y", b"")])).is_err());
    }
}
