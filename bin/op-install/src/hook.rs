//! `op-install hook`: becomes the Proxmox VE hookscript's own installer.

use op_dbus::base::{Error, Kind, Result};
use op_dbus::cli::{Cli, Outcome};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// Where the hookscript lies unless `$OP_DBUS_HOOK` says otherwise.
const SCRIPT: &str = "/usr/share/op-dbus/hook/op-dbus-hook";

/// give guests of Proxmox VE the hookscript, take it away, or play its phases
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(
    subcommand,
    name = "hook",
    note = "The hookscript does it itself: op-install hook 100 is op-dbus-hook install 100, and
op-install hook simulate 100 is op-dbus-hook simulate 100. A hookscript that a guest
has already is kept and called."
)]
pub struct Hook {
    /// numbers of guests; before them may stand install, which is meant anyway, or simulate
    #[argh(positional, arg_name = "VMID")]
    words: Vec<String>,
    /// take it away, and give the guests back what they had
    #[argh(switch)]
    unhook: bool,
    /// the storage whose snippets have the hookscript (local)
    #[argh(option, arg_name = "STORE")]
    storage: Option<String>,
    /// with simulate: do what the phases ask for
    #[argh(switch)]
    really: bool,
}

/// Returns only when it became no hookscript.
pub fn run(args: &Hook, cli: &Cli) -> Result<Outcome> {
    let arguments = arguments(args)?;
    let script = cli.env.get("OP_DBUS_HOOK").map_or_else(|| PathBuf::from(SCRIPT), PathBuf::from);
    let error = Command::new(&script).args(arguments).exec();
    Err(Error::new(Kind::Unavailable, format!("could not start the hookscript: {error}"))
        .on(script.display().to_string())
        .hint("OP_DBUS_HOOK=FILE says where it is; it is proxmox-hook/op-dbus-hook of op-dbus"))
}

/// What the hookscript is called with.
fn arguments(args: &Hook) -> Result<Vec<&str>> {
    let (is_simulation, guests) = match args.words.split_first() {
        Some((word, guests)) if word == "simulate" => (true, guests),
        Some((word, guests)) if word == "install" => (false, guests),
        _ => (false, &args.words[..]),
    };
    let said = [
        ("--unhook", args.unhook && is_simulation),
        ("--storage", args.storage.is_some() && (is_simulation || args.unhook)),
        ("--really", args.really && !is_simulation),
    ];
    if let Some((option, _)) = said.into_iter().find(|(_, is_said)| *is_said) {
        let hint = "op-install hook [--storage STORE] VMID..., --unhook VMID..., or simulate [--really] [VMID...]";
        return Err(Error::usage("this does not go with the rest").on(option).hint(hint));
    }
    let mut arguments = vec![if is_simulation { "simulate" } else { "install" }];
    arguments.extend(args.really.then_some("--really"));
    arguments.extend(args.unhook.then_some("--unhook"));
    arguments.extend(args.storage.iter().flat_map(|storage| ["--storage", storage]));
    arguments.extend(guests.iter().map(String::as_str));
    Ok(arguments)
}
