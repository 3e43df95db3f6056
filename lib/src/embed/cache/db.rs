//! `index.db`, the authority: which keys there are, where their records lie, and what each took to compute.

use super::hash::Place;
use super::segment::Shape;
use crate::base::{Error, Kind};
use crate::embed::codec::VectorType;
use crate::store::file::Durability;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The version of the whole cache's layout.
pub(super) const VERSION: u32 = 1;
/// "ODBE": this SQLite file is ours.
const APPLICATION: u32 = 0x4f44_4245;

const SCHEMA: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE segments (
        id INTEGER PRIMARY KEY,
        vector_type TEXT NOT NULL,
        dimension INTEGER NOT NULL,
        records INTEGER NOT NULL,       -- written and on the disk; what follows in the file is nothing
        is_sealed INTEGER NOT NULL,     -- no record is added any more
        plain_bytes INTEGER NOT NULL,
        stored_bytes INTEGER NOT NULL,
        trial_bytes INTEGER,            -- what zstd would have made of it, once that was tried
        created_s INTEGER NOT NULL
    );
    CREATE TABLE vectors (
        key BLOB PRIMARY KEY,
        place INTEGER NOT NULL,         -- segment << 16 | slot
        generation_ns INTEGER NOT NULL
    ) WITHOUT ROWID;";

/// A segment as the index knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentRow {
    pub id: u16,
    pub shape: Shape,
    pub records: usize,
    pub is_sealed: bool,
    pub plain_bytes: u64,
    pub stored_bytes: u64,
    pub trial_bytes: Option<u64>,
    pub created_s: u64,
}

/// An open index.
///
/// SQLite shares memory through a mapped file, and a file system that writes each block to a new place (btrfs) ends a
/// process that writes to a map when there is no place left: closing SQLite does. So on a full disk it is not closed;
/// the end of the process does that, and whoever opens the index next goes on from its log.
#[derive(Debug)]
pub(super) struct Db {
    pub(super) connection: Connection,
    folder: PathBuf,
}

impl Drop for Db {
    fn drop(&mut self) {
        if !has_room_for(&self.folder, 0)
            && let Ok(other) = Connection::open_in_memory()
        {
            std::mem::forget(std::mem::replace(&mut self.connection, other));
        }
    }
}

/// Whether the file system has room for `bytes` more and what SQLite may need beside them. One that is mounted to be
/// read only needs none.
pub(super) fn has_room_for(folder: &Path, bytes: u64) -> bool {
    const MARGIN: u64 = 4 << 20;
    rustix::fs::statvfs(folder).map_or(true, |fs| {
        let is_read_only = fs.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
        is_read_only || fs.f_bavail.saturating_mul(fs.f_frsize) >= bytes.saturating_add(MARGIN)
    })
}

/// What a look at the file's first bytes says: SQLite need not be started for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// There is none.
    None,
    /// One of ours.
    Ours,
    /// One of ours, of another version.
    Version(u32),
    /// Something else, or a broken file.
    Broken,
}

/// Looks at the index's first bytes.
pub(super) fn look(path: &Path) -> Look {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Look::None,
        Err(_) => return Look::Broken,
    };
    let mut bytes = [0; 100];
    if file.metadata().is_ok_and(|m| m.len() == 0) {
        return Look::None;
    }
    if file.read_exact_at(&mut bytes, 0).is_err() || !bytes.starts_with(b"SQLite format 3\0") {
        return Look::Broken;
    }
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
    match (number(68), number(60)) {
        (APPLICATION, VERSION) => Look::Ours,
        // Somebody is making it.
        (0, 0) => Look::None,
        (APPLICATION, version) => Look::Version(version),
        _ => Look::Broken,
    }
}

/// A failed use of the index.
pub(super) fn failed(attempt: &str, error: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode as Code;
    let kind = match error.sqlite_error_code() {
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => Kind::Locked,
        Some(Code::ReadOnly | Code::PermissionDenied | Code::AuthorizationForStatementDenied) => Kind::Denied,
        _ => Kind::Failed,
    };
    let hint = match error.sqlite_error_code() {
        Some(Code::DatabaseCorrupt | Code::NotADatabase) => {
            "op-embed verify --repair makes the index again from the vectors"
        }
        Some(Code::DiskFull) => "make room, or bound the cache: op-embed gc --max-bytes N",
        _ => "op-embed verify says what is wrong; a cache may be deleted at any time",
    };
    Error::new(kind, format!("could not {attempt}: {error}")).hint(hint)
}

/// Whether the file itself is broken, so that only making it again helps.
pub(super) fn is_broken(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode as Code;
    matches!(error.sqlite_error_code(), Some(Code::DatabaseCorrupt | Code::NotADatabase))
}

impl Db {
    /// Opens the index to write, making it when there is none. The caller holds the writer's lock.
    pub(super) fn write(path: &Path, wait: Duration, durability: Durability) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(wait)?;
        let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version == 0 {
            // In the file's header before the log begins, and both at once: a look at it is enough.
            let mine = format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION};");
            connection.execute_batch(&format!("BEGIN; {SCHEMA} {mine} COMMIT;"))?;
        }
        connection.pragma_update(None, "journal_mode", "wal")?;
        // A lost commit is a miss. What matters is the order: vectors are on the disk before rows that point at them.
        let level = if durability == Durability::Durable { "normal" } else { "off" };
        connection.pragma_update(None, "synchronous", level)?;
        if !has_room_for(path.parent().unwrap_or(path), 0) {
            connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        }
        connection.pragma_update(None, "cache_size", -65_536)?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(Self { connection, folder: path.parent().unwrap_or(path).to_owned() })
    }

    /// Opens the index to read.
    pub(super) fn read(path: &Path, wait: Duration) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(path, flags).and_then(|connection| {
            connection.busy_timeout(wait)?;
            connection.query_row("SELECT count(*) FROM meta", [], |_| Ok(()))?;
            Ok(connection)
        });
        let connection = match opened {
            // Where nothing can be written there is no place for the log's index: a file that nobody changes needs none.
            Err(error)
                if matches!(
                    error.sqlite_error_code(),
                    Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly)
                ) =>
            {
                let text = path.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
                Connection::open_with_flags(format!("file:{text}?immutable=1"), flags | OpenFlags::SQLITE_OPEN_URI)?
            }
            opened => opened?,
        };
        connection.set_prepared_statement_cache_capacity(32);
        Ok(Self { connection, folder: path.parent().unwrap_or(path).to_owned() })
    }

    pub(super) fn meta(&self, name: &str) -> rusqlite::Result<u64> {
        let mut found = self.connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
        Ok(found.query_row([name], |row| row.get::<_, i64>(0)).optional()?.map_or(0, i64::cast_unsigned))
    }

    pub(super) fn set_meta(&self, name: &str, value: u64) -> rusqlite::Result<()> {
        let mut set = self.connection.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?;
        set.execute(params![name, value.cast_signed()]).map(|_| ())
    }

    /// Where the key's record lies.
    pub(super) fn place(&self, digest: &[u8; 32]) -> rusqlite::Result<Option<Place>> {
        let mut found = self.connection.prepare_cached("SELECT place FROM vectors WHERE key = ?1")?;
        Ok(found.query_row([&digest[..]], |row| row.get(0)).optional()?.map(Place::of))
    }

    pub(super) fn set_place(&self, digest: &[u8; 32], place: Place, generation_ns: u64) -> rusqlite::Result<()> {
        let mut set = self.connection.prepare_cached("INSERT OR REPLACE INTO vectors VALUES (?1, ?2, ?3)")?;
        set.execute(params![&digest[..], place.number(), i64::try_from(generation_ns).unwrap_or(i64::MAX)]).map(|_| ())
    }

    pub(super) fn remove(&self, digest: &[u8; 32]) -> rusqlite::Result<()> {
        let mut gone = self.connection.prepare_cached("DELETE FROM vectors WHERE key = ?1")?;
        gone.execute([&digest[..]]).map(|_| ())
    }

    /// Calls `each` with every key and its place, in the order of keys.
    pub(super) fn for_each(&self, mut each: impl FnMut(&[u8; 32], Place)) -> rusqlite::Result<()> {
        let mut all = self.connection.prepare("SELECT key, place FROM vectors")?;
        let mut rows = all.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(digest) = row.get_ref(0)?.as_blob().ok().and_then(|key| key.as_array::<32>()) {
                each(digest, Place::of(row.get(1)?));
            }
        }
        Ok(())
    }

    pub(super) fn count(&self) -> rusqlite::Result<u64> {
        self.connection
            .query_row("SELECT count(*) FROM vectors", [], |row| row.get::<_, i64>(0))
            .map(i64::cast_unsigned)
    }

    /// The segments there are, by number.
    pub(super) fn segments(&self) -> rusqlite::Result<Vec<SegmentRow>> {
        let mut all = self.connection.prepare_cached(
            "SELECT id, vector_type, dimension, records, is_sealed, plain_bytes, stored_bytes, trial_bytes, created_s
             FROM segments ORDER BY id",
        )?;
        let unsigned = |row: &rusqlite::Row, i: usize| row.get::<_, i64>(i).map(i64::cast_unsigned);
        let size = |row: &rusqlite::Row, i: usize| unsigned(row, i).map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        let rows = all.query_map([], |row| {
            let name: String = row.get(1)?;
            let vector_type = VectorType::ALL.into_iter().find(|t| t.as_str() == name).unwrap_or(VectorType::F32);
            Ok(SegmentRow {
                id: row.get(0)?,
                shape: Shape { vector_type, dimension: size(row, 2)? },
                records: size(row, 3)?,
                is_sealed: row.get(4)?,
                plain_bytes: unsigned(row, 5)?,
                stored_bytes: unsigned(row, 6)?,
                trial_bytes: row.get::<_, Option<i64>>(7)?.map(i64::cast_unsigned),
                created_s: unsigned(row, 8)?,
            })
        })?;
        rows.collect()
    }

    pub(super) fn set_segment(&self, row: &SegmentRow) -> rusqlite::Result<()> {
        let mut set =
            self.connection.prepare_cached("INSERT OR REPLACE INTO segments VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9)")?;
        let shape = row.shape;
        set.execute(params![
            row.id,
            shape.vector_type.as_str(),
            shape.dimension as i64,
            row.records as i64,
            row.is_sealed,
            row.plain_bytes.cast_signed(),
            row.stored_bytes.cast_signed(),
            row.trial_bytes.map(u64::cast_signed),
            row.created_s.cast_signed()
        ])
        .map(|_| ())
    }

    pub(super) fn remove_segment(&self, id: u16) -> rusqlite::Result<()> {
        self.connection.execute("DELETE FROM segments WHERE id = ?1", [id]).map(|_| ())
    }
}
