//! The whole trail in a folder, for another machine or a day when this one is lost; and the way back.
//!
//! ```text
//! FOLDER/timing.btrfs vectors.btrfs state.btrfs    as btrfs send writes them, whatever the file system here is
//! FOLDER/manifest.json                             which head they have, and the digests of the three; signed with a key
//! ```
//!
//! What comes back is untrusted: it passes the gate of packages, and then `verify`, before anything is replaced.

use super::{Cli, input};
use crate::audit::chain::{Chain, Head};
use crate::audit::head::HeadDocument;
use crate::audit::keys::{Signer, Trusted};
use crate::audit::{events, verify};
use crate::base::digest::Plain;
use crate::base::{Error, Kind, Result, time};
use crate::package::stream::{Encoder, Folder, Limits, unpack};
use crate::store::stream::Stream;
use crate::store::volumes::names;
use crate::store::{Lock, StateRoot, Store, Wait};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fs::{self, File, Permissions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The volumes that are the trail, the one that decides last.
const VOLUMES: [&str; 3] = ["vectors", "state", "timing"];
const MANIFEST: &str = "manifest.json";
/// As much as may come back: a trail of years.
const LIMITS: Limits = Limits {
    bytes: 256 << 30,
    entries: 20_000_000,
    depth: 16,
    name_bytes: 255,
    commands: 200_000_000,
    time: Duration::from_secs(24 * 3600),
};

/// What a copy of the trail holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TrailCopy {
    /// Always `audit_copy`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// When it was made.
    pub time: String,
    /// The machine it was made on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<String>,
    /// The head of its trail.
    pub head: HeadDocument,
    /// The three streams.
    pub streams: Vec<CopiedVolume>,
    /// minisign's signature over this document without it, in canonical form.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signature: Option<String>,
}

/// One volume of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CopiedVolume {
    /// Its name: `timing`, `vectors` or `state`.
    pub volume: String,
    /// SHA-256 of its stream, as `sha256sum` prints it.
    pub sha256: String,
    /// Bytes of its stream.
    pub size: u64,
}

impl TrailCopy {
    fn signed_bytes(&self) -> Result<Vec<u8>> {
        let bare = Self { signature: None, ..self.clone() };
        let value = serde_json::to_value(bare).map_err(|e| Error::failed(e.to_string()))?;
        crate::audit::head::canonical(&value)
    }

    fn comment(&self) -> String {
        format!("op-dbus-audit-copy/1 number={} digest={}", self.head.number, self.head.digest)
    }

    /// Reads the manifest of a copy; where keys are trusted, it must be signed with one.
    fn read(folder: &Path, trusted: &Trusted) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let document = input::read_document(path.to_str())?;
        let copy: Self = serde_json::from_value(document.json()?)
            .map_err(|error| Error::bad_input(format!("this is no copy of a trail: {error}")).on(document.name))?;
        let mut found: Vec<&str> = copy.streams.iter().map(|stream| stream.volume.as_str()).collect();
        found.sort_unstable();
        if copy.kind != "audit_copy" || copy.version != 1 || found != ["state", "timing", "vectors"] {
            return Err(Error::bad_input("this is no copy of a trail").on(path.display().to_string()));
        }
        if !trusted.is_empty() {
            let signature = copy
                .signature
                .as_deref()
                .ok_or_else(|| Error::new(Kind::Untrusted, "the copy is not signed").on(path.display().to_string()))?;
            trusted.check(&copy.signed_bytes()?, &copy.comment(), signature)?;
        }
        Ok(copy)
    }
}

/// Everybody who changes the three volumes waits while these are held.
struct Locks {
    store: Store,
    _apply: Lock,
    _audit: Lock,
}

impl Locks {
    fn take(root: &StateRoot, wait: &mut Wait) -> Result<Self> {
        let lock = |path: &Path, wait: &mut Wait| {
            root.make_parent(path)?;
            Lock::take(path, wait.timeout, wait.on_wait, wait.is_interrupted)
        };
        let apply = lock(&root.lock(), wait)?;
        let store = Store::open(root, wait)?;
        Ok(Self { _audit: lock(&root.audit_lock(), wait)?, store, _apply: apply })
    }
}

fn volume(root: &StateRoot, name: &str) -> PathBuf {
    root.path().join(format!("@{name}"))
}

fn stream(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.btrfs"))
}

/// Copies the trail of `root` into `folder`, which is made.
pub fn export(root: &StateRoot, folder: &Path, signer: Option<&Signer>, cli: &mut Cli) -> Result<TrailCopy> {
    fs::DirBuilder::new().create(folder).map_err(|e| Error::io("make the folder of the copy", folder, &e))?;
    // The checkpoints say what was on this machine: for its owner alone.
    let _ = fs::set_permissions(folder, Permissions::from_mode(0o700));
    let locks = cli.waiting(None, |wait| Locks::take(root, wait))?;
    let chain = Chain::open(root)?;
    let head = HeadDocument::new(&chain.head()?, signer)?;
    let mut streams = Vec::new();
    for name in VOLUMES {
        let (sha256, size) = send(&volume(root, name), name, &stream(folder, name))?;
        streams.push(CopiedVolume { volume: name.into(), sha256, size });
    }
    drop(locks);
    let mut copy = TrailCopy {
        kind: "audit_copy".into(),
        version: 1,
        time: time::rfc3339(SystemTime::now()),
        host: cli.actor().host,
        head,
        streams,
        signature: None,
    };
    copy.signature = signer.map(|signer| signer.sign(&copy.signed_bytes()?, &copy.comment())).transpose()?;
    let text = serde_json::to_string(&copy).map_err(|e| Error::failed(e.to_string()))?;
    // Last: a copy without it was broken off.
    let manifest = folder.join(MANIFEST);
    crate::store::file::replace(&manifest, text.as_bytes(), crate::store::file::Durability::Durable)?;
    Ok(copy)
}

/// Digests and counts what is written through it.
struct Counted<W> {
    to: W,
    digest: Plain,
    size: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.digest.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn send(from: &Path, name: &str, to: &Path) -> Result<(String, u64)> {
    let attempt = |e: &io::Error| Error::io("write the copy", to, e);
    let file = File::options().write(true).create_new(true).open(to).map_err(|e| attempt(&e))?;
    let counted = Counted { to: BufWriter::new(Stream::new(file, 0)), digest: Plain::default(), size: 0 };
    let mut encoder = Encoder::new(counted, 1)?;
    let mut uuid = [0; 16];
    uuid[..name.len()].copy_from_slice(name.as_bytes());
    encoder.subvolume(&format!("@{name}"), &uuid)?;
    encoder.chmod("", 0o755)?;
    send_folder(&mut encoder, from, "")?;
    let Counted { to: file, digest, size } = encoder.end()?;
    let stream = file.into_inner().map_err(|e| attempt(e.error()))?;
    stream.finish().map_err(|e| attempt(&e))?;
    Ok((digest.finish(), size))
}

/// Locks, room that is kept and what is unfinished mean nothing elsewhere.
fn is_of_this_moment(name: &str) -> bool {
    name.starts_with('.') || name == "lock"
}

fn send_folder<W: Write>(encoder: &mut Encoder<W>, root: &Path, below: &str) -> Result<()> {
    for name in names(&root.join(below))? {
        if is_of_this_moment(&name) {
            continue;
        }
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        let full = root.join(&path);
        let attempt = |e: &io::Error| Error::io("read what is copied", &full, e);
        let kind = full.symlink_metadata().map_err(|e| attempt(&e))?.file_type();
        if kind.is_dir() {
            encoder.folder(&path)?;
            send_folder(encoder, root, &path)?;
        } else if kind.is_file() {
            encoder.file(&path, BufReader::new(File::open(&full).map_err(|e| attempt(&e))?))?;
        } else {
            return Err(Error::refused("the trail has no links, devices or pipes, and here is one")
                .on(full.display().to_string())
                .hint("op-audit verify says what else is wrong"));
        }
    }
    Ok(())
}

/// What is to come back, and how much it is believed.
pub struct Import<'a> {
    /// The folder of the copy.
    pub folder: &'a Path,
    /// Heads that were kept elsewhere.
    pub heads: &'a [Head],
    /// Keys of which one must have signed the copy, if there are any.
    pub trusted: &'a Trusted,
}

/// Takes a copy in: verified first, then exchanged for what is there, which must be none or its beginning.
pub fn import(root: &StateRoot, from: &Import, cli: &mut Cli) -> Result<TrailCopy> {
    let copy = TrailCopy::read(from.folder, from.trusted)?;
    let locks = cli.waiting(None, |wait| Locks::take(root, wait))?;
    let staging = locks.store.staging(root.path(), "import");
    let taken = take_in(root, from, &copy, &locks, &staging);
    if staging.exists() {
        let _ = fs::remove_dir_all(&staging);
    }
    taken?;
    drop(locks);
    let told = json!({"imported": {"number": copy.head.number, "digest": copy.head.digest, "time": copy.time}});
    let line = told.to_string();
    events::append(&Chain::open(root)?, line.as_bytes(), "op-audit import", &cli.actor(), &cli.program)?;
    Ok(copy)
}

fn take_in(root: &StateRoot, from: &Import, copy: &TrailCopy, locks: &Locks, staging: &Path) -> Result<()> {
    let volumes = locks.store.volumes();
    fs::create_dir(staging).map_err(|e| Error::io("make a folder of the state root", staging, &e))?;
    let staged = StateRoot::find(Some(staging))?;
    for stream_of in &copy.streams {
        let path = stream(from.folder, &stream_of.volume);
        let to = volume(&staged, &stream_of.volume);
        volumes.create(&to)?;
        receive(&path, stream_of, &to)?;
        for_its_owner(&to)?;
        volumes.sync(&to)?;
    }
    let chain = Chain::open(&staged)?;
    let mut heads = from.heads.to_vec();
    heads.push(copy.head.clone().into());
    let verdict = verify::verify_with(&chain, &heads, from.trusted, &mut |_, _| {})?;
    if !verdict.is_valid {
        let why = verdict.broken.map(|broken| format!("block {}: {}", broken.number, broken.why));
        let why = why.or_else(|| verdict.contradicted.first().cloned());
        let why = why.unwrap_or_else(|| format!("foreign files: {}", verdict.foreign.join(", ")));
        return Err(Error::new(Kind::Untrusted, format!("the copy is not taken in: {why}"))
            .on(from.folder.display().to_string()));
    }
    is_beginning(&Chain::open(root)?, &chain)?;
    for name in VOLUMES {
        let (staged, here) = (volume(&staged, name), volume(root, name));
        // An exchange is of two names in one folder.
        let beside = locks.store.staging(root.path(), name);
        volumes.rename(&staged, &beside)?;
        if volumes.look(&here)?.is_some() {
            volumes.exchange(&beside, &here)?;
            volumes.delete(&beside)?;
        } else {
            volumes.rename(&beside, &here)?;
        }
    }
    Ok(())
}

/// What is here must not be lost: it is nothing, or the copy has it too.
fn is_beginning(here: &Chain, copy: &Chain) -> Result<()> {
    let head = here.head()?;
    if head.number == 0 || copy.read(head.number).is_ok_and(|block| block.digest == head.digest) {
        return Ok(());
    }
    Err(Error::refused(format!("there is another trail here, of {} blocks, that the copy does not have", head.number))
        .on(here.folder().display().to_string())
        .hint("keep it with op-audit export --to FOLDER, and take the copy in elsewhere with --root"))
}

fn receive(path: &Path, said: &CopiedVolume, to: &Path) -> Result<()> {
    let attempt = |e: &io::Error| Error::io("read the copy", path, e);
    let mut digest = Plain::default();
    let mut file = File::open(path).map_err(|e| attempt(&e))?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(|e| attempt(&e))? {
            0 => break,
            count => digest.update(&buffer[..count]),
        }
    }
    if digest.finish() != said.sha256 {
        return Err(Error::new(Kind::Untrusted, "it is not what the manifest says").on(path.display().to_string()));
    }
    let file = BufReader::new(File::open(path).map_err(|e| attempt(&e))?);
    unpack(file, LIMITS, &mut Folder::open(to)?).map_err(|e| e.on(path.display().to_string())).map(drop)
}

/// Files of the state root are for their owner.
fn for_its_owner(folder: &Path) -> Result<()> {
    for name in names(folder)? {
        let path = folder.join(name);
        let attempt = |e: &io::Error| Error::io("set the permissions of", &path, e);
        if path.symlink_metadata().map_err(|e| attempt(&e))?.is_dir() {
            for_its_owner(&path)?;
        } else {
            fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(|e| attempt(&e))?;
        }
    }
    Ok(())
}
