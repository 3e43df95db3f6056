//! What an access takes, from a text to its vector: the first time, the second, after a reboot and the third; each taken
//! apart, and saving both with and without waiting for the disk.

use crate::base::{Error, Result};
use crate::embed::Embedder;
use crate::embed::cache::{Cache, Keys, Options, Saved};
use crate::embed::codec::{self, VectorType};
use crate::embed::documents::Span;
use crate::store::file::Durability;
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::path::Path;
use std::time::Instant;

/// The whole of an access.
pub(super) const ALL: &str = "all";
pub(super) const SECOND: &str = "second";
pub(super) const REBOOT: &str = "after a reboot";
pub(super) const LOOK_UP: &str = "look it up in the index";
pub(super) const RECORD: &str = "read, check and copy the record";
pub(super) const FSYNC: &str = "all, with fsync";
const FIRST: &str = "first";
const COMPUTE: &str = "compute";
const SAVE: &str = "save, with fsync";
const OPEN: &str = "open the cache";

/// What the founding document says of it, in microseconds.
const FOUNDING: &[(&str, &str, f64)] = &[
    (FIRST, COMPUTE, 10_000.0),
    (FIRST, SAVE, 1000.0),
    (FIRST, FSYNC, 11_000.0),
    (SECOND, LOOK_UP, 100.0),
    // A hit of the page cache, and decompressing.
    (SECOND, RECORD, 60.0),
    (SECOND, ALL, 160.0),
    (REBOOT, ALL, 5000.0),
    ("third", ALL, 100.0),
];

/// Times of parts of accesses, round by round.
#[derive(Default)]
pub(super) struct Accesses(Vec<(&'static str, &'static str, Vec<f64>)>);

impl Accesses {
    fn note(&mut self, access: &'static str, part: &'static str, us: f64) -> f64 {
        match self.0.iter_mut().find(|(a, p, _)| (*a, *p) == (access, part)) {
            Some((.., times)) => times.push(us),
            None => self.0.push((access, part, vec![us])),
        }
        us
    }

    /// The median, in microseconds.
    pub(super) fn us(&self, access: &str, part: &str) -> f64 {
        let found = self.0.iter().find(|(a, p, _)| (*a, *p) == (access, part));
        found.map_or(f64::NAN, |(.., times)| super::bench::median(&mut times.clone()))
    }

    /// The table's rows.
    pub(super) fn spans(&self) -> Vec<Span> {
        let founding = |access, part| FOUNDING.iter().find(|(a, p, _)| (*a, *p) == (access, part)).map(|(.., us)| *us);
        let span = |(access, part, _): &(&'static str, &'static str, _)| Span {
            access,
            part,
            us: self.us(access, part),
            founding_us: founding(*access, *part),
        };
        self.0.iter().map(span).collect()
    }
}

fn us(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e6
}

/// What is measured.
pub(super) struct Measured<'a> {
    pub embedder: &'a mut Embedder,
    pub keys: &'a Keys,
    pub vector_type: VectorType,
    /// A cache that waits for the disk.
    pub durable: &'a Path,
    /// One that does not.
    pub loose: &'a Path,
}

impl Measured<'_> {
    /// A text's way, all of it; the text's vector as it was computed.
    pub(super) fn round(&mut self, round: usize, times: &mut Accesses) -> Result<Vec<f32>> {
        let text = match round % 5 {
            0 => format!("Creating container {round}00"),
            1 => format!("Backup of VM 10{round} failed: no space left on device"),
            2 => format!("Password changed for user{round}"),
            3 => format!("Restarted service nginx on web{round}"),
            _ => format!("Node pve{round} joined the cluster"),
        };
        let begun = Instant::now();
        let key = self.keys.of(&text);
        let mut all = times.note(FIRST, "key", us(begun));
        let begun = Instant::now();
        let tokens = self.embedder.tokenizer()?.tokens(&text)?.ids;
        all += times.note(FIRST, "tokenize", us(begun));
        let begun = Instant::now();
        let mut vector = self.embedder.engine()?.run(&[&tokens])?;
        let computed = vector.clone();
        codec::round_trip(self.vector_type, &mut vector);
        all += times.note(FIRST, COMPUTE, us(begun));
        let open = |folder: &Path, durability| Cache::open(folder, Options { durability, ..Options::default() });
        let cache = open(self.durable, Durability::Durable)?;
        let begun = Instant::now();
        let saved = cache.put(&[(key, &vector, 1)])?;
        let with = times.note(FIRST, SAVE, us(begun));
        parts(times, &saved, WITH);
        let loose = open(self.loose, Durability::Cache)?;
        let begun = Instant::now();
        let saved = loose.put(&[(key, &vector, 1)])?;
        let without = times.note(FIRST, "save, without fsync", us(begun));
        parts(times, &saved, WITHOUT);
        times.note(FIRST, FSYNC, all + with);
        times.note(FIRST, "all, without fsync", all + without);
        // The segment that was just written is mapped by the first question after it.
        self.hit(&cache, &text, &vector, "", &mut Accesses::default())?;
        let second = self.hit(&cache, &text, &vector, SECOND, times)?;
        times.note(SECOND, ALL, second);
        drop(cache);
        forget(self.durable);
        let begun = Instant::now();
        let cache = open(self.durable, Durability::Durable)?;
        let opening = times.note(REBOOT, OPEN, us(begun));
        let reboot = self.hit(&cache, &text, &vector, REBOOT, times)?;
        times.note(REBOOT, ALL, opening + reboot);
        let third = self.hit(&cache, &text, &vector, "third", times)?;
        times.note("third", ALL, third);
        Ok(computed)
    }

    fn hit(
        &self,
        cache: &Cache,
        text: &str,
        vector: &[f32],
        access: &'static str,
        times: &mut Accesses,
    ) -> Result<f64> {
        let mut out = vec![0f32; vector.len()];
        let begun = Instant::now();
        let key = self.keys.of(text);
        let mut all = times.note(access, "key", us(begun));
        let begun = Instant::now();
        let is_known = cache.is_indexed(&key);
        all += times.note(access, LOOK_UP, us(begun));
        // Reading looks it up again; from memory, now.
        let begun = Instant::now();
        std::hint::black_box(cache.is_indexed(&key));
        let again = us(begun);
        let begun = Instant::now();
        let found = cache.get(&key, &mut out)?;
        all += times.note(access, RECORD, (us(begun) - again).max(0.0));
        if !is_known || found.is_none() || out != vector {
            return Err(Error::failed("what was saved a moment ago is not there, so nothing can be measured"));
        }
        Ok(all)
    }
}

const WITH: [&str; 5] = [
    "save, with fsync: lock, open the index",
    "save, with fsync: write the record",
    "save, with fsync: wait for the disk",
    "save, with fsync: commit the index",
    "save, with fsync: update the fast index",
];
const WITHOUT: [&str; 5] = [
    "save, without fsync: lock, open the index",
    "save, without fsync: write the record",
    "save, without fsync: wait for the disk",
    "save, without fsync: commit the index",
    "save, without fsync: update the fast index",
];

fn parts(times: &mut Accesses, saved: &Saved, names: [&'static str; 5]) {
    let parts = [saved.lock_ns, saved.write_ns, saved.sync_ns, saved.commit_ns, saved.index_ns];
    for (name, ns) in names.into_iter().zip(parts) {
        times.note(FIRST, name, ns as f64 / 1e3);
    }
}

/// Asks the kernel to forget a folder's pages, as a reboot does.
fn forget(folder: &Path) {
    let files = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in files(folder).chain(files(&folder.join("vectors"))).filter(|path| path.is_file()) {
        if let Ok(file) = File::open(path) {
            // What is not on the disk yet cannot be forgotten.
            let _ = file.sync_all();
            let _ = fadvise(&file, 0, None, Advice::DontNeed);
        }
    }
}
