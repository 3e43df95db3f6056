//! Where things lie under the state root. The only room beside `cli` that reads the environment.

use crate::base::name::PluginName;
use crate::base::{Error, Kind, Result};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where shipped mappings lie unless `$OP_DBUS_MAPPINGS` says otherwise.
pub const MAPPINGS: &str = "/usr/share/op-dbus/mappings";

/// A state root whose owner and permissions were looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRoot {
    path: PathBuf,
    state: PathBuf,
}

impl StateRoot {
    /// The state root: `given` (`--root`), else `$OP_DBUS_ROOT`, else `/var/lib/op-dbus` for root and
    /// `$XDG_STATE_HOME/op-dbus` for others. It need not exist.
    ///
    /// One that is there must belong to the effective user and be writable by nobody else: who can write it decides
    /// what op-dbus calls safe.
    pub fn find(given: Option<&Path>) -> Result<Self> {
        let from_env = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let path = match given.map(Path::to_owned).or_else(|| from_env("OP_DBUS_ROOT")) {
            Some(path) => path,
            None if rustix::process::geteuid().is_root() => PathBuf::from("/var/lib/op-dbus"),
            None => from_env("XDG_STATE_HOME")
                .or_else(|| from_env("HOME").map(|home| home.join(".local/state")))
                .ok_or_else(|| Error::usage("there is no home to keep state in").hint("say --root DIR"))?
                .join("op-dbus"),
        };
        let path = std::path::absolute(&path).map_err(|e| Error::io("find the state root", &path, &e))?;
        check_owner(&path)?;
        let state = path.join("@state");
        Ok(Self { path, state })
    }

    /// Where shipped mappings lie: `$OP_DBUS_MAPPINGS`, else [`MAPPINGS`].
    #[must_use]
    pub fn mappings() -> PathBuf {
        std::env::var_os("OP_DBUS_MAPPINGS").filter(|v| !v.is_empty()).map_or_else(|| MAPPINGS.into(), PathBuf::from)
    }

    /// The same root, keeping the state of another machine apart.
    #[must_use]
    pub fn for_machine(mut self, machine_id: &str) -> Self {
        self.state = self.path.join("@state").join("targets").join(machine_id);
        self
    }

    /// The root itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of a plugin's active version.
    #[must_use]
    pub fn plugin(&self, name: &PluginName) -> PathBuf {
        self.path.join(format!("@plugin-{name}"))
    }

    /// The folder of everything that may be deleted at any time.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.path.join("@cache")
    }

    /// The folder of the cache's snapshots.
    #[must_use]
    pub fn cache_snapshots(&self) -> PathBuf {
        self.path.join("@cache-snapshots")
    }

    /// The folder of every plugin's versions.
    #[must_use]
    pub fn plugin_snapshots(&self) -> PathBuf {
        self.path.join("@plugin-snapshots")
    }

    /// One version of a plugin.
    #[must_use]
    pub fn plugin_snapshot(&self, name: &PluginName, version: &semver::Version) -> PathBuf {
        self.plugin_snapshots().join(format!("{name}@v{version}"))
    }

    /// The volumes that are always there once the root was made.
    #[must_use]
    pub fn fixed(&self) -> [PathBuf; 6] {
        ["@cache", "@cache-snapshots", "@plugin-snapshots", "@timing", "@vectors", "@state"]
            .map(|name| self.path.join(name))
    }

    /// The lock of changes to volumes.
    #[must_use]
    pub fn volumes_lock(&self) -> PathBuf {
        self.path.join(".lock")
    }

    /// The lock of applying runs.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.state.join("lock")
    }

    /// The ledger of what op-dbus added.
    #[must_use]
    pub fn ownership(&self) -> PathBuf {
        self.state.join("ownership.json")
    }

    /// The folder of checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.state.join("checkpoints")
    }

    /// The checkpoint of a run.
    #[must_use]
    pub fn checkpoint(&self, run: &str) -> PathBuf {
        self.checkpoints().join(format!("{run}.json"))
    }

    /// The folder of installed embedding models.
    #[must_use]
    pub fn models(&self) -> PathBuf {
        self.path.join("models")
    }

    /// Where a computed difference is kept for people to look at.
    #[must_use]
    pub fn diff(&self, plugin: &str, digest: &str) -> PathBuf {
        let digest = digest.trim_start_matches("sha256:");
        self.cache().join("diffs").join(plugin).join(format!("{digest}.json"))
    }

    /// The folder of the cache of vectors.
    #[must_use]
    pub fn embeddings(&self) -> PathBuf {
        self.cache().join("embeddings")
    }

    /// The folder of documents that are searched by meaning.
    #[must_use]
    pub fn documents(&self) -> PathBuf {
        self.path.join("@vectors").join("documents")
    }

    /// Where the last answers of a plugin's service are kept.
    #[must_use]
    pub fn kept_answer(&self, plugin: &str) -> PathBuf {
        self.cache().join("queries").join(plugin).join("state.json")
    }

    /// Makes the folder that holds `file`, to be written by nobody else. It and the root are looked at again, since
    /// somebody else may have made them since [`Self::find`] saw none.
    pub fn make_parent(&self, file: &Path) -> Result<()> {
        let Some(parent) = file.parent() else { return Ok(()) };
        if !parent.is_dir() {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(parent);
            made.map_err(|e| Error::io("make a folder of the state root", parent, &e))?;
        }
        check_owner(&self.path)?;
        check_owner(parent)
    }
}

/// A folder that decides what is safe must be the effective user's own.
pub fn check_owner(path: &Path) -> Result<()> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("look at it", path, &error)),
    };
    let denied =
        |why: String, hint: String| Err(Error::new(Kind::Denied, why).on(path.display().to_string()).hint(hint));
    let me = rustix::process::geteuid().as_raw();
    if metadata.uid() != me {
        return denied(
            format!("it belongs to user {}, and this runs as user {me}", metadata.uid()),
            match me {
                0 => format!("choose another with --root, or: chown root {}", path.display()),
                _ => "run as its owner, or choose another with --root".to_owned(),
            },
        );
    }
    if metadata.mode() & 0o022 != 0 {
        return denied(
            "others can write it, so what it says cannot be trusted".into(),
            format!("chmod go-w {}", path.display()),
        );
    }
    Ok(())
}

/// Whether what lies at `path` may decide what is safe: for root, only what root owns and nobody else can write.
#[must_use]
pub fn is_trusted(path: &Path) -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    std::fs::metadata(path).is_ok_and(|metadata| metadata.uid() == 0 && metadata.mode() & 0o022 == 0)
}
