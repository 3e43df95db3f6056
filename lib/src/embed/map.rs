//! A file in memory, read-only: nothing is ever written through it, so a full disk is an error of a write and not a signal.

#![allow(unsafe_code, reason = "mapping a file")]

use rustix::mm::{Advice, MapFlags, MlockFlags, ProtFlags};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// The first bytes of a file as memory that follows the file. It may reach beyond the file's end: whoever reads looks
/// at the length first.
#[derive(Debug)]
pub(in crate::embed) struct Map {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is only read, and stays mapped until the value is dropped.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// The first `len` bytes of `file`; `len` is not 0.
    pub(in crate::embed) fn new(file: &File, len: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice; no Rust object lies there.
        let start =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, ProtFlags::READ, MapFlags::SHARED, file.as_fd(), 0)? };
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("the file was mapped at address 0"))?;
        Ok(Self { start, len })
    }

    pub(in crate::embed) fn len(&self) -> usize {
        self.len
    }

    /// Bytes that lie within the file and that no writer changes any more.
    pub(in crate::embed) fn bytes(&self, from: usize, len: usize) -> &[u8] {
        assert!(from.checked_add(len).is_some_and(|end| end <= self.len), "outside of the map");
        // SAFETY: in bounds by the line above. A record is written once, before anything points at it; a file that
        // is changed in spite of that is caught by the record's checksum.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(from), len) }
    }

    /// The eight bytes at `offset` (a multiple of 8) as they are now, although a writer may be changing them.
    #[inline]
    pub(in crate::embed) fn word(&self, offset: usize) -> u64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len, "outside of the map");
        // SAFETY: in bounds and aligned by the line above; an atomic load of shared memory races with nothing.
        let word = unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(offset).cast()) };
        u64::from_le(word.load(Ordering::Acquire))
    }

    /// Reads pages ahead, now, by the calling thread: they land on its NUMA node.
    pub(in crate::embed) fn populate(&self, from: usize, len: usize) -> io::Result<()> {
        let (start, len) = self.pages(from, len);
        // SAFETY: within the mapping; the advice reads pages and changes nothing.
        unsafe { rustix::mm::madvise(start, len, Advice::LinuxPopulateRead) }.map_err(io::Error::from)
    }

    /// Keeps pages in memory, within the limit the process has.
    pub(in crate::embed) fn lock(&self, from: usize, len: usize) -> io::Result<()> {
        let (start, len) = self.pages(from, len);
        // SAFETY: within the mapping; locking changes no byte.
        unsafe { rustix::mm::mlock_with(start, len, MlockFlags::empty()) }.map_err(io::Error::from)
    }

    /// One byte a page of the first `len` bytes: odd when the page is in memory.
    pub(in crate::embed) fn residency(&self, len: usize) -> io::Result<Vec<u8>> {
        let len = len.min(self.len);
        let mut pages = vec![0_u8; len.div_ceil(PAGE)];
        // SAFETY: within the mapping, and the vector has a byte for each page.
        match unsafe { libc::mincore(self.start.as_ptr().cast(), len, pages.as_mut_ptr()) } {
            0 => Ok(pages),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The addresses of the pages that hold `len` bytes at `from`, to ask the kernel where they are.
    pub(in crate::embed) fn addresses(&self, from: usize, len: usize) -> impl Iterator<Item = usize> {
        let (start, len) = self.pages(from, len);
        (0..len).step_by(PAGE).map(move |at| start.addr() + at)
    }

    fn pages(&self, from: usize, len: usize) -> (*mut std::ffi::c_void, usize) {
        let first = from / PAGE * PAGE;
        let end = (from + len).min(self.len);
        (self.start.as_ptr().wrapping_add(first).cast(), end.saturating_sub(first))
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: mapped by new, and no borrow of it is left.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// The size of a page in the arithmetic here; where pages are larger, a few are asked about twice.
pub(in crate::embed) const PAGE: usize = 4096;
