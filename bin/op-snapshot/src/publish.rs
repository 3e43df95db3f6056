//! Packages: keys, and plugins published with them.

use op_dbus::base::name::PluginName;
use op_dbus::base::{Error, Result};
use op_dbus::cli::{Cli, show_packages};
use op_dbus::package::publish::{self, Existing, beside, write_new};
use op_dbus::package::revocation::Revocations;
use op_dbus::package::signing::{self, SigningKey};
use op_dbus::package::versions;
use op_dbus::plugin::author::finding::Level;
use op_dbus::plugin::author::lint::{self, Subject};
use op_dbus::store::file;
use std::path::Path;

/// make a pair of keys to sign packages with: FILE is secret, FILE.pub is for everybody
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "keygen")]
pub struct Keygen {
    /// where to write them; what is there is left alone
    #[argh(option, arg_name = "FILE")]
    out: String,
    /// protect the secret key with the password that is the first line of this file
    #[argh(option, arg_name = "FILE")]
    password_file: Option<String>,
}

/// make a signed package of a plugin
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "publish")]
pub struct Publish {
    /// the plugin's name, or the path of a folder
    #[argh(positional, arg_name = "PLUGIN")]
    plugin: String,
    /// the version it should be; plugin.toml says it, too
    #[argh(option, arg_name = "V")]
    version: Option<String>,
    /// sign with this secret key
    #[argh(option, arg_name = "FILE")]
    key: Option<String>,
    /// the password of the key is the first line of this file
    #[argh(option, arg_name = "FILE")]
    password_file: Option<String>,
    /// do not sign it: it can be installed with --allow-unsigned only
    #[argh(switch)]
    unsigned: bool,
    /// the folder to write the package to (default: this one)
    #[argh(option, arg_name = "DIR")]
    out: Option<String>,
    /// wait this long for another run to end (default 10s)
    #[argh(option, arg_name = "DUR")]
    lock_timeout: Option<String>,
}

/// take back trust: write a signed list of keys and packages that count no longer
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "revoke")]
pub struct Revoke {
    /// numbers of keys (16 hexadecimal digits), or SHA-256 of packages (64)
    #[argh(positional, arg_name = "WHAT")]
    what: Vec<String>,
    /// why, for everybody to read
    #[argh(option, arg_name = "TEXT")]
    reason: Option<String>,
    /// sign with this secret key
    #[argh(option, arg_name = "FILE")]
    key: String,
    /// the password of the key is the first line of this file
    #[argh(option, arg_name = "FILE")]
    password_file: Option<String>,
    /// the list: what is in it stays (default: revoked.list)
    #[argh(option, arg_name = "FILE")]
    out: Option<String>,
}

/// Runs `revoke`.
pub fn revoke(args: &Revoke, cli: &mut Cli) -> Result<()> {
    if args.what.is_empty() {
        return Err(
            Error::usage("there is nothing to revoke").hint("name keys or packages; op-install keys lists keys")
        );
    }
    let path = Path::new(args.out.as_deref().unwrap_or("revoked.list"));
    let mut list = match file::read(path)? {
        Some(text) => Revocations::parse(&text, &path.display().to_string())?,
        None => Revocations::default(),
    };
    for what in &args.what {
        let kind = if what.len() == 64 { "package" } else { "key" };
        list.add(kind, what, args.reason.clone().unwrap_or_default())?;
    }
    list.number += 1;
    let key = signing_key(&args.key, args.password_file.as_deref())?;
    write_new(&beside(path, ".minisig"), list.sign(&key)?.as_bytes(), 0o644, Existing::Replace)?;
    write_new(path, list.text().as_bytes(), 0o644, Existing::Replace)?;
    show_packages::revoked(&mut cli.out, path, &list)
}

/// Runs `keygen`.
pub fn keygen(args: &Keygen, cli: &mut Cli) -> Result<()> {
    let secret = Path::new(&args.out);
    let public = beside(secret, ".pub");
    for path in [secret, &public] {
        if path.exists() {
            return Err(Error::refused("there is something of that name already")
                .on(path.display().to_string())
                .hint("choose another name: a key that is lost is lost"));
        }
    }
    let password = args.password_file.as_deref().map(password).transpose()?;
    let keys = signing::generate(password.as_deref())?;
    write_new(secret, keys.secret.as_bytes(), 0o600, Existing::Keep)?;
    write_new(&public, keys.public.as_bytes(), 0o644, Existing::Keep)?;
    show_packages::keys(&mut cli.out, &keys.id, secret, &public, password.is_some())
}

/// Runs `publish`.
pub fn publish(args: &Publish, cli: &mut Cli) -> Result<()> {
    let version = args.version.as_deref().map(versions::parse).transpose()?;
    let key = match (&args.key, args.unsigned) {
        (Some(key), false) => Some(signing_key(key, args.password_file.as_deref())?),
        (None, true) => None,
        (Some(_), true) => return Err(Error::usage("these contradict each other").on("--key and --unsigned")),
        (None, false) => {
            return Err(Error::usage("there is no key to sign the package with")
                .hint("say --key FILE (op-snapshot keygen --out FILE makes one), or --unsigned"));
        }
    };
    let out = Path::new(args.out.as_deref().unwrap_or("."));
    let report = if args.plugin.contains('/') || args.plugin == "." {
        let folder = Path::new(&args.plugin);
        must_work(folder)?;
        publish::of_folder(folder, version.as_ref(), key.as_ref(), out)?
    } else {
        let name = PluginName::new(&args.plugin)?;
        let root = cli.root()?;
        must_work(&root.plugin(&name))?;
        let store = cli.store(&root, args.lock_timeout.as_deref())?;
        publish::of_root(&store, &name, version.as_ref(), key.as_ref(), out)?
    };
    show_packages::published(&mut cli.out, &report)
}

/// Refuses to publish a mapping that cannot work: that names what its own introspection lacks, or contradicts itself. What
/// is no plugin, or is none that can be read, is told by publishing it.
fn must_work(folder: &Path) -> Result<()> {
    let Ok(subject) = Subject::read(folder) else { return Ok(()) };
    if subject.manifest.1.is_none() || subject.mapping.1.is_none() {
        return Ok(());
    }
    let findings = lint::lint(&subject).findings;
    let wrong = findings.into_iter().filter(|finding| finding.level == Level::Error);
    let wrong = wrong.map(|finding| {
        let error = Error::bad_input(finding.what).on(finding.place);
        if finding.hint.is_empty() { error } else { error.hint(finding.hint) }
    });
    Error::all(wrong.collect()).map_or(Ok(()), Err)
}

fn signing_key(path: &str, password_file: Option<&str>) -> Result<SigningKey> {
    let text = file::read(Path::new(path))?.ok_or_else(|| Error::bad_input("there is no such key file").on(path))?;
    let password = password_file.map(password).transpose()?;
    SigningKey::parse(&text, password.as_deref(), path)
}

fn password(path: &str) -> Result<String> {
    let text = file::read(Path::new(path))?.ok_or_else(|| Error::bad_input("there is no such file").on(path))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
