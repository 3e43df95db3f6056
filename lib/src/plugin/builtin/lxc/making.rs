//! Making golden images: filled beside their place, cleaned, sealed, and named last.

use super::config::Config;
use super::golden::{self, Image, Looked};
use super::rootfs::RootFs;
use super::settings::{Settings, shown};
use super::source::{Source, fill, source};
use super::{host, leftovers, locks};
use crate::base::{Error, Progress, Result};
use crate::store::file::{self, Durability};
use crate::store::volumes::{self, Subvolumes, Volumes};
use std::fs;
use std::path::{Path, PathBuf};

/// What an image is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// A container that is stopped.
    Container(String),
    /// An archive that `tar` unpacks.
    Archive(PathBuf),
    /// A folder.
    Folder(PathBuf),
}

/// How to make an image.
#[derive(Debug, Clone)]
pub struct Make {
    /// Its name.
    pub name: String,
    /// What from.
    pub from: From,
    /// The storage for it; the first that will do when absent.
    pub storage: Option<String>,
    /// The free number under which Proxmox sees it as a template, if it is to.
    pub template_id: Option<String>,
    /// Whether it is for containers with privileges. A container as the source decides that itself.
    pub is_privileged: bool,
}

impl From {
    /// What a person named: a number, else a folder, else an archive.
    pub fn parse(text: &str) -> Result<Self> {
        let path = Path::new(text);
        if host::is_id(text) {
            return Ok(Self::Container(text.to_owned()));
        }
        let absolute = std::path::absolute(path).map_err(|error| Error::io("find it", path, &error))?;
        if path.is_dir() {
            return Ok(Self::Folder(absolute));
        }
        if path.is_file() {
            return Ok(Self::Archive(absolute));
        }
        if golden::check_name(text).is_ok() {
            return Ok(Self::Container(text.to_owned()));
        }
        Err(Error::bad_input("this is no container, no archive and no folder").on(text).hint(
            "--from takes the number of a stopped container (with LXC alone its name), a tar archive or a folder",
        ))
    }

    /// What an image was made from before: [`Image::from`].
    pub fn again(text: &str) -> Result<Self> {
        Self::parse(text.strip_prefix("container ").unwrap_or(text))
            .map_err(|error| error.hint("--from VMID|TARBALL|DIR says what to make it from now"))
    }

    fn label(&self) -> String {
        match self {
            Self::Container(id) => format!("container {id}"),
            Self::Archive(path) | Self::Folder(path) => shown(path),
        }
    }
}

/// Makes a golden image. Nothing is left of one that fails; what a killed run left of it goes first.
pub fn create(settings: &Settings, make: &Make, progress: &mut dyn Progress) -> Result<Image> {
    golden::check_name(&make.name)?;
    let node = golden::node(settings)?;
    host::check_writable(settings, &node)?;
    leftovers::sweep(&settings.golden(), |staging| staging.contains(&format!("-{}.json-", make.name)))?;
    if let Some(image) = golden::list(settings)?.into_iter().find(|image| image.name == make.name) {
        if !is_unfinished(settings, &image)? {
            return Err(Error::refused("there is a golden image of this name already")
                .on(make.name.clone())
                .hint(format!("op-snapshot golden update {} --from ... makes it anew", make.name)));
        }
        golden::delete(settings, &make.name)?;
    }
    let found = golden::storage_for(settings, &node, make.storage.as_deref())?;
    let (folder, leaf) = match &make.template_id {
        Some(id) if settings.is_plain() => {
            return Err(Error::bad_input("only Proxmox has templates").on(id.clone()).hint("leave --template-id out"));
        }
        Some(id) => {
            if config_of(settings, &node, id)?.is_some_and(|config| is_unfinished_template(&config, &make.name)) {
                leftovers::take_back(settings, &node, id)?;
            }
            check_free(settings, id)?;
            (found.images(id)?, format!("base-{id}-disk-0.subvol"))
        }
        None => (found.folder()?.join("op-dbus-golden"), make.name.clone()),
    };
    let source = source(settings, &make.from, make.is_privileged)?;
    let mut image = Image {
        kind: "golden_image".into(),
        version: 1,
        name: make.name.clone(),
        node: node.clone(),
        storage: found.name.clone(),
        path: folder.join(leaf),
        template_id: make.template_id.clone(),
        from: make.from.label(),
        arch: source.arch.clone(),
        ostype: "unmanaged".into(),
        os: (String::new(), String::new()),
        unprivileged: source.unprivileged,
        has_systemd: false,
        ssh_host_keys: Vec::new(),
    };
    let template = make.template_id.as_ref().map(|id| settings.config(&node, id));
    let _lock = make.template_id.as_ref().map(|id| locks::container(settings, id)).transpose()?;
    if let Some(file) = &template {
        let mut claimed = template_config(&image);
        claimed.keys.insert("lock".into(), "create".into());
        claimed.origin.insert("golden_image".into(), make.name.clone());
        claim(file, &claimed)?;
    }
    let has_made_folder = !folder.exists();
    let made = place(settings, &source, &mut image, &folder, progress).and_then(|()| match &template {
        Some(file) => write_config(file, &template_config(&image).to_text()),
        None => Ok(()),
    });
    let Err(error) = made else { return Ok(image) };
    // Nobody knows of it yet, so whatever of it is there can go.
    let _ = golden::forget(settings, &image.name);
    for path in [&beside(&image), &image.path] {
        if path.symlink_metadata().is_ok() {
            let _ = Subvolumes.delete(path);
        }
    }
    if has_made_folder {
        let _ = fs::remove_dir(&folder);
    }
    if let Some(file) = &template {
        let _ = golden::remove_if_there(file);
    }
    Err(error)
}

/// Where an image is made before it gets its name.
fn beside(image: &Image) -> PathBuf {
    image.path.with_file_name(format!("{}new-{}", volumes::STAGING, image.name))
}

/// Makes the subvolume of an image under its name, and keeps what is known of it.
fn place(
    settings: &Settings,
    source: &Source,
    image: &mut Image,
    folder: &Path,
    progress: &mut dyn Progress,
) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| Error::io("make the folder", folder, &error))?;
    produce(settings, source, image, progress)?;
    if image.path.symlink_metadata().is_ok() {
        // Of this name nothing is known, so a killed run left it.
        Subvolumes.delete(&image.path)?;
    }
    Subvolumes.rename(&beside(image), &image.path)?;
    image.keep(settings)
}

/// Fills, looks at, cleans and seals it, beside its place.
fn produce(settings: &Settings, source: &Source, image: &mut Image, progress: &mut dyn Progress) -> Result<()> {
    let beside = beside(image);
    if beside.symlink_metadata().is_ok() {
        Subvolumes.delete(&beside)?;
    }
    fill(settings, source, &beside, progress)?;
    let Looked { ostype, os, has_systemd } = golden::look(&beside, source.unprivileged)?;
    let ssh_host_keys = clean(&beside, source.unprivileged)?;
    Subvolumes.seal(&beside)?;
    *image = Image { ostype, os, has_systemd, ssh_host_keys, ..image.clone() };
    Ok(())
}

/// Whether a killed run left the image without the end of its template.
fn is_unfinished(settings: &Settings, image: &Image) -> Result<bool> {
    let Some(id) = &image.template_id else { return Ok(false) };
    Ok(config_of(settings, &image.node, id)?.is_some_and(|config| is_unfinished_template(&config, &image.name)))
}

fn is_unfinished_template(config: &Config, name: &str) -> bool {
    let is_template = config.keys.get("template").is_some_and(|value| value == "1");
    *config == Config::default()
        || is_template
            && leftovers::is_half_made(config)
            && config.origin.get("golden_image").is_some_and(|of| of == name)
}

fn config_of(settings: &Settings, node: &str, id: &str) -> Result<Option<Config>> {
    Ok(file::read(&settings.config(node, id))?.map(|text| Config::parse(&text)))
}

/// Makes a golden image anew. Whoever makes a container meanwhile gets the old one or the new one, whole.
pub fn update(settings: &Settings, name: &str, from: &From, progress: &mut dyn Progress) -> Result<Image> {
    let old = golden::find(settings, name)?;
    host::check_writable(settings, &old.node)?;
    let source = source(settings, from, !old.unprivileged)?;
    if source.unprivileged != old.unprivileged {
        return Err(Error::refused("the image would change between containers with and without privileges")
            .on(name)
            .hint("make one of another name"));
    }
    let beside = beside(&old);
    let mut image = Image { from: from.label(), arch: source.arch.clone(), ..old.clone() };
    let made = produce(settings, &source, &mut image, progress).and_then(|()| {
        Subvolumes.exchange(&old.path, &beside)?;
        image.keep(settings).or_else(|error| Subvolumes.exchange(&old.path, &beside).and(Err(error)))
    });
    if beside.symlink_metadata().is_ok() {
        let _ = Subvolumes.delete(&beside);
    }
    made.map(|()| image)
}

/// Refuses a number that a guest of the cluster has.
pub(super) fn check_free(settings: &Settings, id: &str) -> Result<()> {
    if !host::is_id(id) {
        return Err(Error::bad_input("this is no number of a guest").on(id).hint("100 to 999999999"));
    }
    let only = std::collections::BTreeSet::from([id.to_owned()]);
    if let Some(found) = host::containers(settings, Some(&only))?.remove(id) {
        return Err(Error::refused(format!("a container of the Proxmox node {} has this number", found.node)).on(id));
    }
    match host::machine_at(settings, id)? {
        Some(node) => {
            Err(Error::refused(format!("a virtual machine of the Proxmox node {node} has this number")).on(id))
        }
        None => Ok(()),
    }
}

/// Creates a configuration file, which takes the number: on a cluster it fails when any node has it.
pub(super) fn claim(path: &Path, config: &Config) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(path);
    let mut file = opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::refused("a guest took this number a moment ago").on(shown(path)).hint("use another number")
        }
        _ => Error::io("take the number", path, &error),
    })?;
    file.write_all(config.to_text().as_bytes()).map_err(|error| {
        let _ = fs::remove_file(path);
        Error::io("write", path, &error)
    })
}

fn template_config(image: &Image) -> Config {
    let id = image.template_id.clone().unwrap_or_default();
    let mut config = Config::default();
    let mut set = |key: &str, value: &str| drop(config.keys.insert(key.to_owned(), value.to_owned()));
    set("arch", &image.arch);
    set("ostype", &image.ostype);
    set("hostname", &image.name);
    set("template", "1");
    set("rootfs", &format!("{}:{id}/base-{id}-disk-0.subvol,size=0T", image.storage));
    set("unprivileged", if image.unprivileged { "1" } else { "0" });
    if image.has_systemd && image.unprivileged {
        set("features", "nesting=1");
    }
    config
}

/// Takes away what no two containers share, and returns which SSH host keys each of them gets.
fn clean(path: &Path, is_unprivileged: bool) -> Result<Vec<String>> {
    let root = RootFs::open(path, is_unprivileged)?;
    let keys = root.host_keys();
    root.make_unique().and_then(|()| root.forget()).map_err(|error| Error::io("clean it", path, &error))?;
    Ok(keys)
}

/// Replaces a configuration file, whole.
pub(super) fn write_config(path: &Path, text: &str) -> Result<()> {
    file::replace(path, text.as_bytes(), Durability::Durable)
}
