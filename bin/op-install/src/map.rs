//! `op-install map`: drafts a mapping.

use crate::learn;
use op_dbus::base::name::PluginName;
use op_dbus::base::{Error, Kind, Result};
use op_dbus::bus::{Bus, walk};
use op_dbus::cli::confirm::Terminal;
use op_dbus::cli::{Cli, Interrupt, Outcome, author, wizard};
use op_dbus::package::create::draft_file;
use op_dbus::plugin::author::{Draft, DraftDocument, RoundTrip, Surface};
use op_dbus::plugin::{Manifest, Origin};
use std::path::{Path, PathBuf};

/// draft a semantic-mapping.toml from what a service says of itself
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(
    subcommand,
    name = "map",
    note = "It pairs properties with setters, finds what adds, removes, makes and deletes, and says
with every entry how sure it is and why. No method is called safe without your word:
it is asked for on a terminal, or given with --safe. The draft is checked, and read
with when the service is there. For an installed plugin it is written into its
folder; otherwise it is printed.

With --learn, COMMAND is run, and the entries for what it changed are printed. While it
runs, every call to the plugin's service is heard, whoever makes it, and nothing that
others say to other services. When no plugin is named, all running services are looked at
before, and the calls are heard that programs started meanwhile make, to any of them.
Calls that were seen need no word: seen is what they really do."
)]
pub struct Map {
    /// the plugin to draft for, which may be left out with --learn; its command follows after --
    #[argh(positional, arg_name = "NAME")]
    pub words: Vec<String>,
    /// the service to ask
    #[argh(option, arg_name = "SERVICE")]
    pub from_dbus: Option<String>,
    /// read introspection XML instead of asking the service (may be repeated)
    #[argh(option, arg_name = "FILE")]
    pub introspection: Vec<String>,
    /// write the draft there; - is standard output, without anything else
    #[argh(option, arg_name = "FILE")]
    pub output: Option<String>,
    /// your word that a method changes nothing at all, so that it may be called while reading (may be repeated)
    #[argh(option, arg_name = "METHOD")]
    pub safe: Vec<String>,
    /// run COMMAND, watch what is called meanwhile, and draft entries for that
    #[argh(switch)]
    learn: bool,
    /// never ask; take what is sure and likely
    #[argh(switch)]
    no_input: bool,
    /// overwrite a mapping that is there
    #[argh(switch)]
    pub force: bool,
}

/// What is mapped: the plugin, its service, and where its mapping would be.
pub struct Target {
    name: String,
    /// Text of plugin.toml.
    pub manifest: String,
    /// Bus name of the service.
    pub service: String,
    folder: Option<PathBuf>,
    installed: Option<PathBuf>,
}

impl Target {
    /// A service without a plugin.
    pub fn of_service(service: &str) -> Result<Self> {
        let target = Self {
            name: "draft".into(),
            manifest: String::new(),
            service: service.to_owned(),
            folder: None,
            installed: None,
        };
        target.with_manifest()
    }

    fn with_manifest(mut self) -> Result<Self> {
        self.manifest =
            format!("[plugin]\nname = {:?}\nversion = \"0.1.0\"\ndbus_service = {:?}\n", self.name, self.service);
        Manifest::parse(&self.manifest, "the draft")?;
        Ok(self)
    }
}

/// Drafts a mapping, checks it, and writes or prints it.
pub fn run(args: &Map, cli: &mut Cli) -> Result<Outcome> {
    if args.learn {
        return learn::run(args, cli);
    }
    if let Some(word) = args.words.get(1) {
        return Err(Error::usage("one plugin is mapped at a time")
            .on(word.clone())
            .hint("only --learn takes a command"));
    }
    let name = args.words.first().map(String::as_str);
    let target = target(args, name, cli)?;
    let file = destination(args, &target)?;
    let (surface, bus) = survey(args, &target, cli)?;
    for problem in &surface.problems {
        cli.out.warn(problem);
    }
    let mut draft = Draft::of(&surface);
    for method in &args.safe {
        if !draft.agree(method) {
            return Err(Error::bad_input(
                "no entry of the draft reads by a method of this name, or its name is not one that reads",
            )
            .on(format!("--safe {method}"))
            .hint("its table can be written by hand, with safe = true"));
        }
    }
    if !args.no_input {
        match Terminal::open(&Interrupt::install()?) {
            Some(mut terminal) => wizard::ask(&mut draft, &mut terminal)?,
            None => {
                cli.out.note("there is no terminal to ask on: what is sure and likely is taken, nothing is called safe")
            }
        }
    }
    let mut document = DraftDocument::new(&draft, &target.manifest, &surface);
    document.plugin = name.map(str::to_owned);
    if let Some(bus) = &bus {
        let manifest = Manifest::parse(&target.manifest, "plugin.toml")?;
        let mut progress = cli.out.progress();
        document.round_trip = Some(RoundTrip::make(bus, &manifest, &document.parsed()?, &mut progress));
    }
    let is_clean = document.round_trip.as_ref().is_none_or(RoundTrip::is_clean);
    match &file {
        None if args.output.is_some() => cli.out.text(&document.mapping)?,
        None => author::draft(&mut cli.out, &document)?,
        Some(file) => {
            draft_file(file, &document.mapping, args.force)?;
            if let Some(folder) = target.installed.as_ref().filter(|folder| file.parent() == Some(folder)) {
                keep_introspection(folder, &surface)?;
            }
            document.file = Some(file.display().to_string());
            author::draft(&mut cli.out, &document)?;
        }
    }
    Ok(if is_clean { Outcome::Done } else { Outcome::Partial })
}

/// Refuses to overwrite.
pub fn there_already(file: &Path) -> Error {
    Error::refused("there is a mapping already, and it was not overwritten")
        .on(file.display().to_string())
        .hint("--output - prints the draft instead; --force overwrites the mapping")
}

/// What the words and options of the command line name.
pub fn target(args: &Map, name: Option<&str>, cli: &Cli) -> Result<Target> {
    let mut target = Target {
        name: name.unwrap_or("draft").to_owned(),
        manifest: String::new(),
        service: args.from_dbus.clone().unwrap_or_default(),
        folder: None,
        installed: None,
    };
    if let Some(name) = name {
        PluginName::new(name)?;
        let catalog = cli.catalog(&cli.root()?)?;
        if let Some((origin, folder)) = catalog.folder(name) {
            let entry = catalog.entry(name);
            let service = entry.as_ref().ok().and_then(|entry| entry.manifest.plugin.dbus_service.clone());
            target.folder = Some(folder.to_owned());
            target.installed = Some(folder.to_owned()).filter(|_| origin == Origin::Installed);
            match (service, &args.from_dbus) {
                (Some(service), None) => target.service = service,
                (Some(service), Some(asked)) if service != *asked => {
                    return Err(Error::usage(format!("the plugin {name} speaks to {service}, not to {asked}"))
                        .hint("leave --from-dbus out, or choose another name"));
                }
                (None, None) => drop(entry?),
                _ => {}
            }
        } else if args.from_dbus.is_none() && args.introspection.is_empty() {
            return Err(catalog
                .entry(name)
                .err()
                .unwrap_or_else(|| Error::bad_input("there is no such plugin").on(name)));
        }
    }
    if target.service.is_empty() {
        target.service = of_files(args)?.service;
    }
    target.with_manifest()
}

/// Where the draft goes; nothing is asked or called before it is known that it may.
fn destination(args: &Map, target: &Target) -> Result<Option<PathBuf>> {
    let file = match (&args.output, &target.installed) {
        (Some(file), _) if file == "-" => None,
        (Some(file), _) => Some(PathBuf::from(file)),
        (None, Some(folder)) => Some(folder.join("semantic-mapping.toml")),
        (None, None) => None,
    };
    match file {
        Some(file) if file.exists() && !args.force => Err(there_already(&file)),

        file => Ok(file),
    }
}

/// What the service says: by itself, by files that were named, or by those in the plugin's folder when it is not there.
fn survey(args: &Map, target: &Target, cli: &mut Cli) -> Result<(Surface, Option<Bus>)> {
    if !args.introspection.is_empty() {
        return Ok((of_files(args)?.named(&target.service), None));
    }
    let live = cli.connect().and_then(|bus| Ok((cli.survey(&bus, &target.service, walk::Want::Values)?, bus)));
    let of_folder = match &target.folder {
        Some(folder) => Surface::of_folder(&target.service, folder)?,
        None => None,
    };
    match (live, of_folder) {
        (Ok((live, bus)), Some(files)) => Ok((live.with_absent_of(&files), Some(bus))),
        (Ok((live, bus)), None) => Ok((live, Some(bus))),
        (Err(error), Some(files)) if matches!(error.kind, Kind::Unavailable | Kind::Timeout) => {
            cli.out.note(&format!("the service cannot be asked, so its introspection is read: {}", error.message));
            Ok((files, None))
        }
        (Err(error), _) => Err(error),
    }
}

/// What the mapping was drafted from and the folder does not say yet: interfaces of objects of which there was none.
fn keep_introspection(folder: &Path, surface: &Surface) -> Result<()> {
    let known = Surface::of_folder(&surface.service, folder)?.unwrap_or_default();
    match surface.beyond(&known) {
        Some(xml) => draft_file(&folder.join("introspection-more.xml"), &xml, true),
        None => Ok(()),
    }
}

fn of_files(args: &Map) -> Result<Surface> {
    if args.introspection.is_empty() {
        return Err(Error::usage("there is nothing to draft from")
            .hint("name a plugin of op-install list, or say --from-dbus SERVICE or --introspection FILE"));
    }
    let texts = args.introspection.iter().map(|file| {
        let input = op_dbus::cli::input::read_document(Some(file))?;
        Ok((file.clone(), input.text))
    });
    Surface::of_texts("", &texts.collect::<Result<Vec<_>>>()?).and_then(Surface::guess_service)
}
