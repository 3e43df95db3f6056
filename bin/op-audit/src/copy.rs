//! The trail on its way elsewhere and back: blocks as lines, or all of it as streams.

use crate::{chain, trust};
use op_dbus::audit::block::BlockDocument;
use op_dbus::base::{Error, Result};
use op_dbus::cli::trail_copy;
use op_dbus::cli::{Cli, Outcome};
use std::path::Path;

/// print blocks as they are, one a line; or copy the whole trail into a folder
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "export")]
pub struct Export {
    /// the first block (1)
    #[argh(option, arg_name = "N")]
    from: Option<u64>,
    /// the last block (the newest)
    #[argh(option, arg_name = "N")]
    to: Option<u64>,
    /// copy blocks, vectors and checkpoints into this new folder, as btrfs send streams, for op-audit import
    #[argh(option, arg_name = "DIR")]
    folder: Option<String>,
    /// with --folder: sign the copy with this secret key of minisign; else with $OP_DBUS_AUDIT_KEY or
    /// /etc/op-dbus/audit.key, if it is there
    #[argh(option, arg_name = "FILE")]
    key: Option<String>,
    /// the file of the key's password
    #[argh(option, arg_name = "FILE")]
    password_file: Option<String>,
}

/// take a copy of a trail in, verified first; what is here must be its beginning, or nothing
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "import")]
pub struct Import {
    /// the folder that op-audit export --folder made
    #[argh(positional, arg_name = "DIR")]
    folder: String,
    /// heads that were kept elsewhere, one JSON document a line
    #[argh(option, arg_name = "HEADS")]
    against: Option<String>,
    /// believe only what is signed with this public key (may be repeated)
    #[argh(option, arg_name = "FILE")]
    trusted: Vec<String>,
    /// confirm without being asked
    #[argh(switch, short = 'y')]
    yes: bool,
}

pub fn export(args: &Export, cli: &mut Cli) -> Result<Outcome> {
    if let Some(folder) = &args.folder {
        if args.from.is_some() || args.to.is_some() {
            return Err(Error::usage("--folder copies the whole trail, and --from and --to say a part of it"));
        }
        let signer = cli.audit_key(args.key.as_deref(), args.password_file.as_deref())?;
        let copy = trail_copy::export(&cli.root()?, Path::new(folder), signer.as_ref(), cli)?;
        cli.out.document(&copy)?;
        return Ok(Outcome::Done);
    }
    let chain = chain(cli)?;
    let last = args.to.unwrap_or_else(|| chain.last());
    for number in args.from.unwrap_or(1).max(chain.first())..=last {
        let block = chain.read(number)?;
        cli.out.ndjson(&BlockDocument::from(block))?;
        if cli.out.is_closed() {
            break;
        }
    }
    Ok(Outcome::Done)
}

pub fn import(args: &Import, cli: &mut Cli) -> Result<Outcome> {
    let trusted = trust::trusted(&args.trusted)?;
    let heads = trust::heads(args.against.as_deref(), &trusted)?;
    let root = cli.root()?;
    let text = format!("The audit trail, its vectors and the checkpoints in {} are replaced.\n", root.path().display());
    cli.confirm(args.yes, &text)?;
    let from = trail_copy::Import { folder: Path::new(&args.folder), heads: &heads, trusted: &trusted };
    let copy = trail_copy::import(&root, &from, cli)?;
    cli.out.document(&copy)?;
    Ok(Outcome::Done)
}
