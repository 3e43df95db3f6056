//! Registries: made of packages, asked for packages, searched, copied.

use op_dbus::base::{Error, Result, time};
use op_dbus::cli::{Cli, Outcome, show_registries};
use op_dbus::package::fetch::Place;
use op_dbus::package::keyring::{Keyring, TrustedKey};
use op_dbus::package::registry::build::{Building, build};
use op_dbus::package::registry::mirror::mirror;
use op_dbus::package::registry::offers;
use op_dbus::package::registry::source::{self, RegistriesReport};
use op_dbus::package::signing::SigningKey;
use op_dbus::store::{StateRoot, file};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// make, add, search, refresh and copy registries of packages
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "registry")]
pub struct Registry {
    #[argh(subcommand)]
    command: Command,
}

#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand)]
enum Command {
    Add(Add),
    Build(Build),
    List(List),
    Mirror(Mirror),
    Refresh(Refresh),
    Remove(Remove),
    Search(Search),
}

/// ask a registry from now on: its index is fetched and must be signed with a key that is trusted
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "add")]
struct Add {
    /// its https:, http: or file: URL, or a folder
    #[argh(positional, arg_name = "URL")]
    url: String,
    /// what it is called here (default: as its index says)
    #[argh(option, arg_name = "NAME")]
    name: Option<String>,
    /// its index must be signed with this public key, which counts for its packages, too
    #[argh(option, arg_name = "FILE")]
    key: Option<String>,
    /// wait this long for another run to end (default 10s)
    #[argh(option, arg_name = "DUR")]
    lock_timeout: Option<String>,
}

/// make a signed index.json of a folder of packages
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "build")]
struct Build {
    /// the folder
    #[argh(positional, arg_name = "DIR")]
    folder: String,
    /// sign with this secret key
    #[argh(option, arg_name = "FILE")]
    key: String,
    /// the password of the key is the first line of this file
    #[argh(option, arg_name = "FILE")]
    password_file: Option<String>,
    /// what the registry is called (default: as before, or as its folder)
    #[argh(option, arg_name = "NAME")]
    name: Option<String>,
    /// how long the index is current (default 90 days: 2160h)
    #[argh(option, arg_name = "DUR")]
    lifetime: Option<String>,
    /// take a version back: NAME@VERSION=REASON (may be repeated)
    #[argh(option, arg_name = "WHAT")]
    yank: Vec<String>,
    /// give a version again that was taken back: NAME@VERSION (may be repeated)
    #[argh(option, arg_name = "WHAT")]
    unyank: Vec<String>,
    /// a public key of somebody else whose packages are in it (may be repeated)
    #[argh(option, arg_name = "FILE")]
    publisher: Vec<String>,
}

/// list the registries that are asked, in that order
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "list")]
struct List {}

/// copy a registry into a folder, for machines that cannot reach it
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "mirror")]
struct Mirror {
    /// the registry's name, or its URL
    #[argh(positional, arg_name = "NAME|URL")]
    what: String,
    /// the folder
    #[argh(positional, arg_name = "DIR")]
    folder: String,
    /// with a URL: its index must be signed with this public key
    #[argh(option, arg_name = "FILE")]
    key: Option<String>,
}

/// fetch the indexes of registries again
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "refresh")]
struct Refresh {
    /// the registries' names; all when none is named
    #[argh(positional, arg_name = "NAME")]
    names: Vec<String>,
    /// wait this long for another run to end (default 10s)
    #[argh(option, arg_name = "DUR")]
    lock_timeout: Option<String>,
}

/// ask a registry no longer; what was installed from it stays
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "remove")]
struct Remove {
    /// its name
    #[argh(positional, arg_name = "NAME")]
    name: String,
    /// wait this long for another run to end (default 10s)
    #[argh(option, arg_name = "DUR")]
    lock_timeout: Option<String>,
}

/// search the registries' plugins by name, description and service
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "search")]
struct Search {
    /// all of them must be found; without one everything is listed
    #[argh(positional, arg_name = "WORD")]
    words: Vec<String>,
}

/// Runs `registry`.
pub fn run(args: Registry, cli: &mut Cli) -> Result<Outcome> {
    match args.command {
        Command::Add(args) => add(&args, cli),
        Command::Build(args) => make(&args, cli),
        Command::List(_) => list(cli),
        Command::Mirror(args) => copy(&args, cli),
        Command::Refresh(args) => refresh(&args, cli),
        Command::Remove(args) => remove(&args, cli),
        Command::Search(args) => search(&args, cli),
    }
    .map(|()| Outcome::Done)
}

fn add(args: &Add, cli: &mut Cli) -> Result<()> {
    let root = cli.root()?;
    let keyring = cli.keyring(&root, &[])?;
    let key = args.key.as_deref().map(|path| cli.public_key(path)).transpose()?;
    let store = cli.store(&root, args.lock_timeout.as_deref())?;
    let fetching = cli.fetching(&root, false);
    let added = source::add(&store, &args.url, args.name.as_deref(), key, &keyring, &fetching)?;
    let about = json!({"name": added.source.name, "url": Place::of(&added.source.url)?.to_string(), "key": added.key});
    cli.record_trust(&root, "a registry is asked", about)?;
    let report = RegistriesReport { kind: "registries".into(), version: 1, registries: vec![added.report()] };
    show_registries::registries(&mut cli.out, &report)
}

fn make(args: &Build, cli: &mut Cli) -> Result<()> {
    let text = file::read(Path::new(&args.key))?
        .ok_or_else(|| Error::bad_input("there is no such key file").on(args.key.clone()))?;
    let password = match &args.password_file {
        Some(path) => {
            let text =
                file::read(Path::new(path))?.ok_or_else(|| Error::bad_input("there is no such file").on(path))?;
            Some(text.lines().next().unwrap_or_default().to_owned())
        }
        None => None,
    };
    let key = SigningKey::parse(&text, password.as_deref(), &args.key)?;
    let lifetime = time::parse_duration(args.lifetime.as_deref().unwrap_or("2160h"))?;
    let mut keyring = Keyring::of_folder(&StateRoot::trusted_keys())?;
    for publisher in &args.publisher {
        keyring = keyring.with(TrustedKey::parse(&cli.public_key(publisher)?, Path::new(publisher))?);
    }
    let keyring = keyring.with(TrustedKey::parse(&key.public()?, Path::new(&args.key))?);
    let mut yank = BTreeMap::new();
    for what in &args.yank {
        let parts = what.split_once('=').filter(|(id, why)| id.contains('@') && !why.trim().is_empty());
        let (id, why) = parts.ok_or_else(|| {
            Error::usage("a version is taken back for a reason")
                .on(format!("--yank {what:?}"))
                .hint("NAME@VERSION=REASON")
        })?;
        yank.insert(id.to_owned(), why.trim().to_owned());
    }
    let building =
        Building { name: args.name.as_deref(), lifetime, yank: &yank, unyank: &args.unyank, keyring: &keyring };
    let report = build(Path::new(&args.folder), &key, &building)?;
    show_registries::built(&mut cli.out, &report)
}

fn list(cli: &mut Cli) -> Result<()> {
    let root = cli.root()?;
    let report = source::report(&root, &cli.keyring(&root, &[])?)?;
    show_registries::registries(&mut cli.out, &report)
}

fn copy(args: &Mirror, cli: &mut Cli) -> Result<()> {
    let root = cli.root()?;
    let keyring = cli.keyring(&root, &[])?;
    let (known, _) = source::all(&root, &keyring)?;
    let (url, key) = match known.into_iter().find(|registry| registry.source.name == args.what) {
        Some(registry) => (registry.source.url, registry.source.key),
        None => (args.what.clone(), None),
    };
    let key = args.key.as_deref().map(|path| cli.public_key(path)).transpose()?.or(key);
    let fetching = cli.fetching(&root, false);
    let mut progress = cli.out.progress();
    let report = mirror(&url, key, Path::new(&args.folder), &keyring, &fetching, &mut progress);
    progress.finish();
    show_registries::mirrored(&mut cli.out, &report?)
}

/// Each by itself: one that cannot be reached keeps nobody from the others.
fn refresh(args: &Refresh, cli: &mut Cli) -> Result<()> {
    let root = cli.root()?;
    let keyring = cli.keyring(&root, &[])?;
    let store = cli.store(&root, args.lock_timeout.as_deref())?;
    let fetching = cli.fetching(&root, false);
    let (known, broken) = source::all(&root, &keyring)?;
    let sources: Vec<_> =
        known.into_iter().map(|registry| registry.source).chain(broken.into_iter().map(|(source, _)| source)).collect();
    if let Some(unknown) = args.names.iter().find(|name| !sources.iter().any(|source| source.name == **name)) {
        return Err(Error::bad_input("there is no such registry")
            .on(unknown.clone())
            .hint("op-install registry list shows them"));
    }
    let wanted = sources.iter().filter(|source| args.names.is_empty() || args.names.contains(&source.name));
    let (mut registries, mut errors) = (Vec::new(), Vec::new());
    for source in wanted {
        match source::refresh(&store, source, &keyring, &fetching) {
            Ok(registry) => registries.push(registry.report()),
            Err(error) => errors.push(error.or_on(source.name.clone())),
        }
    }
    if let Some(error) = Error::all(errors) {
        return Err(error);
    }
    show_registries::registries(&mut cli.out, &RegistriesReport { kind: "registries".into(), version: 1, registries })
}

fn remove(args: &Remove, cli: &mut Cli) -> Result<()> {
    let root = cli.root()?;
    source::remove(&cli.store(&root, args.lock_timeout.as_deref())?, &args.name)?;
    cli.record_trust(&root, "a registry is asked no longer", json!({"name": args.name}))?;
    cli.out.tick(true, &format!("Removed the registry {}", args.name));
    Ok(())
}

fn search(args: &Search, cli: &mut Cli) -> Result<()> {
    let root = cli.root()?;
    let keyring = cli.keyring(&root, &[])?;
    let registries = cli.registries(&root, &keyring)?;
    let report = offers::search(&registries, &cli.catalog(&root)?, &args.words);
    show_registries::found(&mut cli.out, &report)
}
