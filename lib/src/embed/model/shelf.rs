//! The models of a state root, and which of them is used.
//!
//! ```text
//! ROOT/models/.lock         held while models change
//! ROOT/models/NAME/         one model
//! ROOT/models/.used         the name of the one that is used when nobody says
//! ROOT/models/.staging-...  unfinished; swept by the next change
//! ```

use super::manifest::{MANIFEST, is_plain_name};
use super::{Level, Model, bundle};
use crate::base::nearest::nearest;
use crate::base::{Error, Kind, Result};
use crate::store::file::{self, Durability};
use crate::store::{Lock, StateRoot};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long another run may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// The models of a state root and those that came with the system.
#[derive(Debug, Clone)]
pub struct Shelf {
    folder: PathBuf,
    shipped: PathBuf,
}

/// One model of the list.
#[derive(Debug)]
pub struct Entry {
    /// The name it is called by.
    pub name: String,
    /// What it is, or what is wrong with it.
    pub model: Result<Model>,
    /// Whether it is used when nobody says which.
    pub is_used: bool,
}

impl Shelf {
    /// The models of `root`, and those in `shipped`.
    #[must_use]
    pub fn new(root: &StateRoot, shipped: PathBuf) -> Self {
        Self { folder: root.models(), shipped }
    }

    /// Every model, the built-in one first.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let used = self.used()?;
        let mut entries: Vec<Entry> = vec![];
        #[cfg(feature = "engine")]
        {
            let model = Model::built_in()?;
            entries.push(Entry { name: model.name().to_owned(), model: Ok(model), is_used: used.is_none() });
        }
        for folder in [&self.folder, &self.shipped] {
            for name in names_in(folder)? {
                if entries.iter().all(|entry| entry.name != name) {
                    let is_used = used.as_deref() == Some(&name);
                    entries.push(Entry { model: read(&folder.join(&name), &name), name, is_used });
                }
            }
        }
        if let Some(used) = used.filter(|used| entries.iter().all(|entry| entry.name != *used)) {
            let model = Err(Error::bad_input("the model that is used is not there").on(used.clone()));
            entries.push(Entry { name: used, model, is_used: true });
        }
        Ok(entries)
    }

    /// The model called `name`: a folder's path, or the name of one on the list.
    pub fn named(&self, name: &str) -> Result<Model> {
        if name.contains('/') {
            return Model::in_folder(Path::new(name));
        }
        let mut entries = self.list()?;
        if let Some(at) = entries.iter().position(|entry| entry.name == name) {
            return entries.swap_remove(at).model;
        }
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        let hint = nearest(name, names.iter().copied())
            .map_or_else(|| format!("there are: {}", names.join(", ")), |near| format!("did you mean {near:?}?"));
        Err(Error::bad_input("there is no model of this name").on(name).hint(hint))
    }

    /// The model that is used when nobody says which.
    pub fn usual(&self) -> Result<Model> {
        let entries = self.list()?;
        let entry = entries.into_iter().find(|entry| entry.is_used);
        entry.map_or_else(|| Err(Error::failed("this build has no model").hint("op-embed has one")), |e| e.model)
    }

    /// The model of a level: the one in use when it is of that level, else the first one that is.
    pub fn of_level(&self, level: Level) -> Result<Model> {
        let of_level = |entry: &Entry| entry.model.as_ref().is_ok_and(|model| model.manifest.level == level);
        let mut fitting: Vec<Entry> = self.list()?.into_iter().filter(of_level).collect();
        fitting.sort_by_key(|entry| !entry.is_used);
        fitting.into_iter().next().map_or_else(
            || {
                Err(Error::bad_input("no model of this level is installed")
                    .on(level.as_str())
                    .hint("op-embed model list shows what there is, op-embed model install PATH adds one"))
            },
            |entry| entry.model,
        )
    }

    /// Copies the model in a folder or an archive, and gives it its place. One of the same name is replaced only when
    /// asked for.
    pub fn install(&self, path: &Path, may_replace: bool) -> Result<Model> {
        if path.is_dir() {
            return self.install_with(path, may_replace, |staging| copy(path, staging));
        }
        let file = fs::File::open(path).map_err(|e| Error::io("read the model", path, &e))?;
        self.install_with(path, may_replace, |staging| bundle::unpack(file, path, staging))
    }

    /// The same with the bytes of an archive; `source` is what it is called.
    pub fn install_archive(&self, archive: &[u8], source: &str, may_replace: bool) -> Result<Model> {
        let path = Path::new(source);
        self.install_with(path, may_replace, |staging| bundle::unpack(archive, path, staging))
    }

    fn install_with(&self, path: &Path, may_replace: bool, fill: impl FnOnce(&Path) -> Result<()>) -> Result<Model> {
        fs::create_dir_all(&self.folder).map_err(|e| Error::io("make the folder of models", &self.folder, &e))?;
        crate::store::layout::check_owner(&self.folder)?;
        let _lock = self.lock()?;
        let staging = self.folder.join(format!(".staging-{}", std::process::id()));
        fs::create_dir(&staging).map_err(|e| Error::io("make a folder for the model", &staging, &e))?;
        let installed = fill(&staging).and_then(|()| self.place(path, &staging, may_replace));
        // Nothing is left of one that was refused; what was installed has another name now.
        let _ = fs::remove_dir_all(&staging);
        installed
    }

    /// Gives what was copied its place, if it is what its manifest says.
    fn place(&self, path: &Path, staging: &Path, may_replace: bool) -> Result<Model> {
        let at = |error: Error| Error { subject: Some(path.display().to_string()), ..error };
        let model = Model::in_folder(staging).map_err(at)?;
        for file in model.manifest.files() {
            model.read(file).map_err(|e| e.hint("the model is damaged: get it again"))?;
        }
        let name = model.name().to_owned();
        #[cfg(feature = "engine")]
        if name == Model::built_in()?.name() {
            return Err(Error::refused("this is the name of the built-in model").on(name));
        }
        let place = self.folder.join(&name);
        if place.exists() {
            if !may_replace {
                return Err(Error::refused("a model of this name is installed")
                    .on(name)
                    .hint("--replace puts the new one in its place"));
            }
            crate::store::volumes::rename::exchange(staging, &place)?;
        } else {
            crate::store::volumes::rename::rename(staging, &place)?;
        }
        Model::in_folder(&place)
    }

    /// Makes a model the one that is used when nobody says which.
    pub fn set_used(&self, name: &str) -> Result<Model> {
        let model = self.named(name)?;
        if name.contains('/') {
            return Err(Error::usage("a folder elsewhere can go away: install it first")
                .on(name)
                .hint(format!("op-embed model install {name}")));
        }
        let used = self.folder.join(".used");
        if model.is_built_in() {
            return match fs::remove_file(&used) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::io("forget the model that was used", &used, &error))
                }
                _ => Ok(model),
            };
        }
        fs::create_dir_all(&self.folder).map_err(|e| Error::io("make the folder of models", &self.folder, &e))?;
        file::replace(&used, model.name().as_bytes(), Durability::Durable)?;
        Ok(model)
    }

    /// Removes an installed model; the one that is used only when another one is used first.
    pub fn remove(&self, name: &str) -> Result<()> {
        let folder = self.folder.join(name);
        if !is_plain_name(name) || !folder.is_dir() {
            self.named(name)?;
            return Err(Error::refused("this model is not one that was installed here, so it stays").on(name));
        }
        if self.used()?.as_deref() == Some(name) {
            return Err(Error::refused("this model is the one that is used")
                .on(name)
                .hint("op-embed model use OTHER, and then remove it"));
        }
        let _lock = self.lock()?;
        let staging = self.folder.join(format!(".staging-{}", std::process::id()));
        crate::store::volumes::rename::rename(&folder, &staging)?;
        fs::remove_dir_all(&staging).map_err(|e| Error::io("remove the model", &staging, &e))
    }

    fn used(&self) -> Result<Option<String>> {
        let text = file::read_up_to(&self.folder.join(".used"), 4096)?;
        Ok(text.map(|text| text.trim().to_owned()).filter(|name| !name.is_empty()))
    }

    /// Takes the lock, and sweeps what a run that was killed has left.
    fn lock(&self) -> Result<Lock> {
        let lock = Lock::take(&self.folder.join(".lock"), PATIENCE, &mut |_| {}, &|| false)?;
        let entries =
            fs::read_dir(&self.folder).map_err(|e| Error::io("read the folder of models", &self.folder, &e))?;
        for entry in entries.flatten().filter(|e| e.file_name().to_string_lossy().starts_with(".staging-")) {
            let _ = fs::remove_dir_all(entry.path());
        }
        Ok(lock)
    }
}

/// Copies what belongs to the model in `folder`.
fn copy(folder: &Path, staging: &Path) -> Result<()> {
    let model = Model::in_folder(folder)?;
    for name in model.manifest.files().map(|file| file.file.as_str()).chain([MANIFEST]) {
        let copied = fs::copy(folder.join(name), staging.join(name));
        copied.map_err(|e| Error::io("copy the model's file", &folder.join(name), &e))?;
    }
    Ok(())
}

/// The model in `folder`, which must be called as its folder is.
fn read(folder: &Path, name: &str) -> Result<Model> {
    if !crate::store::layout::is_trusted(folder) {
        return Err(Error::new(Kind::Denied, "others can write this model, so root does not use it")
            .on(folder.display().to_string())
            .hint("chown root it, and chmod go-w"));
    }
    let model = Model::in_folder(folder)?;
    if model.name() == name {
        return Ok(model);
    }
    Err(Error::bad_input(format!("its manifest calls it {:?}", model.name())).on(folder.display().to_string()))
}

fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(Error::io("read the folder of models", folder, &error)),
    };
    let names =
        entries.flatten().filter(|entry| entry.path().is_dir()).filter_map(|e| e.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| is_plain_name(name)).collect();
    names.sort();
    Ok(names)
}
