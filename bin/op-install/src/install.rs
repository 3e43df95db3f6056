//! Packages: installed, upgraded, adopted, shown, rolled back, compared with their signatures.

use op_dbus::base::name::PluginName;
use op_dbus::base::{Error, Result};
use op_dbus::cli::packages::InstallOptions;
use op_dbus::cli::{Cli, Outcome, named, show_packages};
use op_dbus::package::versions::{self, Verdict, VerifyReport};
use std::collections::BTreeSet;

/// install a package: verified, judged, and active in one step
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "install")]
pub struct Install {
    /// a file, an https:, http: or file: URL, or a name that a registry has, with the versions that will do: NAME@^1.2
    #[argh(positional, arg_name = "FILE|URL|NAME")]
    what: String,
    /// trust this public key, and no other (may be repeated)
    #[argh(option, arg_name = "FILE")]
    key: Vec<String>,
    /// ask for a GPG signature, too (.asc), by a key of /etc/op-dbus/trusted-gpg
    #[argh(switch)]
    gpg: bool,
    /// install it even if nobody who is trusted signed it
    #[argh(switch)]
    allow_unsigned: bool,
    /// install it even if a newer version is installed
    #[argh(switch)]
    allow_downgrade: bool,
    /// with a name: install the versions this file names; without such a file, write it
    #[argh(option, arg_name = "FILE")]
    lock: Option<String>,
    /// say what would change, and change nothing
    #[argh(switch)]
    dry_run: bool,
    /// confirm without being asked
    #[argh(switch, short = 'y')]
    yes: bool,
    /// wait this long for another run to end (default 10s)
    #[argh(option, arg_name = "DUR")]
    lock_timeout: Option<String>,
}

/// install the newest versions of what was installed from packages
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "upgrade")]
pub struct Upgrade {
    /// the plugins' names; all when none is named
    #[argh(positional, arg_name = "NAME")]
    names: Vec<String>,
    /// trust this public key, and no other (may be repeated)
    #[argh(option, arg_name = "FILE")]
    key: Vec<String>,
    /// ask for a GPG signature, too (.asc), by a key of /etc/op-dbus/trusted-gpg
    #[argh(switch)]
    gpg: bool,
    /// say what would change, and change nothing
    #[argh(switch)]
    dry_run: bool,
    /// confirm without being asked
    #[argh(switch, short = 'y')]
    yes: bool,
    /// wait this long for another run to end (default 10s)
    #[argh(option, arg_name = "DUR")]
    lock_timeout: Option<String>,
}

/// look at a version that was put into the state root by hand, and make it active
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "adopt")]
pub struct Adopt {
    /// the plugin's name
    #[argh(positional, arg_name = "NAME")]
    name: String,
    /// this version, instead of the newest that was put there
    #[argh(option, arg_name = "VERSION")]
    version: Option<String>,
    /// the package it was received from: it is trusted as that is
    #[argh(option, arg_name = "FILE|URL")]
    package: Option<String>,
    /// trust this public key, and no other (may be repeated)
    #[argh(option, arg_name = "FILE")]
    key: Vec<String>,
    /// make it active even if nobody who is trusted signed it
    #[argh(switch)]
    allow_unsigned: bool,
    /// make it active even if a newer version is installed
    #[argh(switch)]
    allow_downgrade: bool,
    /// confirm without being asked
    #[argh(switch, short = 'y')]
    yes: bool,
    /// wait this long for another run to end (default 10s)
    #[argh(option, arg_name = "DUR")]
    lock_timeout: Option<String>,
}

/// show a plugin: what it may do, its versions, where they came from
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "show")]
pub struct Show {
    /// the plugin's name
    #[argh(positional, arg_name = "NAME")]
    name: String,
}

/// make another installed version active
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "rollback")]
pub struct Rollback {
    /// the plugin's name
    #[argh(positional, arg_name = "NAME")]
    name: String,
    /// this version, instead of the one that was active before
    #[argh(option, arg_name = "VERSION")]
    to: Option<String>,
    /// wait this long for another run to end (default 10s)
    #[argh(option, arg_name = "DUR")]
    lock_timeout: Option<String>,
}

/// compare what is installed with what was signed
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "verify")]
pub struct Verify {
    /// the plugins' names; all that are installed when none is named
    #[argh(positional, arg_name = "NAME")]
    names: Vec<String>,
    /// trust this public key, and no other (may be repeated)
    #[argh(option, arg_name = "FILE")]
    key: Vec<String>,
    /// check GPG signatures, too, where one was asked for when it was installed
    #[argh(switch)]
    gpg: bool,
}

/// Runs `install`.
pub fn install(args: Install, cli: &mut Cli) -> Result<Outcome> {
    let options = InstallOptions {
        keys: args.key,
        allow_unsigned: args.allow_unsigned,
        allow_downgrade: args.allow_downgrade,
        gpg: args.gpg,
        dry_run: args.dry_run,
        yes: args.yes,
        lock: args.lock,
        lock_timeout: args.lock_timeout,
    };
    if let Some(wanted) = named::parse_wanted(&args.what)? {
        if options.allow_unsigned {
            return Err(Error::usage("what a registry has is signed").on("--allow-unsigned").hint("leave it out"));
        }
        let report = cli.install_named(&[wanted], BTreeSet::new(), &options)?;
        show_packages::installation(&mut cli.out, &report)?;
        return Ok(Outcome::Done);
    }
    if options.lock.is_some() {
        return Err(Error::usage("a lock file is about what registries have").on("--lock").hint("install by a name"));
    }
    let mut report = cli.install_file(&args.what, &options)?;
    // One package alone is what was asked for.
    match (report.packages.pop(), report.packages.is_empty() && report.unchanged.is_empty()) {
        (Some(only), true) => show_packages::installed(&mut cli.out, &only)?,
        (last, _) => {
            report.packages.extend(last);
            show_packages::installation(&mut cli.out, &report)?;
        }
    }
    Ok(Outcome::Done)
}

/// Runs `upgrade`.
pub fn upgrade(args: Upgrade, cli: &mut Cli) -> Result<Outcome> {
    let options = InstallOptions {
        keys: args.key,
        gpg: args.gpg,
        dry_run: args.dry_run,
        yes: args.yes,
        lock_timeout: args.lock_timeout,
        ..InstallOptions::default()
    };
    let report = cli.upgrade(&args.names, &options)?;
    show_packages::installation(&mut cli.out, &report)?;
    Ok(Outcome::Done)
}

/// Runs `adopt`.
pub fn adopt(args: Adopt, cli: &mut Cli) -> Result<Outcome> {
    let options = InstallOptions {
        keys: args.key,
        allow_unsigned: args.allow_unsigned,
        allow_downgrade: args.allow_downgrade,
        yes: args.yes,
        lock_timeout: args.lock_timeout,
        ..InstallOptions::default()
    };
    let report = cli.adopt(&args.name, args.version.as_deref(), args.package.as_deref(), &options)?;
    show_packages::installed(&mut cli.out, &report)?;
    Ok(Outcome::Done)
}

/// Runs `show`.
pub fn show(args: &Show, cli: &mut Cli) -> Result<Outcome> {
    let root = cli.root()?;
    let name = PluginName::new(&args.name)?;
    let report = versions::show(&root, &cli.catalog(&root)?, &name)?;
    show_packages::plugin(&mut cli.out, &report)?;
    Ok(Outcome::Done)
}

/// Runs `rollback`.
pub fn rollback(args: &Rollback, cli: &mut Cli) -> Result<Outcome> {
    let options = InstallOptions { lock_timeout: args.lock_timeout.clone(), ..InstallOptions::default() };
    let report = cli.roll_back(&args.name, args.to.as_deref(), &options)?;
    show_packages::rolled_back(&mut cli.out, &report)?;
    Ok(Outcome::Done)
}

/// Runs `verify`.
pub fn verify(args: Verify, cli: &mut Cli) -> Result<Outcome> {
    let root = cli.root()?;
    let options = InstallOptions { keys: args.key, gpg: args.gpg, ..InstallOptions::default() };
    let policy = cli.policy(&root, &options)?;
    let names = match &args.names[..] {
        [] => versions::installed(&root)?,
        names => names.iter().map(|name| PluginName::new(name)).collect::<Result<Vec<_>>>()?,
    };
    let mut report = VerifyReport { kind: "verified".into(), version: 1, versions: Vec::new() };
    for name in &names {
        let found = versions::verify(&root, name, &policy)?;
        if found.is_empty() {
            return Err(Error::bad_input("no version of it is installed").on(name.as_str()));
        }
        report.versions.extend(found);
    }
    show_packages::verified(&mut cli.out, &report)?;
    let bad = report.versions.iter().filter(|version| version.verdict == Verdict::Bad);
    let bad: Vec<String> = bad.map(|version| format!("{} {}", version.plugin, version.plugin_version)).collect();
    if bad.is_empty() {
        return Ok(Outcome::Done);
    }
    Err(Error::untrusted("what is installed is not what was signed")
        .on(bad.join(", "))
        .hint("install it again, or roll back: op-install rollback NAME"))
}
