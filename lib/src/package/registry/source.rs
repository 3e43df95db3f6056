//! Registries that are asked, and their indexes as they were fetched last.

use super::index::{FILE, Index, MAX_BYTES};
use crate::base::name::PluginName;
use crate::base::{Error, Kind, Result, time};
use crate::package::fetch::{Fetching, Place};
use crate::package::keyring::{Keyring, REVOKED, TrustedKey};
use crate::package::revocation::Revocations;
use crate::store::file;
use crate::store::{StateRoot, Store, volumes};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The file that says where a registry is.
const SOURCE: &str = "source.json";

/// A registry that is asked: `source.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Source {
    /// Always `registry_source`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// When it was added: of two that have a package of one name, the one that was added first is asked.
    pub added_at: String,
    /// The text of the `.pub` of the key that it must be signed with; any trusted key when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// A registry and its index.
#[derive(Debug, Clone)]
pub struct Registry {
    /// Where it is.
    pub source: Source,
    /// What it has.
    pub index: Index,
    /// The number of the key the index is signed with.
    pub key: String,
    /// What it says was revoked.
    pub revoked: Option<Revocations>,
}

/// A registry that cannot be used, and why.
pub type Unusable = (Source, Error);

/// What `op-install registry list`, `add`, `remove` and `refresh` print.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RegistriesReport {
    /// Always `registries`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The registries, in the order in which they are asked.
    pub registries: Vec<RegistryReport>,
}

/// One registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RegistryReport {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// The number of the index that was fetched last.
    pub number: u64,
    /// Until when that is current.
    pub expires_at: String,
    /// How many packages it has.
    pub packages: usize,
    /// The number of the key it is signed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Why it cannot be used, when it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Registry {
    /// Where it is.
    pub fn place(&self) -> Result<Place> {
        Place::of(&self.source.url)
    }

    /// What is said of it.
    #[must_use]
    pub fn report(&self) -> RegistryReport {
        RegistryReport {
            name: self.source.name.clone(),
            url: self.source.url.clone(),
            number: self.index.number,
            expires_at: self.index.expires_at.clone(),
            packages: self.index.packages.len(),
            key: Some(self.key.clone()),
            problem: self.index.must_be_current(SystemTime::now()).err().map(|e| e.message),
        }
    }
}

fn folder(root: &StateRoot, name: &str) -> PathBuf {
    root.registries().join(name)
}

/// The keys that count for a registry.
fn ring(source: &Source, keyring: &Keyring) -> Result<Keyring> {
    let Some(text) = &source.key else { return Ok(keyring.clone()) };
    let mut ring = Keyring::default().with(TrustedKey::parse(text, Path::new("the registry's key"))?);
    ring.revoke(keyring.revoked().clone());
    Ok(ring)
}

/// The registries that are asked, in that order. One that cannot be read is in the second list, with the reason.
pub fn all(root: &StateRoot, keyring: &Keyring) -> Result<(Vec<Registry>, Vec<Unusable>)> {
    let mut sources = Vec::new();
    let entries = match std::fs::read_dir(root.registries()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
        entries => entries.map_err(|e| Error::io("list the registries", &root.registries(), &e))?,
    };
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("list the registries", &root.registries(), &e))?;
        if volumes::is_staging(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let path = entry.path().join(SOURCE);
        if let Some(text) = file::read(&path)? {
            let source: Source = serde_json::from_str(&text)
                .map_err(|e| Error::failed(format!("this cannot be read: {e}")).on(path.display().to_string()))?;
            sources.push(source);
        }
    }
    sources.sort_by(|a, b| (&a.added_at, &a.name).cmp(&(&b.added_at, &b.name)));
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for source in sources {
        match load(root, &source, keyring) {
            Ok(registry) => good.push(registry),
            Err(error) => bad.push((source, error)),
        }
    }
    Ok((good, bad))
}

/// The registries as a document.
pub fn report(root: &StateRoot, keyring: &Keyring) -> Result<RegistriesReport> {
    let (good, bad) = all(root, keyring)?;
    let unusable = bad.into_iter().map(|(source, error)| RegistryReport {
        name: source.name,
        url: source.url,
        number: 0,
        expires_at: String::new(),
        packages: 0,
        key: None,
        problem: Some(error.to_string()),
    });
    let registries = good.iter().map(Registry::report).chain(unusable).collect();
    Ok(RegistriesReport { kind: "registries".into(), version: 1, registries })
}

fn load(root: &StateRoot, source: &Source, keyring: &Keyring) -> Result<Registry> {
    let folder = folder(root, &source.name);
    let text = |name: &str| file::read_up_to(&folder.join(name), MAX_BYTES);
    let missing = || Error::untrusted("nothing was fetched from it yet").hint("op-install registry refresh");
    let index = text(FILE)?.ok_or_else(missing)?;
    let signature = text(&format!("{FILE}.minisig"))?.ok_or_else(missing)?;
    let ring = ring(source, keyring)?;
    let (index, key) = Index::verified(index.as_bytes(), &signature, &ring, &folder.join(FILE).display().to_string())?;
    let revoked = match (text(REVOKED)?, text(&format!("{REVOKED}.minisig"))?) {
        (Some(list), Some(signature)) => Some(Revocations::verified(&list, &signature, ring.keys(), REVOKED)?),
        _ => None,
    };
    Ok(Registry { source: source.clone(), index, key: key.id, revoked })
}

/// Adds a registry, whose index is fetched and must be good.
pub fn add(
    store: &Store,
    url: &str,
    name: Option<&str>,
    key: Option<String>,
    keyring: &Keyring,
    fetching: &Fetching,
) -> Result<Registry> {
    if url.contains(['?', '#']) {
        return Err(Error::usage("the address of a registry is a folder's").on(url).hint("without ? and #"));
    }
    let url = url.strip_suffix(FILE).unwrap_or(url).trim_end_matches('/');
    // A folder is one wherever the next run stands.
    let url = match Place::of(url)? {
        place @ Place::File(_) => place.to_string(),
        Place::Web(url) => url,
    };
    let mut source = Source {
        kind: "registry_source".into(),
        version: 1,
        name: String::new(),
        url,
        added_at: time::rfc3339_ms(SystemTime::now()),
        key,
    };
    let fetched = fetch(&source, keyring, fetching)?;
    source.name = name.map_or_else(|| fetched.index.name.clone(), str::to_owned);
    PluginName::new(&source.name).map_err(|e| e.on(format!("--name {:?}", source.name)))?;
    if folder(store.root(), &source.name).join(SOURCE).exists() {
        return Err(Error::refused("there is a registry of that name")
            .on(source.name)
            .hint("op-install registry list shows it; say --name NAME for another name"));
    }
    fetched.index.must_be_current(SystemTime::now())?;
    store.root().make_parent(&folder(store.root(), &source.name))?;
    keep(store, &source, &fetched)?;
    load(store.root(), &source, keyring)
}

/// Forgets a registry. What was installed from it stays.
pub fn remove(store: &Store, name: &str) -> Result<()> {
    PluginName::new(name)?;
    let folder = folder(store.root(), name);
    if !folder.join(SOURCE).exists() {
        return Err(Error::bad_input("there is no such registry").on(name).hint("op-install registry list shows them"));
    }
    let staging = staging(store, name)?;
    store.volumes().swap(&folder, &staging)?;
    store.volumes().commit(&store.root().registries())?;
    std::fs::remove_dir_all(&staging).map_err(|e| Error::io("remove the registry", &staging, &e))
}

/// Fetches a registry's index again. An older one than was seen, or one that has ended, is refused.
pub fn refresh(store: &Store, source: &Source, keyring: &Keyring, fetching: &Fetching) -> Result<Registry> {
    let fetched = fetch(source, keyring, fetching)?;
    let now = SystemTime::now();
    fetched.index.must_be_current(now)?;
    // What was seen is looked at without its signature: its key may have ended since, and its number counts still.
    let path = folder(store.root(), &source.name).join(FILE);
    if let Some(seen) = file::read_up_to(&path, MAX_BYTES)? {
        let hint = "somebody may be holding this machine back at what was current once; if the registry was made anew, remove it \
                    and add it again";
        must_follow(&seen, &path, &fetched).map_err(|error| error.on(source.url.clone()).hint(hint))?;
    }
    keep(store, source, &fetched)?;
    load(store.root(), source, keyring)
}

/// Refuses an index that is no later one of the same registry than `seen`, which lies at `path`.
pub(super) fn must_follow(seen: &str, path: &Path, fetched: &FetchedIndex) -> Result<()> {
    let (seen_index, index) = (Index::parse(seen.as_bytes(), &path.display().to_string())?, &fetched.index);
    let why = if index.number < seen_index.number {
        format!("the registry gives index number {}, and number {} was seen before", index.number, seen_index.number)
    } else if index.number == seen_index.number && fetched.bytes != seen.as_bytes() {
        format!("the registry gives another index number {} than before", seen_index.number)
    } else if index.name != seen_index.name {
        format!("the registry is called {} and was {}", index.name, seen_index.name)
    } else {
        return Ok(());
    };
    Err(Error::untrusted(why))
}

/// What was fetched of a registry, verified.
pub(super) struct FetchedIndex {
    pub(super) bytes: Vec<u8>,
    pub(super) signature: String,
    pub(super) index: Index,
    pub(super) revoked: Option<(Revocations, Vec<u8>, String)>,
}

pub(super) fn fetch(source: &Source, keyring: &Keyring, fetching: &Fetching) -> Result<FetchedIndex> {
    let place = Place::of(&source.url)?;
    let at = place.join(FILE);
    let missing = || Error::new(Kind::Unavailable, "there is no index of a registry").on(at.to_string());
    let ring = ring(source, keyring)?;
    let bytes = fetching.file(&at, MAX_BYTES)?.ok_or_else(missing)?;
    let unsigned = || Error::untrusted("the index of the registry is not signed").on(at.to_string());
    let signature = fetching.beside(&at, ".minisig")?.ok_or_else(unsigned)?;
    let (index, _) = Index::verified(&bytes, &signature, &ring, &at.to_string())?;
    let at = place.join(REVOKED);
    let revoked = match fetching.file(&at, MAX_BYTES)? {
        Some(bytes) => {
            let unsigned = || Error::untrusted("the list of what was revoked is not signed").on(at.to_string());
            let signature = fetching.beside(&at, ".minisig")?.ok_or_else(unsigned)?;
            let text =
                std::str::from_utf8(&bytes).map_err(|_| Error::untrusted("it is not text").on(at.to_string()))?;
            let list = Revocations::verified(text, &signature, ring.keys(), &at.to_string())?;
            Some((list, bytes, signature))
        }
        None => None,
    };
    Ok(FetchedIndex { bytes, signature, index, revoked })
}

/// Puts what was fetched in the place of what was known, in one step: an index never lies beside another's signature.
fn keep(store: &Store, source: &Source, fetched: &FetchedIndex) -> Result<()> {
    let folder = folder(store.root(), &source.name);
    let staging = staging(store, &source.name)?;
    let write = |name: &str, bytes: &[u8]| file::replace(&staging.join(name), bytes, store.volumes().durability());
    std::fs::create_dir(&staging).map_err(|e| Error::io("make the folder of the registry", &staging, &e))?;
    let text = serde_json::to_string_pretty(source).map_err(|e| Error::failed(format!("could not write JSON: {e}")))?;
    let kept = (|| {
        write(SOURCE, text.as_bytes())?;
        write(&format!("{FILE}.minisig"), fetched.signature.as_bytes())?;
        write(FILE, &fetched.bytes)?;
        let signed = format!("{REVOKED}.minisig");
        let seen = (file::read(&folder.join(REVOKED))?, file::read(&folder.join(&signed))?);
        let number = seen.0.as_ref().and_then(|text| Revocations::parse(text, REVOKED).ok()).map(|list| list.number);
        match (&fetched.revoked, seen) {
            (Some((list, bytes, signature)), _) if number.is_none_or(|number| number < list.number) => {
                write(&signed, signature.as_bytes())?;
                write(REVOKED, bytes)?;
            }
            (_, (Some(list), Some(signature))) => {
                write(&signed, signature.as_bytes())?;
                write(REVOKED, list.as_bytes())?;
            }
            _ => {}
        }
        store.volumes().swap(&staging, &folder)?;
        store.volumes().commit(&store.root().registries())
    })();
    // What was there before, or what failed; the next run takes away what cannot be taken away now.
    let _ = std::fs::remove_dir_all(&staging);
    kept
}

/// A name for what is unfinished; what crashed runs left goes.
fn staging(store: &Store, name: &str) -> Result<PathBuf> {
    let registries = store.root().registries();
    for left in volumes::names(&registries)?.iter().filter(|name| volumes::is_staging(name)) {
        let left = registries.join(left);
        std::fs::remove_dir_all(&left).map_err(|e| Error::io("sweep a leftover", &left, &e))?;
    }
    Ok(store.staging(&registries, name))
}
