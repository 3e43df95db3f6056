//! Somebody who publishes packages, good and bad, and a state root to install them in.

use op_dbus::base::digest::Plain;
use op_dbus::package::archive;
use op_dbus::package::signing::{SigningKey, generate};
use op_dbus::package::stream::Encoder;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// The manifest of a plugin called `lamp`, version 1.0.0, that passes every check.
pub const MANIFEST: &str = "[plugin]\nname = \"lamp\"\nversion = \"1.0.0\"\ndbus_service = \"org.example.Lamp\"\n";

/// A publisher's desk: a key, packages, and a state root that trusts that key.
#[derive(Debug)]
pub struct Publisher {
    folder: Arc<tempfile::TempDir>,
    root: PathBuf,
    key: Arc<SigningKey>,
}

/// What a program printed, and how it ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said beside.
    pub stderr: String,
}

impl Ended {
    /// The document it printed.
    ///
    /// # Panics
    /// When it failed.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The failure it reported, as the text of a JSON object.
    #[must_use]
    pub fn error(&self) -> String {
        let last = self.stderr.lines().last().unwrap_or_default();
        let error: Value = serde_json::from_str(last).unwrap_or_default();
        error["error"].to_string()
    }
}

impl Default for Publisher {
    fn default() -> Self {
        Self::new()
    }
}

impl Publisher {
    /// A desk with a new key; the state root lies on it.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        Self::with_root(folder, root)
    }

    /// The same with a state root elsewhere, for example on a file system of its own.
    #[must_use]
    pub fn at_root(root: &Path) -> Self {
        Self::with_root(tempfile::tempdir().unwrap(), root.to_owned())
    }

    fn with_root(folder: tempfile::TempDir, root: PathBuf) -> Self {
        let keys = generate(None).unwrap();
        fs::create_dir(folder.path().join("keys")).unwrap();
        fs::write(folder.path().join("keys/publisher.pub"), &keys.public).unwrap();
        fs::write(folder.path().join("publisher.key"), &keys.secret).unwrap();
        let key = SigningKey::parse(&keys.secret, None, "publisher.key").unwrap();
        Self { folder: Arc::new(folder), root, key: Arc::new(key) }
    }

    /// The same desk with another state root.
    #[must_use]
    pub fn moved_to(&self, root: &Path) -> Self {
        Self { folder: self.folder.clone(), root: root.to_owned(), key: self.key.clone() }
    }

    /// The desk's folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The state root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Makes a package of a stream and signs it as `lamp` 1.0.0.
    #[must_use]
    pub fn offer(&self, stream: &[u8]) -> PathBuf {
        self.offer_bytes(&compress(stream))
    }

    /// Signs bytes as the package `lamp` 1.0.0.
    #[must_use]
    pub fn offer_bytes(&self, bytes: &[u8]) -> PathBuf {
        let comment = format!("op-dbus-package/1 name=lamp version=1.0.0 sha256={}", Plain::of(bytes));
        self.offer_as("lamp-v1.0.0.btrfs.zst", bytes, &comment)
    }

    /// Writes a package under any name, signed with any comment.
    #[must_use]
    pub fn offer_as(&self, file: &str, bytes: &[u8], comment: &str) -> PathBuf {
        let path = self.folder.path().join(file);
        fs::write(&path, bytes).unwrap();
        fs::write(self.beside(file, "minisig"), self.key.sign_with_comment(bytes, comment).unwrap()).unwrap();
        path
    }

    /// The file that lies beside a package.
    #[must_use]
    pub fn beside(&self, file: &str, extension: &str) -> PathBuf {
        self.folder.path().join(format!("{file}.{extension}"))
    }

    /// Runs a program for this state root, with no more than 64 MiB of memory of its own.
    #[must_use]
    pub fn run(&self, program: &str, args: &[&str]) -> Ended {
        self.run_with(program, args, &[])
    }

    /// The same with more variables.
    #[must_use]
    pub fn run_with(&self, program: &str, args: &[&str], variables: &[(&str, &str)]) -> Ended {
        let output = Command::new("prlimit")
            .arg(format!("--data={}", 64 << 20))
            .arg(crate::program(program))
            .args(args)
            .env("OP_DBUS_ROOT", &self.root)
            .env("OP_DBUS_MAPPINGS", self.path().join("none"))
            .env("OP_DBUS_TRUSTED_KEYS", self.path().join("keys"))
            .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
            .envs(variables.iter().copied())
            .current_dir(self.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Installs a package.
    #[must_use]
    pub fn install(&self, package: &Path, args: &[&str]) -> Ended {
        self.run("op-install", &[&["install", package.to_str().unwrap()], args].concat())
    }
}

/// Compresses a stream as packages are.
#[must_use]
pub fn compress(stream: &[u8]) -> Vec<u8> {
    archive::compress(stream).unwrap()
}

/// The UUID of every stream made here.
pub const UUID: [u8; 16] = [7; 16];

/// The stream of the plugin `lamp`, with `more` before its end.
#[must_use]
pub fn stream(more: impl FnOnce(&mut Encoder<Vec<u8>>)) -> Vec<u8> {
    stream_of("lamp@v1.0.0", &[("plugin.toml", MANIFEST.as_bytes())], more)
}

/// A stream of files in no folder, with `more` before its end.
#[must_use]
pub fn stream_of(name: &str, files: &[(&str, &[u8])], more: impl FnOnce(&mut Encoder<Vec<u8>>)) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), 1).unwrap();
    encoder.subvolume(name, &UUID).unwrap();
    for (path, content) in files {
        encoder.file(path, *content).unwrap();
    }
    more(&mut encoder);
    encoder.end().unwrap()
}

/// Every file and folder below `path`, with the permissions, and the content of files.
#[must_use]
pub fn picture(path: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    fn walk(top: &Path, path: &Path, found: &mut BTreeMap<String, (u32, Vec<u8>)>) {
        use std::os::unix::fs::MetadataExt;
        for entry in fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()) {
            let metadata = entry.symlink_metadata().unwrap();
            let name = entry.strip_prefix(top).unwrap().to_string_lossy().into_owned();
            let content = if metadata.is_file() { fs::read(&entry).unwrap() } else { Vec::new() };
            found.insert(name, (metadata.mode(), content));
            if metadata.is_dir() {
                walk(top, &entry, found);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(path, path, &mut found);
    found
}
