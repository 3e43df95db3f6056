//! Where things lie under the state root. The only room beside `cli` that reads the environment.

use super::volumes;
use crate::base::name::PluginName;
use crate::base::{Error, Kind, Result};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where shipped mappings lie unless `$OP_DBUS_MAPPINGS` says otherwise.
pub const MAPPINGS: &str = "/usr/share/op-dbus/mappings";

/// Where the keys of trusted publishers lie unless `$OP_DBUS_TRUSTED_KEYS` says otherwise.
pub const TRUSTED_KEYS: &str = "/etc/op-dbus/trusted-keys.d";

/// Where the GPG keyrings of trusted publishers lie unless `$OP_DBUS_TRUSTED_GPG` says otherwise.
pub const TRUSTED_GPG: &str = "/etc/op-dbus/trusted-gpg";

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
        if path.exists() && !path.is_dir() {
            return Err(Error::bad_input("the state root is a folder, and this is none")
                .on(path.display().to_string())
                .hint("say --root DIR; it is made when it is needed"));
        }
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

    /// The folder of what is known about installed packages, and of the packages themselves.
    #[must_use]
    pub fn packages(&self) -> PathBuf {
        self.path.join("@state").join("packages")
    }

    /// Where downloads that were cut off are kept.
    #[must_use]
    pub fn downloads(&self) -> PathBuf {
        self.cache().join("downloads")
    }

    /// Where the keys lie whose signatures count: `$OP_DBUS_TRUSTED_KEYS`, else [`TRUSTED_KEYS`].
    #[must_use]
    pub fn trusted_keys() -> PathBuf {
        let given = std::env::var_os("OP_DBUS_TRUSTED_KEYS").filter(|v| !v.is_empty());
        given.map_or_else(|| TRUSTED_KEYS.into(), PathBuf::from)
    }

    /// Where the GPG keyrings lie that count: `$OP_DBUS_TRUSTED_GPG`, else [`TRUSTED_GPG`].
    #[must_use]
    pub fn trusted_gpg() -> PathBuf {
        let given = std::env::var_os("OP_DBUS_TRUSTED_GPG").filter(|v| !v.is_empty());
        given.map_or_else(|| TRUSTED_GPG.into(), PathBuf::from)
    }

    /// What is known of registries of packages: a folder for each.
    #[must_use]
    pub fn registries(&self) -> PathBuf {
        self.path.join("@state").join("registries")
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

    /// Which secrets were written where, by name and digest.
    #[must_use]
    pub fn secrets(&self) -> PathBuf {
        self.state.join("secrets.json")
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

    /// The folder of an installed ONNX Runtime.
    #[must_use]
    pub fn runtime(&self) -> PathBuf {
        self.path.join("runtime")
    }

    /// The folder of runs that wait to be confirmed.
    #[must_use]
    pub fn pending_folder(&self) -> PathBuf {
        self.state.join("pending")
    }

    /// A run that waits to be confirmed.
    #[must_use]
    pub fn pending(&self, run: &str) -> PathBuf {
        self.pending_folder().join(format!("{run}.json"))
    }

    /// What the services call the checkpoints that they keep themselves for a run.
    #[must_use]
    pub fn kept(&self, run: &str) -> PathBuf {
        self.state.join("kept").join(format!("{run}.json"))
    }

    /// Which machine's state this is, as a path below the root.
    #[must_use]
    pub fn target(&self) -> String {
        self.state.strip_prefix(&self.path).unwrap_or(&self.state).display().to_string()
    }

    /// The folder of the audit trail's blocks.
    #[must_use]
    pub fn blocks(&self) -> PathBuf {
        self.path.join("@timing").join("blocks")
    }

    /// The folder of the vectors of the blocks' entries.
    #[must_use]
    pub fn block_vectors(&self) -> PathBuf {
        self.path.join("@vectors").join("blocks")
    }

    /// Where `op-embed serve` listens for those who share this root.
    #[must_use]
    pub fn embed_socket(&self) -> PathBuf {
        self.path.join("embed.sock")
    }

    /// The lock of those who write blocks.
    #[must_use]
    pub fn audit_lock(&self) -> PathBuf {
        self.path.join("@timing").join("lock")
    }

    /// Room that is kept for the block that says how a run ended.
    #[must_use]
    pub fn audit_reserve(&self, run: &str) -> PathBuf {
        self.path.join("@timing").join(format!(".reserve-{run}"))
    }

    /// The folder of what is derived from the blocks.
    #[must_use]
    pub fn audit_cache(&self) -> PathBuf {
        self.path.join("@cache").join("blocks")
    }

    /// Where the number of the newest block is remembered.
    #[must_use]
    pub fn audit_hint(&self) -> PathBuf {
        self.path.join("@cache").join("blocks").join("head")
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
            let volume = parent.strip_prefix(&self.path).ok().and_then(|below| below.components().next());
            if let Some(volume) = volume.filter(|name| name.as_os_str().as_encoded_bytes().starts_with(b"@")) {
                self.make_volume(&self.path.join(volume))?;
            }
            make_folder(parent)?;
        }
        check_owner(&self.path)?;
        check_owner(parent)
    }

    /// Makes one of the root's volumes unless it is there.
    fn make_volume(&self, path: &Path) -> Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        make_folder(&self.path)?;
        let volumes = volumes::at(&self.path)?;
        match volumes.create(path) {
            // Somebody else was faster.
            Err(_) if path.is_dir() => return Ok(()),
            made => made?,
        }
        if self.is_compressed(path) {
            volumes.compress(path)?;
        }
        Ok(())
    }

    /// Whether a volume is to be compressed. Packages are not: a published stream would carry the property.
    #[must_use]
    pub fn is_compressed(&self, volume: &Path) -> bool {
        self.fixed().iter().any(|fixed| fixed == volume) && volume != self.plugin_snapshots()
    }
}

fn make_folder(path: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.map_err(|e| Error::io("make a folder of the state root", path, &e))
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

/// Whether root ignores what lies at `path`, since others than its owner can write it.
#[must_use]
pub fn is_open_to_others(path: &Path) -> bool {
    let is_open = |metadata: std::fs::Metadata| metadata.mode() & 0o022 != 0;
    rustix::process::geteuid().is_root() && std::fs::metadata(path).is_ok_and(is_open)
}

/// Whether what lies at `path` may decide what is safe: for root, only what root owns and nobody else can write.
#[must_use]
pub fn is_trusted(path: &Path) -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    std::fs::metadata(path).is_ok_and(|metadata| metadata.uid() == 0 && metadata.mode() & 0o022 == 0)
}
