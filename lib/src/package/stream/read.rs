//! Bytes to commands. Every length is compared with what there is before anything is made of it.

use super::command::{ATTRIBUTES, Attribute as A, CloneSource, Code, Command, Extent};
use super::{COMMAND_HEADER, MAGIC, crc::crc32c};
use crate::base::{Error, Result};
use std::io::{ErrorKind, Read};
use std::ops::Range;

/// Largest command: version 1 has at most 64 KiB, version 2 a compressed extent (128 KiB) and a page or four.
const MAX_COMMAND: usize = 256 << 10;

/// Reads the commands of a stream, one at a time.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    version: u32,
    buffer: Vec<u8>,
    at: u64,
}

/// Where each attribute's value is in a command; the last byte is none of a value's.
type Found = [Option<Range<usize>>; ATTRIBUTES];

impl<R: Read> Reader<R> {
    /// Reads the beginning of a stream.
    pub fn open(from: R) -> Result<Self> {
        let mut reader = Self { from, version: 0, buffer: Vec::new(), at: 0 };
        let mut header = [0; MAGIC.len() + 4];
        if !reader.fill(&mut header)? || !header.starts_with(MAGIC) {
            return Err(Error::untrusted("this is no btrfs send stream").hint("make one with btrfs send"));
        }
        let [.., a, b, c, d] = header;
        reader.version = u32::from_le_bytes([a, b, c, d]);
        match reader.version {
            1 | 2 => Ok(reader),
            other => Err(Error::untrusted(format!("the btrfs stream has version {other}"))
                .hint("versions 1 and 2 are read: btrfs send --proto 2")),
        }
    }

    /// The version of the stream.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// How many bytes were read.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The next command; `None` where the stream ends between two.
    pub fn next_command(&mut self) -> Result<Option<Command<'_>>> {
        let start = self.at;
        let mut header = [0; COMMAND_HEADER];
        if !self.fill(&mut header)? {
            return Ok(None);
        }
        let [l0, l1, l2, l3, c0, c1, checksum @ ..] = header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let code = Code(u16::from_le_bytes([c0, c1]));
        let damaged = |what: String| Error::untrusted(what).on(format!("byte {start} of the stream"));
        if length > MAX_COMMAND {
            return Err(damaged(format!("a command says that it is {length} bytes long; {MAX_COMMAND} is the most")));
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(length, 0);
        if length > 0 && !self.fill(&mut buffer)? {
            return Err(cut(self.at));
        }
        self.buffer = buffer;
        let sum = [&header[..6], &[0; 4], &self.buffer].into_iter().fold(0, crc32c);
        if sum != u32::from_le_bytes(checksum) {
            return Err(damaged("a command's checksum does not fit it".into()));
        }
        let found = attributes(&self.buffer, self.version).map_err(damaged)?;
        let command = Attributes { bytes: &self.buffer, found }.command(code, self.version).map_err(|missing| {
            let what = code.what().unwrap_or("an unknown command");
            Error::untrusted(format!("{what} has {missing}")).on(format!("byte {start} of the stream"))
        })?;
        Ok(Some(command))
    }

    /// Fills `buffer`; false where nothing comes any more.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<bool> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.from.read(&mut buffer[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(cut(self.at)),
                Ok(count) => {
                    filled += count;
                    self.at += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(Error::untrusted(format!("the stream cannot be read on: {error}"))
                        .on(format!("byte {} of the stream", self.at)));
                }
            }
        }
        Ok(true)
    }
}

fn cut(at: u64) -> Error {
    Error::untrusted("the stream is cut off in the middle of a command")
        .on(format!("byte {at} of the stream"))
        .hint("fetch the package again")
}

fn attributes(bytes: &[u8], version: u32) -> Result<Found, String> {
    let mut found = Found::default();
    let mut at = 0;
    while at < bytes.len() {
        let Some(code) = bytes[at..].first_chunk().map(|two| u16::from_le_bytes(*two)) else {
            return Err("an attribute is cut off".into());
        };
        at += 2;
        let length = if version >= 2 && code == A::Data as u16 {
            bytes.len() - at
        } else {
            let Some(length) = bytes[at..].first_chunk().map(|two| u16::from_le_bytes(*two)) else {
                return Err(format!("attribute {code} is cut off"));
            };
            at += 2;
            usize::from(length)
        };
        let slot = found.get_mut(usize::from(code)).filter(|_| code != 0);
        let Some(slot) = slot else { return Err(format!("a command has the unknown attribute {code}")) };
        if length > bytes.len() - at {
            return Err(format!("attribute {code} says that it is {length} bytes long; {} are left", bytes.len() - at));
        }
        if slot.replace(at..at + length).is_some() {
            return Err(format!("a command has attribute {code} twice"));
        }
        at += length;
    }
    Ok(found)
}

struct Attributes<'a> {
    bytes: &'a [u8],
    found: Found,
}

impl<'a> Attributes<'a> {
    fn command(&self, code: Code, version: u32) -> Result<Command<'a>, String> {
        let path = || self.value(A::Path);
        Ok(match code {
            Code::SUBVOLUME => {
                Command::Subvolume { name: path()?, uuid: self.uuid(A::Uuid)?, ctransid: self.number(A::Ctransid)? }
            }
            Code::MAKE_FILE => Command::MakeFile { path: path()? },
            Code::MAKE_FOLDER => Command::MakeFolder { path: path()? },
            Code::RENAME => Command::Rename { path: path()?, to: self.value(A::PathTo)? },
            Code::WRITE => {
                Command::Write { path: path()?, offset: self.number(A::FileOffset)?, data: self.value(A::Data)? }
            }
            Code::ENCODED_WRITE if version >= 2 => Command::EncodedWrite {
                path: path()?,
                offset: self.number(A::FileOffset)?,
                extent: self.extent()?,
                data: self.value(A::Data)?,
            },
            Code::CLONE => Command::Clone {
                path: path()?,
                offset: self.number(A::FileOffset)?,
                length: self.number(A::CloneLength)?,
                source: CloneSource {
                    uuid: self.uuid(A::CloneUuid)?,
                    ctransid: self.number(A::CloneCtransid)?,
                    path: self.value(A::ClonePath)?,
                    offset: self.number(A::CloneOffset)?,
                },
            },
            Code::TRUNCATE => Command::Truncate { path: path()?, size: self.number(A::Size)? },
            Code::CHMOD => Command::Chmod { path: path()?, mode: self.number(A::Mode)? },
            Code::CHOWN | Code::TIMES => Command::Ignored { path: path()? },
            Code::FILE_ATTRIBUTES if version >= 2 => Command::Ignored { path: path()? },
            Code::SET_XATTR => Command::SetXattr { path: path()?, name: self.value(A::XattrName)? },
            Code::END => Command::End,
            _ => Command::Other { code, path: path().unwrap_or_default() },
        })
    }

    fn extent(&self) -> Result<Extent, String> {
        Ok(Extent {
            file_length: self.number(A::UnencodedFileLength)?,
            length: self.number(A::UnencodedLength)?,
            // Left out when zero.
            offset: self.number_or_zero(A::UnencodedOffset)?,
            compression: self.small(A::Compression)?,
            encryption: self.small(A::Encryption)?,
        })
    }

    fn value(&self, attribute: A) -> Result<&'a [u8], String> {
        match &self.found[attribute as usize] {
            Some(range) => Ok(&self.bytes[range.clone()]),
            None => Err(format!("no attribute {attribute:?}")),
        }
    }

    fn number(&self, attribute: A) -> Result<u64, String> {
        self.fixed(attribute).map(u64::from_le_bytes)
    }

    fn number_or_zero(&self, attribute: A) -> Result<u64, String> {
        if self.found[attribute as usize].is_none() { Ok(0) } else { self.number(attribute) }
    }

    /// A 32-bit number that is left out when zero.
    fn small(&self, attribute: A) -> Result<u32, String> {
        if self.found[attribute as usize].is_none() { Ok(0) } else { self.fixed(attribute).map(u32::from_le_bytes) }
    }

    fn uuid(&self, attribute: A) -> Result<[u8; 16], String> {
        self.fixed(attribute)
    }

    fn fixed<const N: usize>(&self, attribute: A) -> Result<[u8; N], String> {
        let value = self.value(attribute)?;
        value.try_into().map_err(|_| format!("the attribute {attribute:?} of {} bytes instead of {N}", value.len()))
    }
}
