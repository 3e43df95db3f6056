//! The system calls about memory and nodes, which have no safe form elsewhere.

#![allow(unsafe_code, reason = "memory policies, and anonymous memory")]

use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::io;
use std::ptr::NonNull;

/// `MPOL_MF_MOVE`: pages that nobody else has mapped.
const MOVE: libc::c_int = 2;

/// How memory is taken from nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Default,
    Bind,
    Preferred,
    Interleave,
}

impl Mode {
    fn number(self) -> libc::c_int {
        match self {
            Self::Default => libc::MPOL_DEFAULT,
            Self::Bind => libc::MPOL_BIND,
            Self::Preferred => libc::MPOL_PREFERRED,
            Self::Interleave => libc::MPOL_INTERLEAVE,
        }
    }
}

fn done(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A bit for each node, and how many bits the kernel is told of: it wants one more than there are.
fn mask(nodes: &[u32]) -> (Vec<libc::c_ulong>, libc::c_ulong) {
    let bits = libc::c_ulong::BITS;
    let words = nodes.iter().max().map_or(0, |most| most / bits + 1);
    let mut mask = vec![0; words as usize];
    for node in nodes {
        mask[(node / bits) as usize] |= 1 << (node % bits);
    }
    (mask, if nodes.is_empty() { 0 } else { libc::c_ulong::from(words * bits) + 1 })
}

/// From which nodes the calling thread takes memory from now on, that of files it reads included.
pub(super) fn set_thread_policy(mode: Mode, nodes: &[u32]) -> io::Result<()> {
    let (mask, bits) = mask(nodes);
    let mask = if nodes.is_empty() { std::ptr::null() } else { mask.as_ptr() };
    // SAFETY: the mask has at least as many bits as are told, or is absent; the call changes no memory.
    done(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode.number(), mask, bits) })
}

/// On which node each page lies; a negative number says why it lies nowhere.
pub(super) fn nodes_of(pages: &[usize]) -> io::Result<Vec<i32>> {
    let mut found = vec![0_i32; pages.len()];
    // In parts: the kernel keeps copies of the lists.
    for (pages, found) in pages.chunks(16_384).zip(found.chunks_mut(16_384)) {
        let none = std::ptr::null::<libc::c_int>();
        // SAFETY: as many addresses and answers as are told; without target nodes nothing is moved, and addresses
        // that are not mapped are answered with an error each.
        done(unsafe {
            libc::syscall(libc::SYS_move_pages, 0, pages.len(), pages.as_ptr(), none, found.as_mut_ptr(), 0)
        })?;
    }
    Ok(found)
}

/// Moves pages to a node, those of files included if nobody else has them mapped. The answer is how many are elsewhere
/// still.
pub(super) fn move_to(pages: &[usize], node: i32) -> io::Result<usize> {
    let mut left = 0;
    for pages in pages.chunks(16_384) {
        let (count, wanted) = (pages.len(), vec![node; pages.len()]);
        let mut found = vec![0_i32; count];
        // SAFETY: as many addresses, nodes and answers as are told; what lies at an address stays the same.
        done(unsafe {
            let (pages, wanted, found) = (pages.as_ptr(), wanted.as_ptr(), found.as_mut_ptr());
            libc::syscall(libc::SYS_move_pages, 0, count, pages, wanted, found, MOVE)
        })?;
        left += found.iter().filter(|now| **now != node).count();
    }
    Ok(left)
}

/// Anonymous memory, to be written by its owner.
#[derive(Debug)]
pub(super) struct Anonymous {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: it is memory like a vector's: reached through `&self` to read and `&mut self` to write.
unsafe impl Send for Anonymous {}
// SAFETY: as above.
unsafe impl Sync for Anonymous {}

impl Anonymous {
    /// Zeros; `len` is not 0.
    pub(super) fn new(len: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: new memory at an address of the kernel's choice.
        let start = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), len, protection, MapFlags::PRIVATE)? };
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("memory at address 0"))?;
        Ok(Self { start, len })
    }

    /// Takes its pages from these nodes. None of them may have been touched.
    pub(super) fn bind(&mut self, mode: Mode, nodes: &[u32]) -> io::Result<()> {
        let (mask, bits) = mask(nodes);
        let (start, len) = (self.start.as_ptr(), self.len);
        // SAFETY: the range is ours, and the mask has at least as many bits as are told.
        done(unsafe { libc::syscall(libc::SYS_mbind, start, len, mode.number(), mask.as_ptr(), bits, 0) })
    }

    /// Asks for pages of two megabytes.
    pub(super) fn want_huge_pages(&mut self) -> io::Result<()> {
        // SAFETY: the range is ours, and the advice changes no byte of it.
        unsafe { rustix::mm::madvise(self.start.as_ptr().cast(), self.len, Advice::LinuxHugepage) }.map_err(Into::into)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: ours, mapped, readable, and borrowed like `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: ours, mapped, writable, and borrowed like `self`.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Anonymous {
    fn drop(&mut self) {
        // SAFETY: mapped by new, and no borrow of it is left.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
