//! A stream to a tree, whatever the tree is made of.

use super::extent;
use super::gate::{Gate, Limits, Order, Subvolume, Tree};
use super::read::Reader;
use crate::base::Result;
use std::io::Read;

/// What a stream held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The subvolume that was sent.
    pub subvolume: Subvolume,
    /// Its files and folders.
    pub tree: Tree,
}

/// Where the files and folders of a stream are made: a folder, or memory.
pub trait Sink {
    /// Makes an empty file.
    fn make_file(&mut self, path: &str) -> Result<()>;
    /// Makes a folder.
    fn make_folder(&mut self, path: &str) -> Result<()>;
    /// Gives a file or folder another name, where nothing is.
    fn rename(&mut self, path: &str, to: &str) -> Result<()>;
    /// Writes into a file.
    fn write(&mut self, path: &str, offset: u64, data: &[u8]) -> Result<()>;
    /// Reads a part of a file that is there.
    fn read(&mut self, path: &str, offset: u64, buffer: &mut [u8]) -> Result<()>;
    /// Sets the size of a file.
    fn truncate(&mut self, path: &str, size: u64) -> Result<()>;
}

/// Reads a stream to its end and makes what it holds in `sink`, where nothing is yet. When it fails, what was made until
/// then is the caller's to remove.
pub fn unpack(stream: impl Read, limits: Limits, sink: &mut impl Sink) -> Result<Unpacked> {
    let mut reader = Reader::open(stream)?;
    let mut gate = Gate::new(limits);
    while let Some(command) = reader.next_command()? {
        match gate.admit(&command)? {
            Order::Nothing => {}
            Order::MakeFile { path } => sink.make_file(path)?,
            Order::MakeFolder { path } => sink.make_folder(path)?,
            Order::Rename { path, to } => sink.rename(path, to)?,
            Order::Write { path, offset, data } => sink.write(path, offset, data)?,
            Order::WriteExtent { path, offset, extent, data } => {
                let data = extent::decode(&extent, data).map_err(|e| e.on(path))?;
                sink.write(path, offset, &data)?;
            }
            Order::Copy { path, offset, length, from, from_offset } => {
                copy(sink, path, offset, length, from, from_offset)?;
            }
            Order::Truncate { path, size } => sink.truncate(path, size)?,
        }
    }
    let (subvolume, tree) = gate.finish()?;
    Ok(Unpacked { subvolume, tree })
}

fn copy(sink: &mut impl Sink, path: &str, offset: u64, length: u64, from: &str, from_offset: u64) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut done = 0;
    while done < length {
        let count = usize::try_from(length - done).unwrap_or(usize::MAX).min(buffer.len());
        sink.read(from, from_offset + done, &mut buffer[..count])?;
        sink.write(path, offset + done, &buffer[..count])?;
        done += count as u64;
    }
    Ok(())
}
