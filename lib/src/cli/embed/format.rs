//! Vectors out: a record a line, the bare values, or a numpy array.

use crate::base::{Error, Result};
use crate::cli::Out;
use rustix::fs::{Mode, OFlags, SeekFrom};
use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};

/// How vectors are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON record a line; a table on a terminal.
    Ndjson,
    /// The values alone, 32-bit floats, least byte first, one vector after the other.
    Raw,
    /// A numpy array, as `numpy.load` reads it.
    Npy,
}

impl std::str::FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "ndjson" => Ok(Self::Ndjson),
            "raw" => Ok(Self::Raw),
            "npy" => Ok(Self::Npy),
            _ => Err(Error::usage(format!("{text:?} is no format")).hint("there are ndjson, raw and npy")),
        }
    }
}

/// The values as bytes.
pub fn bytes_of(vector: &[f32], out: &mut Vec<u8>) {
    out.reserve(vector.len() * 4);
    for value in vector {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// The header of a numpy array always has this length, so that the number of rows can be written last.
const NPY_HEADER: usize = 128;

/// A numpy array that is being written. Its header names the number of rows, which is known at the end: where standard
/// output is a file the header is written again then; else the rows wait in a file that has no name.
#[derive(Debug)]
pub struct Npy {
    dimension: usize,
    rows: u64,
    place: NpyPlace,
}

#[derive(Debug)]
enum NpyPlace {
    /// Standard output is a file, and the array begins here.
    Stdout(u64),
    Waiting(File),
}

impl Npy {
    /// Begins an array.
    pub fn begin(dimension: usize, out: &mut Out) -> Result<Self> {
        // An append-only file can be asked where it is, but not written elsewhere.
        let is_appended = rustix::fs::fcntl_getfl(rustix::stdio::stdout()).is_ok_and(|f| f.contains(OFlags::APPEND));
        let place = match rustix::fs::seek(rustix::stdio::stdout(), SeekFrom::Current(0)) {
            Ok(at) if !is_appended => {
                out.bytes(&npy_header(0, dimension))?;
                NpyPlace::Stdout(at)
            }
            _ => NpyPlace::Waiting(nameless()?),
        };
        Ok(Self { dimension, rows: 0, place })
    }

    /// Adds rows, as bytes.
    pub fn add(&mut self, bytes: &[u8], out: &mut Out) -> Result<()> {
        self.rows += (bytes.len() / (4 * self.dimension)) as u64;
        match &mut self.place {
            NpyPlace::Stdout(_) => out.bytes(bytes),
            NpyPlace::Waiting(file) => file.write_all(bytes).map_err(|e| waiting(&e)),
        }
    }

    /// Ends the array.
    pub fn end(self, out: &mut Out) -> Result<()> {
        let header = npy_header(self.rows, self.dimension);
        match self.place {
            NpyPlace::Stdout(at) => rustix::io::pwrite(rustix::stdio::stdout(), &header, at)
                .map(|_| ())
                .map_err(|e| Error::failed(format!("could not write the array's header: {e}"))),
            NpyPlace::Waiting(mut file) => {
                out.bytes(&header)?;
                file.rewind().map_err(|e| waiting(&e))?;
                let mut reader = BufReader::new(file);
                let mut block = vec![0; 1 << 16];
                while !out.is_closed() {
                    let count = reader.read(&mut block).map_err(|e| waiting(&e))?;
                    if count == 0 {
                        break;
                    }
                    out.bytes(&block[..count])?;
                }
                Ok(())
            }
        }
    }
}

fn waiting(error: &std::io::Error) -> Error {
    Error::failed(format!("could not keep the rows until their number is known: {error}"))
        .on("/var/tmp")
        .hint("write to a file instead of a pipe, or use --format raw")
}

fn nameless() -> Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let made = rustix::fs::open("/var/tmp", flags, Mode::from_raw_mode(0o600));
    made.map(File::from).map_err(|e| waiting(&e.into()))
}

fn npy_header(rows: u64, dimension: usize) -> Vec<u8> {
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend(((NPY_HEADER - 10) as u16).to_le_bytes());
    header.extend(format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dimension}), }}").bytes());
    header.resize(NPY_HEADER - 1, b' ');
    header.push(b'\n');
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_as_long_as_its_number_may_grow() {
        for rows in [0, u64::MAX] {
            let header = npy_header(rows, 65_536);
            assert_eq!((header.len(), header.last()), (NPY_HEADER, Some(&b'\n')));
            assert!(String::from_utf8_lossy(&header).contains(&format!("({rows}, 65536)")));
        }
    }
}
