//! The keys whose signatures count: listed, added, removed; lists of what was revoked taken over.

use op_dbus::base::{Error, Result};
use op_dbus::cli::show_registries::{self, KeyringReport};
use op_dbus::cli::{Cli, Outcome};
use op_dbus::package::keyring::{self, TrustedKey};
use op_dbus::store::{StateRoot, file};
use serde_json::json;
use std::path::Path;

/// list the keys whose signatures count; add and remove them
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "keys")]
pub struct Keys {
    #[argh(subcommand)]
    command: Option<Command>,
}

#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand)]
enum Command {
    Add(Add),
    Remove(Remove),
    Revoked(Revoked),
}

/// trust a publisher's public key
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "add")]
struct Add {
    /// the .pub file, which you got in a way you trust
    #[argh(positional, arg_name = "FILE")]
    file: String,
    /// whose it is, and what for
    #[argh(option, arg_name = "TEXT")]
    comment: Option<String>,
    /// the last day on which it counts, for example 2027-06-30
    #[argh(option, arg_name = "DAY")]
    expires: Option<String>,
}

/// trust a key no longer
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "remove")]
struct Remove {
    /// its number
    #[argh(positional, arg_name = "KEY")]
    key: String,
}

/// take over a signed list of keys and packages that count no longer
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "revoked")]
struct Revoked {
    /// the list; its .minisig lies beside it
    #[argh(positional, arg_name = "FILE")]
    file: String,
}

/// Runs `keys`.
pub fn run(args: Keys, cli: &mut Cli) -> Result<Outcome> {
    let (root, folder) = (cli.root()?, StateRoot::trusted_keys());
    match args.command {
        None => {}
        Some(Command::Add(args)) => {
            let text = file::read(Path::new(&args.file))?
                .ok_or_else(|| Error::bad_input("there is no such key file").on(args.file.clone()))?;
            let key = TrustedKey::parse(&text, Path::new(&args.file))?;
            keyring::add(&folder, &key, args.comment.as_deref(), args.expires.as_deref())?;
            let about = json!({"key": key.id, "comment": args.comment, "expires": args.expires});
            cli.record_trust(&root, "a key is trusted", about)?;
            cli.out.tick(true, &format!("Trusted {}", key.id));
        }
        Some(Command::Remove(args)) => {
            keyring::remove(&folder, &args.key)?;
            cli.record_trust(&root, "a key is trusted no longer", json!({"key": args.key}))?;
            cli.out.tick(true, &format!("Trusted no longer {}", args.key));
        }
        Some(Command::Revoked(args)) => {
            let number = keyring::take_over(&folder, Path::new(&args.file))?;
            cli.record_trust(&root, "a list of what counts no longer", json!({"number": number}))?;
            cli.out.tick(true, &format!("Took over list number {number}"));
        }
    }
    let report = KeyringReport::of(&cli.keyring(&root, &[])?);
    show_registries::keyring(&mut cli.out, &report)?;
    Ok(Outcome::Done)
}
