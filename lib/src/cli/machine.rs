//! What the programs need of the machine: a bus, a state root, the plugins; and the traits of `apply`, for a terminal.

use super::confirm::{Terminal, no_terminal};
use super::{Cli, Interrupt, Out, Progress};
use crate::apply::cached::Cache;
use crate::apply::{Confirm, Trail, Witness};
use crate::audit::Actor;
use crate::audit::keys::Signer;
use crate::audit::vectors::OpEmbed;
use crate::base::{Error, Kind, Result, time};
use crate::bus::{Bus, Call, Target};
use crate::plugin::Catalog;
use crate::state::Plan;
use crate::store::layout::is_trusted;
use crate::store::{StateRoot, Store, Wait};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The key that signs heads of the audit trail when no other is named.
const AUDIT_KEY: &str = "/etc/op-dbus/audit.key";

impl Cli {
    /// Connects to the bus the options chose.
    pub fn connect(&self) -> Result<Bus> {
        let bus = Bus::connect(&self.common.bus, self.common.timeout)?;
        bus.resolve_with(self.secrets());
        Ok(bus)
    }

    /// The state root the options or the environment chose.
    pub fn root(&self) -> Result<StateRoot> {
        StateRoot::find(self.common.root.as_deref())
    }

    /// The state root, locked to change its volumes. Another run is waited for as long as `lock_timeout` says.
    pub fn store(&mut self, root: &StateRoot, lock_timeout: Option<&str>) -> Result<Store> {
        self.waiting(lock_timeout, |wait| Store::open(root, wait))
    }

    /// Does what waits for locks, saying so. Nothing counts signals meanwhile: they end the program, and what it leaves
    /// unfinished is swept.
    pub fn waiting<T>(&mut self, lock_timeout: Option<&str>, act: impl FnOnce(&mut Wait) -> Result<T>) -> Result<T> {
        let timeout = time::parse_duration(lock_timeout.unwrap_or("10s"))?;
        let mut on_wait = |text: &str| self.out.note(text);
        act(&mut Wait { timeout, on_wait: &mut on_wait, is_interrupted: &|| false })
    }

    /// Goes on when `has_said_yes`, or when the person at the terminal says so of what `text` says.
    pub fn confirm(&self, has_said_yes: bool, text: &str) -> Result<()> {
        if has_said_yes {
            return Ok(());
        }
        let mut terminal = Terminal::open(&Interrupt::install()?).ok_or_else(no_terminal)?;
        terminal.ask_yes_no(text, "Proceed?")?.or_refused()
    }

    /// The plugins there are.
    pub fn catalog(&self, root: &StateRoot) -> Result<Catalog> {
        Catalog::open(root, &StateRoot::mappings())
    }

    /// Who runs this program.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor::of_process(self.env.text("SSH_CONNECTION"))
    }

    /// The key that signs heads: the given one, else `$OP_DBUS_AUDIT_KEY`, else the machine's, if it has one.
    pub fn audit_key(&self, given: Option<&str>, password_file: Option<&str>) -> Result<Option<Signer>> {
        let file = match given.or_else(|| self.env.text("OP_DBUS_AUDIT_KEY")) {
            Some(file) => file,
            None if Path::new(AUDIT_KEY).exists() => AUDIT_KEY,
            None => return Ok(None),
        };
        let text = super::input::secret_file(file)?;
        let password = password_file.map(super::input::password).transpose()?;
        Signer::parse(&text, password.as_deref(), file).map(Some)
    }

    /// Where runs are recorded. Vectors of what is done are asked for where `$OP_DBUS_EMBED_LEVEL` is not `none`.
    pub fn trail(&self, root: &StateRoot) -> Result<Trail> {
        let trail = Trail::open(root, self.actor(), &self.program)?;
        Ok(match self.op_embed(root) {
            Some(op_embed) => trail.asking(op_embed),
            None => trail,
        })
    }

    /// Where op-embed is: listening for this root or for the machine, else beside this program or in `$PATH`. Nowhere
    /// when `$OP_DBUS_EMBED_LEVEL` is `none`.
    #[must_use]
    pub fn op_embed(&self, root: &StateRoot) -> Option<OpEmbed> {
        if self.env.text("OP_DBUS_EMBED_LEVEL") == Some("none") {
            return None;
        }
        let name = "op-embed";
        let beside = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join(name)));
        let in_path = self.env.get("PATH").into_iter().flat_map(std::env::split_paths).map(|folder| folder.join(name));
        let program = beside.into_iter().chain(in_path).find(|path| path.is_file() && is_trusted(path));
        let mut sockets = vec![root.embed_socket()];
        // The machine's own answers from the machine's own cache.
        sockets.extend((root.path() == Path::new("/var/lib/op-dbus")).then(|| PathBuf::from("/run/op-embed.sock")));
        Some(OpEmbed { sockets, program, root: root.path().to_owned() })
    }

    /// Where process information of the services lies; nowhere when the bus is another machine's, or a recording.
    #[must_use]
    pub fn proc(&self) -> Option<&'static Path> {
        let is_here = !matches!(self.common.bus, Target::Host(_)) && self.common.bus.replayed().is_none();
        is_here.then(|| Path::new("/proc"))
    }

    /// The root to plan with: another machine's state is kept apart.
    pub fn root_of(&self, bus: &Bus) -> Result<StateRoot> {
        let root = self.root()?;
        match &self.common.bus {
            Target::Host(host) => Ok(root.for_machine(&machine_id(bus, host)?)),
            // Nothing was ever added to a recording, whatever this machine's ledger says.
            _ if bus.replayed().is_some() => Ok(root.for_machine("replay")),
            _ => Ok(root),
        }
    }

    /// Where answers of the chosen bus are kept. Answers of another machine, and of a recording, are not: they would be
    /// taken for this machine's.
    #[must_use]
    pub fn cache(&self, root: &StateRoot) -> Option<Cache> {
        let address_in = |name: &str, usual: &str| self.env.text(name).unwrap_or(usual).to_owned();
        let bus = match &self.common.bus {
            Target::System => address_in("DBUS_SYSTEM_BUS_ADDRESS", "system"),
            Target::Session => address_in("DBUS_SESSION_BUS_ADDRESS", "session"),
            Target::Address(address) if self.common.bus.replayed().is_none() => address.clone(),
            Target::Address(_) | Target::Host(_) => return None,
        };
        Some(Cache::new(root, bus))
    }

    /// The root to apply with: the system bus is root's.
    pub fn root_to_apply(&self, bus: &Bus) -> Result<StateRoot> {
        if self.common.bus == Target::System && !rustix::process::geteuid().is_root() {
            return Err(Error::new(Kind::Denied, "applying to the system bus needs root")
                .hint("run it with sudo; --dry-run shows the plan without"));
        }
        self.root_of(bus)
    }
}

/// The machine id of the host a bus is on: names the folder its state is kept in.
fn machine_id(bus: &Bus, host: &str) -> Result<String> {
    let call = Call::new("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.Peer", "GetMachineId");
    match bus.call(call)?.single(host)? {
        Value::String(id) if id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) => Ok(id),
        other => Err(Error::failed(format!("the bus gave no machine id but {other}")).on(host)),
    }
}

impl crate::base::Progress for Progress {
    fn say(&mut self, text: &str, percent: Option<u8>) {
        match percent {
            Some(percent) => self.set(u64::from(percent), 100, text),
            None => self.spinner(text),
        }
    }

    fn step(&mut self, label: &str) {
        self.begin(label);
    }
}

/// Asks on the terminal, or is content because `--yes` was said.
pub struct Asker<'a> {
    /// Whether `--yes` was said.
    pub has_said_yes: bool,
    /// Counts Ctrl-C at the question.
    pub interrupt: &'a Interrupt,
}

impl Confirm for Asker<'_> {
    fn confirm(&mut self, text: &dyn Fn() -> String) -> Result<()> {
        if self.has_said_yes {
            return Ok(());
        }
        let mut terminal = Terminal::open(self.interrupt).ok_or_else(no_terminal)?;
        terminal.ask_yes_no(&text(), "Proceed?")?.or_refused()
    }

    fn confirm_number(&mut self, text: &dyn Fn() -> String, number: usize) -> Result<()> {
        if self.has_said_yes {
            return Ok(());
        }
        let mut terminal = Terminal::open(self.interrupt).ok_or_else(no_terminal)?;
        terminal.ask_exact(&text(), "How many are removed?", &number.to_string())?.or_refused()
    }
}

/// Prints a tick line for each action that ends, and before that the differences when they were asked for.
pub struct Ticks<'a> {
    /// Where to.
    pub out: &'a mut Out,
    /// Whether `--diff` was said.
    pub shows_diff: bool,
}

impl Witness for Ticks<'_> {
    fn action_ended(&mut self, is_done: bool, lines: &[String]) {
        for line in lines {
            self.out.tick(is_done, line);
        }
    }

    fn planned(&mut self, plan: &Plan) {
        if self.shows_diff {
            super::show::changes(self.out, plan);
        }
    }
}
