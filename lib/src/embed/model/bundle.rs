//! A model as one file: a tar archive of its folder. What is no plain file with a plain name is refused, so that
//! unpacking writes nowhere but into the folder it was given.

use super::manifest::is_plain_name;
use crate::base::{Error, Result};
use std::fs::OpenOptions;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const BLOCK: usize = 512;
/// A model has a handful of files.
const MAX_FILES: usize = 16;

/// Unpacks an archive into `folder`, which is there and empty; `path` is what it is called.
pub(super) fn unpack(archive: impl Read, path: &Path, folder: &Path) -> Result<()> {
    let mut archive = BufReader::with_capacity(1 << 20, archive);
    let wrong = |what: &str| Error::bad_input(what).on(path.display().to_string());
    let mut count = 0;
    loop {
        let mut header = [0; BLOCK];
        if archive.read_exact(&mut header).is_err() {
            return Err(wrong("this is no model: neither a folder nor a whole tar archive"));
        }
        if header.iter().all(|&byte| byte == 0) {
            return if count > 0 { Ok(()) } else { Err(wrong("this archive is empty")) };
        }
        if checksum(&header) != octal(&header[148..156]) {
            return Err(wrong("this is no model: neither a folder nor a tar archive"));
        }
        let size = octal(&header[124..136]).ok_or_else(|| wrong("an entry of this archive has no size"))?;
        let name = text(&header[..100]);
        let name = name.strip_prefix("./").unwrap_or(&name).trim_end_matches('/');
        match header[156] {
            // A folder around or before the files says nothing.
            b'5' => continue,
            b'0' | 0 if size <= super::MAX_FILE_BYTES => {}
            _ => return Err(wrong(&format!("a model holds plain files, and {name:?} is something else"))),
        }
        // `tar c FOLDER` puts the folder's name before each file's.
        let name = name.rsplit_once('/').filter(|(above, _)| is_plain_name(above)).map_or(name, |(_, name)| name);
        count += 1;
        if !is_plain_name(name) || count > MAX_FILES {
            return Err(wrong(&format!("{name:?} is no file of a model")));
        }
        write(&mut archive, size, &folder.join(name)).map_err(|e| Error::io("unpack the model's file", path, &e))?;
    }
}

fn write(archive: &mut impl Read, size: u64, path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let copied = io::copy(&mut archive.take(size), &mut out)?;
    out.flush()?;
    if copied != size {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive was cut off"));
    }
    let padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    io::copy(&mut archive.take(padding), &mut io::sink())?;
    Ok(())
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = text(field);
    u64::from_str_radix(text.trim(), 8).ok()
}

/// The sum of a header's bytes, its own field counting as blanks.
fn checksum(header: &[u8; BLOCK]) -> Option<u64> {
    let byte = |(at, &byte): (usize, &u8)| u64::from(if (148..156).contains(&at) { b' ' } else { byte });
    Some(header.iter().enumerate().map(byte).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn entry(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut header = [0u8; BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        header[156] = kind;
        let sum = checksum(&header).unwrap();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut bytes = header.to_vec();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    fn unpacked(entries: &[Vec<u8>]) -> Result<Vec<(String, String)>> {
        let folder = tempfile::tempdir().unwrap();
        let archive = entries.concat();
        let to = folder.path().join("to");
        fs::create_dir(&to).unwrap();
        unpack(archive.as_slice(), Path::new("m.tar"), &to)?;
        let mut files: Vec<_> = fs::read_dir(&to)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|e| (e.file_name().into_string().unwrap(), fs::read_to_string(e.path()).unwrap()))
            .collect();
        files.sort();
        Ok(files)
    }

    #[test]
    fn files_with_and_without_a_folder_around_them() {
        let end = vec![0; 2 * BLOCK];
        let plain = [entry("a", b'0', b"1"), entry("./b", 0, b""), end.clone()];
        assert_eq!(unpacked(&plain).unwrap(), [("a".into(), "1".into()), ("b".into(), String::new())]);
        let around = [entry("m/", b'5', b""), entry("m/a", b'0', &[b'x'; 600]), end];
        assert_eq!(unpacked(&around).unwrap(), [("a".into(), "x".repeat(600))]);
    }

    #[test]
    fn nothing_is_written_elsewhere() {
        let end = vec![0; 2 * BLOCK];
        for name in ["../a", "/etc/a", "m/../a", "m/n/a", ".hidden", "a b"] {
            assert!(unpacked(&[entry(name, b'0', b"1"), end.clone()]).is_err(), "{name}");
        }
        for kind in [b'1', b'2', b'3', b'L', b'x'] {
            assert!(unpacked(&[entry("a", kind, b""), end.clone()]).is_err(), "{kind}");
        }
        assert!(unpacked(&[entry("a", b'0', b"1"), entry("a", b'0', b"2"), end.clone()]).is_err());
        assert!(unpacked(&[end]).is_err());
        assert!(unpacked(&[vec![b'x'; 700]]).is_err());
        let mut cut = entry("a", b'0', &[b'x'; 600]);
        cut.truncate(700);
        assert!(unpacked(&[cut]).is_err());
    }
}
