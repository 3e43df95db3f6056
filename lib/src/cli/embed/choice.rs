//! Which model computes, on what: the options of `op-embed`, its environment, and what is installed.

use crate::base::{Error, Result};
use crate::cli::Cli;
use crate::embed::cache::{Cache, Options as CacheOptions};
use crate::embed::codec::VectorType;
use crate::embed::embedder::Kept;
use crate::embed::engine::{Options, Places, Provider, Wanted};
use crate::embed::kept::Cached;
use crate::embed::model::{Level, Shelf};
use crate::embed::{Embedder, Model};
use std::path::PathBuf;
use std::sync::Arc;

/// Where models lie that came with the system, unless `$OP_DBUS_MODELS` says otherwise.
const SHIPPED: &str = "/usr/share/op-dbus/models";

/// What the options of a command say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// `--model`: a name or a folder.
    pub model: Option<String>,
    /// `--level`.
    pub level: Option<String>,
    /// `--runtime`.
    pub runtime: Option<String>,
    /// `--provider`: words with commas between them.
    pub provider: Option<String>,
    /// `--threads`.
    pub threads: Option<usize>,
    /// `--numa`.
    pub numa: Option<String>,
    /// `--type`.
    pub vector_type: Option<String>,
    /// `--no-cache`.
    pub no_cache: bool,
}

impl Choice {
    /// How much is spent: `--level`, else `$OP_DBUS_EMBED_LEVEL`.
    pub fn level(&self, cli: &Cli) -> Result<Option<Level>> {
        let said = self.level.as_deref().or_else(|| cli.env.text("OP_DBUS_EMBED_LEVEL"));
        said.map(str::parse).transpose().map_err(|e: Error| e.or_on("--level"))
    }

    /// The model: the one that is named, else that of the level, else the one in use.
    pub fn model(&self, cli: &Cli) -> Result<Model> {
        let shelf = shelf(cli)?;
        match (&self.model, self.level(cli)?) {
            (Some(name), _) => shelf.named(name),
            (None, Some(level)) if level != Level::None => shelf.of_level(level),
            _ => shelf.usual(),
        }
    }

    /// How an engine is opened.
    pub fn options(&self, cli: &Cli) -> Result<Options> {
        let runtime = match self.runtime.as_deref() {
            None | Some("auto") => Wanted::Any,
            Some("tract") => Wanted::BuiltIn,
            Some(path) => Wanted::At(path.into()),
        };
        let placement = Some(super::keep::wishes(self.numa.as_deref(), cli)?);
        let (places, threads) = (places(cli), self.threads);
        let mut options = Options { runtime, places, threads, placement, ..Options::default() };
        if self.threads == Some(0) {
            return Err(Error::usage("no thread computes nothing").on("--threads"));
        }
        if let Some(words) = &self.provider {
            let providers = words.split(',').map(|word| word.trim().parse::<Provider>());
            options.providers = providers.collect::<Result<_>>().map_err(|e| e.or_on("--provider"))?;
        }
        Ok(options)
    }

    /// How a vector is written, and so how exact every answer is: `--type`, else half precision, which keeps the ten
    /// nearest of a query in 999 of 1000 cases.
    pub fn vector_type(&self) -> Result<VectorType> {
        let said = self.vector_type.as_deref().map(VectorType::parse).transpose();
        Ok(said.map_err(|e| e.or_on("--type"))?.unwrap_or(VectorType::F16))
    }

    /// What answers: the cache, and the model behind it.
    pub fn embedder(&self, cli: &mut Cli) -> Result<Embedder> {
        let cache = if self.no_cache { None } else { cache(cli)? };
        self.embedder_with(cache, cli)
    }

    /// The same with a cache that is open.
    pub fn embedder_with(&self, cache: Option<Arc<Cache>>, cli: &Cli) -> Result<Embedder> {
        let (model, vector_type) = (self.model(cli)?, self.vector_type()?);
        let kept = cache.map(|cache| Box::new(Cached::new(cache, &model, vector_type)) as Box<dyn Kept>);
        let embedder = Embedder::new(model, self.options(cli)?, vector_type, kept);
        Ok(if self.level(cli)? == Some(Level::None) { embedder.only_kept() } else { embedder })
    }
}

/// The cache of the state root; none, and a warning, when it cannot be used. What is used least goes when it would get
/// larger than `$OP_DBUS_EMBED_MAX_BYTES`.
pub fn cache(cli: &mut Cli) -> Result<Option<Arc<Cache>>> {
    let folder = cli.root()?.embeddings();
    let said = cli.env.text("OP_DBUS_EMBED_MAX_BYTES");
    let max_bytes = said.map(|text| size(text, "OP_DBUS_EMBED_MAX_BYTES")).transpose()?;
    match Cache::open(&folder, CacheOptions { max_bytes, ..CacheOptions::default() }) {
        Ok(cache) => Ok(Some(Arc::new(cache))),
        Err(error) => {
            cli.out.warn(&format!("{error}\nthe answers are right without the cache, only slower"));
            Ok(None)
        }
    }
}

/// The models there are.
pub fn shelf(cli: &Cli) -> Result<Shelf> {
    let shipped = cli.env.get("OP_DBUS_MODELS").map_or_else(|| SHIPPED.into(), PathBuf::from);
    Ok(Shelf::new(&cli.root()?, shipped))
}

/// Where ONNX Runtime may lie: what the environment names, the folders of distributions, and Nix profiles.
fn places(cli: &Cli) -> Places {
    let named = cli.env.get("ORT_DYLIB_PATH").map(PathBuf::from);
    // One that was installed by us comes before those of the system, which may be too old.
    let mut folders: Vec<PathBuf> = cli.root().map(|root| root.runtime()).into_iter().collect();
    folders.extend(["/usr/local/lib", "/usr/lib", "/usr/lib64"].map(PathBuf::from));
    folders.push(format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH).into());
    folders.push("/usr/lib/op-dbus".into());
    let profiles = cli.env.text("NIX_PROFILES").unwrap_or_default().split_whitespace().map(PathBuf::from);
    let usual = ["/run/current-system/sw", "/nix/var/nix/profiles/default"].map(PathBuf::from);
    let home = cli.env.get("HOME").map(|home| PathBuf::from(home).join(".nix-profile"));
    folders.extend(profiles.chain(usual).chain(home).map(|profile| profile.join("lib")));
    Places { named, folders }
}

/// Bytes, with K, M or G for powers of 1024.
pub fn size(text: &str, option: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" => Some(1),
        "K" | "KiB" => Some(1 << 10),
        "M" | "MiB" => Some(1 << 20),
        "G" | "GiB" => Some(1u64 << 30),
        _ => None,
    };
    let bytes = factor.and_then(|factor| digits.parse::<u64>().ok()?.checked_mul(factor));
    bytes.ok_or_else(|| Error::usage("this is no size").on(format!("{option} {text}")).hint("512M, for example"))
}
