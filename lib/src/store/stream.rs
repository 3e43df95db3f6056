//! Long writes that leave the memory of others alone.
//!
//! The page cache is one for the whole machine, whatever subvolume a file is in: a stream of two gigabytes pushes out
//! everything that was there. One that has its pages written and dropped behind it, eight megabytes at a time, pushes
//! out nothing, on every file system, at the same speed.

#![allow(unsafe_code, reason = "sync_file_range has no safe form")]

use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;

/// Bytes that may wait to be written, and the most that are in memory behind the stream.
const WINDOW: u64 = 8 << 20;

/// Writes to a file from where it is, dropping what is written from memory.
#[derive(Debug)]
pub struct Stream {
    file: File,
    written: u64,
    /// Up to here it was dropped.
    dropped: u64,
}

impl Stream {
    /// A stream into `file`, which was written up to `from`.
    #[must_use]
    pub fn new(file: File, from: u64) -> Self {
        Self { file, written: from, dropped: from }
    }

    /// Has everything on the disk, drops it from memory, and gives the file back.
    pub fn finish(mut self) -> io::Result<File> {
        self.file.sync_data()?;
        drop_pages(&self.file, self.dropped, self.written - self.dropped)?;
        self.dropped = self.written;
        Ok(self.file)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        // Two windows: one is on its way to the disk while the other fills.
        while self.written - self.dropped >= 2 * WINDOW {
            write_back(&self.file, self.dropped, WINDOW, true)?;
            drop_pages(&self.file, self.dropped, WINDOW)?;
            self.dropped += WINDOW;
            write_back(&self.file, self.dropped, WINDOW, false)?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Has pages written to the disk, and waits for it or not. It says nothing about what the disk keeps in a power cut.
fn write_back(file: &File, from: u64, len: u64, waits: bool) -> io::Result<()> {
    let before = if waits { libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WAIT_AFTER } else { 0 };
    let (from, len) = (from.cast_signed(), len.cast_signed());
    // SAFETY: an open file and two numbers; no memory is touched.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), from, len, before | libc::SYNC_FILE_RANGE_WRITE) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Drops pages that are on the disk from memory; all of the file for a `len` of 0.
pub fn drop_pages(file: &File, from: u64, len: u64) -> io::Result<()> {
    fadvise(file, from, std::num::NonZeroU64::new(len), Advice::DontNeed).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_is_streamed_is_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stream");
        let mut stream = Stream::new(File::create(&path).unwrap(), 0);
        let part: Vec<u8> = (0..=255).cycle().take(1_000_003).collect();
        for _ in 0..40 {
            stream.write_all(&part).unwrap();
        }
        stream.finish().unwrap();
        let mut read = Vec::new();
        File::open(&path).unwrap().read_to_end(&mut read).unwrap();
        assert!(read.len() == 40 * part.len() && read.chunks(part.len()).all(|chunk| chunk == part));
    }
}
