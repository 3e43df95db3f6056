//! Streams made here: the same that `btrfs send` makes of a folder, for file systems that are not btrfs.

use super::command::{Attribute as A, Code};
use super::{MAGIC, crc::crc32c};
use crate::base::{Error, Result};
use std::io::{Read, Write};

/// Bytes of content in one command, as the kernel has it in version 1.
const CHUNK: usize = 48 << 10;
/// What a stream of ours is made in: no transaction of any btrfs, the same for everybody.
const CTRANSID: u64 = 1;
/// The number that the first file of a subvolume has.
const FIRST_INODE: u64 = 257;

/// Writes the commands of a stream.
#[derive(Debug)]
pub struct Encoder<W> {
    to: W,
    version: u32,
    body: Vec<u8>,
    inode: u64,
}

impl<W: Write> Encoder<W> {
    /// Begins a stream of version 1 or 2.
    pub fn new(mut to: W, version: u32) -> Result<Self> {
        let header = [&MAGIC[..], &version.to_le_bytes()].concat();
        to.write_all(&header).map_err(|e| failed(&e))?;
        Ok(Self { to, version, body: Vec::new(), inode: FIRST_INODE })
    }

    /// Writes any command. Attributes longer than 65,535 bytes are cut, but for the content in version 2.
    pub fn command(&mut self, code: Code, attributes: &[(A, &[u8])]) -> Result<()> {
        self.body.clear();
        for (attribute, value) in attributes {
            self.body.extend((*attribute as u16).to_le_bytes());
            let mut value = *value;
            if self.version < 2 || *attribute != A::Data {
                let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
                value = &value[..usize::from(length)];
                self.body.extend(length.to_le_bytes());
            }
            self.body.extend(value);
        }
        let length =
            u32::try_from(self.body.len()).map_err(|_| Error::failed("a command is too long to be written"))?;
        let start = [&length.to_le_bytes()[..], &code.0.to_le_bytes()].concat();
        let sum = [&start[..], &[0; 4], &self.body].into_iter().fold(0, crc32c);
        let parts = [&start[..], &sum.to_le_bytes(), &self.body];
        parts.into_iter().try_for_each(|part| self.to.write_all(part)).map_err(|e| failed(&e))
    }

    /// The subvolume that everything after it is in.
    pub fn subvolume(&mut self, name: &str, uuid: &[u8; 16]) -> Result<()> {
        let attributes = [(A::Path, name.as_bytes()), (A::Uuid, uuid), (A::Ctransid, &CTRANSID.to_le_bytes())];
        self.command(Code::SUBVOLUME, &attributes)
    }

    /// A folder.
    pub fn folder(&mut self, path: &str) -> Result<()> {
        self.make(Code::MAKE_FOLDER, path)?;
        self.chmod(path, 0o755)
    }

    /// A file with everything `content` gives; how many bytes those were.
    pub fn file(&mut self, path: &str, mut content: impl Read) -> Result<u64> {
        self.make(Code::MAKE_FILE, path)?;
        let mut chunk = Vec::with_capacity(CHUNK);
        let mut offset = 0;
        loop {
            chunk.clear();
            let read = content.by_ref().take(CHUNK as u64).read_to_end(&mut chunk);
            read.map_err(|e| Error::failed(format!("could not read: {e}")).on(path))?;
            if chunk.is_empty() {
                break;
            }
            self.write(path, offset, &chunk)?;
            offset += chunk.len() as u64;
        }
        self.chmod(path, 0o644)?;
        Ok(offset)
    }

    fn make(&mut self, code: Code, path: &str) -> Result<()> {
        // Nothing is done with the number, but `btrfs receive` wants one.
        let inode = self.inode.to_le_bytes();
        self.inode += 1;
        self.command(code, &[(A::Path, path.as_bytes()), (A::Ino, &inode)])
    }

    /// Content at a place of a file that is there.
    pub fn write(&mut self, path: &str, offset: u64, data: &[u8]) -> Result<()> {
        let offset = offset.to_le_bytes();
        self.command(Code::WRITE, &[(A::Path, path.as_bytes()), (A::FileOffset, &offset), (A::Data, data)])
    }

    /// Permissions; an empty path is the subvolume's own.
    pub fn chmod(&mut self, path: &str, mode: u64) -> Result<()> {
        self.command(Code::CHMOD, &[(A::Path, path.as_bytes()), (A::Mode, &mode.to_le_bytes())])
    }

    /// Ends the stream.
    pub fn end(mut self) -> Result<W> {
        self.command(Code::END, &[])?;
        self.to.flush().map_err(|e| failed(&e))?;
        Ok(self.to)
    }
}

fn failed(error: &std::io::Error) -> Error {
    Error::failed(format!("could not write the stream: {error}"))
}
