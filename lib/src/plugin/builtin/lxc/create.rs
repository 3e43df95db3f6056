//! A container from a golden image: everything Proxmox does but unpacking, in its order and under its locks.
//!
//! 1. lock the container; take its number by creating its file, which says `lock: create`
//! 2. lock the storage; make the folder of its volumes; snapshot
//! 3. root folder 0755, machine id, SSH host keys
//! 4. the final file, with new MAC addresses, in one step
//!
//! What fails is undone in reverse, and what then remains is said.

use super::config::Config;
use super::golden::Image;
use super::making::{claim, write_config};
use super::rootfs::RootFs;
use super::settings::Settings;
use super::{golden, host, locks, members};
use crate::base::{Error, Result};
use crate::plugin::{Failure, Touched};
use crate::store::volumes::{Access, Subvolumes, Volumes};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A container that is going to be made.
#[derive(Debug, Clone)]
pub struct Creation {
    /// Its number.
    pub id: String,
    /// What it is a snapshot of.
    pub image: Image,
    /// The storage it will lie in.
    pub storage: String,
    /// Its subvolume.
    pub volume: PathBuf,
    /// Its configuration file.
    pub file: PathBuf,
    /// Its configuration, without the addresses that are drawn when it is made.
    pub config: Config,
}

impl Creation {
    /// What making a container with these members comes to. `at` is its place in the document.
    pub fn new(settings: &Settings, at: &str, id: &str, to: &Map<String, Value>) -> Result<Self> {
        let name = to.get("golden_image").and_then(Value::as_str).unwrap_or_default();
        let image = golden::find(settings, name).map_err(|error| error.on(format!("{at}.golden_image")))?;
        let asked = to.get("storage").and_then(Value::as_str).or(Some(&image.storage));
        let found =
            golden::storage_for(settings, &image.node, asked).map_err(|error| error.on(format!("{at}.storage")))?;
        if found.name != image.storage {
            return Err(Error::refused(format!(
                "the golden image lies in {}, and a snapshot stays where it is",
                image.storage
            ))
            .on(format!("{at}.storage"))
            .hint("leave `storage` out, or make the golden image in that storage too"));
        }
        let leaf = format!("subvol-{id}-disk-0.subvol");
        let mut config = Config::default();
        for (key, value) in members::to_keys(at, to)? {
            config.keys.extend(value.map(|value| (key, value)));
        }
        config.description = config.keys.remove("description").unwrap_or_default();
        let mut default = |key: &str, value: &str| {
            config.keys.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        };
        default("arch", &image.arch);
        default("ostype", &image.ostype);
        default("hostname", &format!("CT{id}"));
        default("memory", "512");
        default("swap", "512");
        default("unprivileged", if image.unprivileged { "1" } else { "0" });
        if image.has_systemd && image.unprivileged {
            default("features", "nesting=1");
        }
        default("rootfs", &format!("{}:{id}/{leaf},size=0T", found.name));
        for word in ["golden_image", "template"] {
            let said = to.get(word).and_then(Value::as_str);
            config.origin.extend(said.map(|value| (word.to_owned(), value.to_owned())));
        }
        Ok(Self {
            id: id.to_owned(),
            storage: found.name.clone(),
            volume: found.images(id)?.join(leaf),
            file: settings.config(&image.node, id),
            image,
            config,
        })
    }

    /// The arguments of the operation, as plans show it.
    #[must_use]
    pub fn arguments(&self) -> Vec<Value> {
        vec![json!({"from": self.image.path}), json!({"configuration": self.file, "content": self.config.to_text()})]
    }
}

/// What was done, newest last, and how it is taken back.
enum Done {
    File(PathBuf),
    Folder(PathBuf),
    Volume(PathBuf),
}

impl Done {
    fn undo(&self) -> Result<()> {
        match self {
            Self::File(path) => golden::remove_if_there(path),
            Self::Folder(path) => match fs::remove_dir(path) {
                // Something else is in it, which was there before or is not ours.
                Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(()),
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, &error)),
                _ => Ok(()),
            },
            Self::Volume(path) => Subvolumes.delete(path),
        }
    }
}

/// Makes the container, or leaves nothing of it.
pub fn create(settings: &Settings, creation: &Creation) -> Result<(), Failure> {
    let mut done = Vec::new();
    let Err(mut error) = make(settings, creation, &mut done) else { return Ok(()) };
    let left: Vec<Error> = done.iter().rev().filter_map(|step| step.undo().err()).collect();
    let touched = if left.is_empty() { Touched::No } else { Touched::Surely };
    error.also.extend(left);
    Err(Failure { error, touched })
}

fn make(settings: &Settings, creation: &Creation, done: &mut Vec<Done>) -> Result<()> {
    let Creation { id, image, storage, volume, file, config } = creation;
    let folder = volume.parent().unwrap_or(volume);
    let _container = locks::container(settings, id)?;
    let mut claimed = config.clone();
    claimed.keys.insert("lock".into(), "create".into());
    claim(file, &claimed)?;
    done.push(Done::File(file.clone()));
    {
        let _storage = locks::storage(settings, storage)?;
        let above = folder.parent().unwrap_or(folder);
        fs::create_dir_all(above).map_err(|error| Error::io("make the folder", above, &error))?;
        match DirBuilder::new().mode(0o740).create(folder) {
            Ok(()) => done.push(Done::Folder(folder.to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io("make the folder", folder, &error)),
        }
        Subvolumes.snapshot(&image.path, volume, Access::Writable)?;
        done.push(Done::Volume(volume.clone()));
    }
    let root = RootFs::open(volume, image.unprivileged)?;
    root.make_unique().map_err(|error| Error::io("make it unlike the golden image", volume, &error))?;
    give_keys(settings, &root, &image.ssh_host_keys, folder, id)?;
    let mut last = config.clone();
    draw_addresses(settings, &mut last)?;
    write_config(file, &last.to_text())
}

/// Makes SSH host keys outside of the container, which has no say in what runs, and puts them in.
pub(super) fn give_keys(settings: &Settings, root: &RootFs, types: &[String], folder: &Path, id: &str) -> Result<()> {
    if types.is_empty() || !settings.ssh_keygen.exists() {
        return Ok(());
    }
    let place = folder.join(format!(".staging-keys-{id}"));
    let attempt = |error: &std::io::Error| Error::io("make SSH host keys", &place, error);
    DirBuilder::new().mode(0o700).create(&place).map_err(|error| attempt(&error))?;
    let made = keys_in(settings, root, types, &place, id);
    let removed = fs::remove_dir_all(&place);
    made.map_err(|error| attempt(&error))?;
    removed.map_err(|error| attempt(&error))
}

fn keys_in(settings: &Settings, root: &RootFs, types: &[String], place: &Path, id: &str) -> std::io::Result<()> {
    let begin = |kind: &String| -> std::io::Result<(String, Child)> {
        let name = format!("ssh_host_{kind}_key");
        let child = Command::new(&settings.ssh_keygen)
            .args(["-q", "-t", kind, "-N", "", "-C", &format!("root@CT{id}"), "-f"])
            .arg(place.join(&name))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok((name, child))
    };
    let begun = types.iter().map(begin).collect::<Vec<_>>();
    let mut ended = Vec::new();
    for begun in begun {
        ended.push(begun.and_then(|(name, mut child)| Ok((name, child.wait()?))));
    }
    for outcome in ended {
        let (name, status) = outcome?;
        if !status.success() {
            return Err(std::io::Error::other(format!("ssh-keygen ended with {status}")));
        }
        root.write(&format!("etc/ssh/{name}"), &fs::read(place.join(&name))?, 0o600)?;
        root.write(&format!("etc/ssh/{name}.pub"), &fs::read(place.join(format!("{name}.pub")))?, 0o644)?;
    }
    Ok(())
}

/// Gives every network without a MAC address one that no guest of the cluster has.
fn draw_addresses(settings: &Settings, config: &mut Config) -> Result<()> {
    let needs = |key: &str, value: &str| key.starts_with("net") && !value.contains("hwaddr=");
    let wanting: Vec<String> =
        config.keys.iter().filter(|(key, value)| needs(key, value)).map(|(key, _)| key.clone()).collect();
    if wanting.is_empty() {
        return Ok(());
    }
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for found in host::containers(settings, None)?.values() {
        taken.extend(found.config.keys.values().filter_map(|value| address_in(value)).map(str::to_uppercase));
    }
    let prefix = prefix(settings)?;
    for key in wanting {
        let address = loop {
            let address = random(&prefix)?;
            if taken.insert(address.clone()) {
                break address;
            }
        };
        if let Some(value) = config.keys.get_mut(&key) {
            value.push_str(&format!(",hwaddr={address}"));
            if !value.contains("type=") {
                value.push_str(",type=veth");
            }
        }
    }
    Ok(())
}

fn address_in(network: &str) -> Option<&str> {
    network.split(',').find_map(|word| word.strip_prefix("hwaddr="))
}

/// How the addresses of this cluster begin: `mac_prefix` of `datacenter.cfg`, else Proxmox's own.
fn prefix(settings: &Settings) -> Result<String> {
    let text = crate::store::file::read(&settings.pve.join("datacenter.cfg"))?.unwrap_or_default();
    let said = text.lines().find_map(|line| line.strip_prefix("mac_prefix:")).map(str::trim);
    let is_whole = |prefix: &&str| {
        prefix.split(':').count() <= 5 && prefix.split(':').all(|byte| u8::from_str_radix(byte, 16).is_ok())
    };
    Ok(said.filter(is_whole).unwrap_or("BC:24:11").to_uppercase())
}

pub(super) fn random(prefix: &str) -> Result<String> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; 6];
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| Error::io("draw an address", source, &error))?;
    let mut address = prefix.to_owned();
    for byte in bytes.iter().take(6 - prefix.split(':').count()) {
        address.push_str(&format!(":{byte:02X}"));
    }
    Ok(address)
}
