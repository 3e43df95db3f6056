//! One connection's share of a watch: follows services, reads what their signals say or hint at, polls the rest.

use super::cells::Cell;
use super::hints::Hints;
use super::record::{Freshness, Presence, Record};
use super::{Part, Task, Told, reading};
use crate::base::{Error, Kind, Result};
use crate::bus::{Bus, names};
use crate::plugin::{Catalog, Source, StatePlugin};
use crate::state::Strategy;
use crate::state::select::Path;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// How often, and after how long at first, a service that came back is asked again while something cannot be read yet.
const RETRIES: u32 = 6;
const RETRY: Duration = Duration::from_millis(50);
/// How long after a service did not answer the bus may take to say that it is gone.
const DOUBT: Duration = Duration::from_millis(200);

/// What a worker needs besides its tasks.
pub struct Context<'a> {
    pub bus: &'a Bus,
    pub catalog: &'a Catalog,
    pub paths: &'a [Path],
    pub interval: Duration,
    pub tell: &'a Sender<Told>,
}

/// One part of one plugin.
pub struct Watched<'a> {
    pub context: &'a Context<'a>,
    pub plugin: Box<dyn StatePlugin>,
    pub part: Part,
    pub cells: Vec<Cell>,
    /// Cells by object path, interface and property.
    pub index: HashMap<(String, String, String), Vec<usize>>,
    tells_of_service: bool,
    pub(super) is_there: bool,
    /// Whether the service is another than the mapping was written for, so that nothing it says is understood.
    pub is_refused: bool,
    /// Properties that changed in a way that the signal did not say.
    pub(super) stale: BTreeSet<usize>,
    /// Answers that a signal hints at.
    pub(super) hinted: BTreeSet<usize>,
    pub(super) hints: Hints,
    poll_at: Instant,
    /// How often it was polled.
    pub polls: u32,
    pub(super) return_at: Option<(Instant, u32)>,
    /// What could not be read since its service did not answer, and until when it is waited for news that it is gone.
    pub(super) doubted: Option<(Instant, Vec<Error>)>,
    /// What was told of each thing that cannot be read.
    pub(super) told: BTreeMap<String, String>,
}

/// Watches until somebody asks to stop; fails when the bus goes away.
pub fn run(context: &Context<'_>, tasks: &[Task]) -> Result<()> {
    let mut watched: Vec<Watched<'_>> = Vec::new();
    for task in tasks {
        watched.push(Watched::new(context, task)?);
    }
    for one in &mut watched {
        one.begin();
    }
    let _ = context.tell.send(Told::Begun);
    loop {
        // What came in while something was read may be older than what was read.
        for (service, happening) in context.bus.take_happenings() {
            watched
                .iter_mut()
                .filter(|one| one.plugin.service() == Some(&*service))
                .for_each(|one| one.on(&happening, false));
        }
        let now = Instant::now();
        if watched.iter_mut().any(|one| one.work(now)) {
            continue;
        }
        let deadline = watched.iter().filter_map(Watched::due).min();
        // Waiting ends anyway when somebody asks to stop.
        let next = context.bus.next_happening(deadline.unwrap_or(now + Duration::from_secs(3600)));
        match next {
            Some(first) => {
                for (service, happening) in std::iter::once(first).chain(context.bus.take_happenings()) {
                    watched
                        .iter_mut()
                        .filter(|one| one.plugin.service() == Some(&*service))
                        .for_each(|one| one.on(&happening, true));
                }
            }
            None => {
                if context.bus.is_interrupted() {
                    return Ok(());
                }
                if let Some(error) = context.bus.gone() {
                    return Err(error);
                }
            }
        }
    }
}

impl<'a> Watched<'a> {
    fn new(context: &'a Context<'a>, task: &Task) -> Result<Self> {
        let plugin = super::plugin_called(context.bus, context.catalog, &task.plugin)?;
        let cells = cells_of(&*plugin, task);
        let now = Instant::now();
        let mut watched = Self {
            context,
            plugin,
            part: task.part,
            cells: Vec::new(),
            index: HashMap::new(),
            tells_of_service: task.tells_of_service,
            is_there: false,
            is_refused: false,
            stale: BTreeSet::new(),
            hinted: BTreeSet::new(),
            hints: Hints::new(context.interval),
            poll_at: now + context.interval,
            polls: 0,
            return_at: None,
            doubted: None,
            told: BTreeMap::new(),
        };
        for cell in cells {
            watched.add(cell);
        }
        Ok(watched)
    }

    /// Adds a cell; its position.
    pub fn add(&mut self, cell: Cell) -> usize {
        let position = self.cells.len();
        if let Source::Property { group, name } = &cell.source {
            let place = (group.path.clone(), group.interface.clone(), name.clone());
            self.index.entry(place).or_default().push(position);
        }
        self.cells.push(cell);
        position
    }

    /// Starts the service if a query would, follows it, reads everything, and tells what is there.
    fn begin(&mut self) {
        let bus = self.context.bus;
        bus.allow(self.plugin.safe_calls());
        // Whether it could not be started shows when it is read.
        let started = match self.plugin.service() {
            Some(service) if self.part != Part::Observed => names::start(bus, service),
            _ => Ok(()),
        };
        let paths: BTreeSet<&str> = self.cells.iter().filter_map(object_of).collect();
        let paths: Vec<&str> = paths.into_iter().collect();
        let scope = (self.part == Part::Properties).then_some(&paths[..]);
        match self.plugin.service().map(|service| bus.follow(service, scope)) {
            Some(Ok(is_there)) => self.is_there = is_there,
            Some(Err(error)) => self.problem(&error),
            // Of the host itself nobody says that it changed.
            None => self.is_there = true,
        }
        if let (false, Err(error)) = (self.is_there, started) {
            self.problem(&error);
        }
        if self.is_there || self.part == Part::Observed {
            reading::classify(self);
            if !reading::everything(self, None) {
                self.return_at = Some((Instant::now() + RETRY, 1));
            }
        }
        for cell in &self.cells {
            self.tell_all(cell.present(self.context.paths));
        }
        self.poll_at = Instant::now() + self.context.interval;
    }

    /// When something is to be done next.
    fn due(&self) -> Option<Instant> {
        let is_polled = |cell: &Cell| cell.class == Freshness::Poll || self.part == Part::Answers;
        let poll = (self.is_there && self.cells.iter().any(is_polled)).then_some(self.poll_at);
        let returned = self.return_at.map(|(at, _)| at);
        let doubted = self.doubted.as_ref().map(|(until, _)| *until);
        [poll, returned, doubted, self.hints.due()].into_iter().flatten().min()
    }

    /// Does what is due, and says whether anything was.
    fn work(&mut self, now: Instant) -> bool {
        if let Some((_, errors)) = self.doubted.take_if(|(until, _)| *until <= now) {
            errors.iter().for_each(|error| self.problem(error));
        }
        if let Some((at, attempt)) = self.return_at.filter(|(at, _)| *at <= now) {
            self.return_at = None;
            self.hints.forget();
            // It may be another version, and what the plugin knows of it may be what it said when it had just started.
            if let Ok(plugin) = super::plugin_called(self.context.bus, self.context.catalog, self.plugin.name()) {
                self.plugin = plugin;
            }
            reading::classify(self);
            let is_whole = reading::everything(self, Some(Freshness::Returned));
            if !is_whole && attempt < RETRIES {
                self.return_at = Some((at.max(now) + RETRY * 2_u32.pow(attempt), attempt + 1));
            }
            return true;
        }
        if !self.stale.is_empty() {
            let stale = std::mem::take(&mut self.stale);
            reading::properties(self, &stale, Some(Freshness::Hint));
            return true;
        }
        if self.hints.due().is_some_and(|due| due <= now) {
            let hinted = std::mem::take(&mut self.hinted);
            let has_changed = reading::hinted(self, &hinted);
            let ended = Instant::now();
            self.hints.was_read(now, ended, has_changed);
            let is_unread = |(i, cell): (usize, &Cell)| cell.class == Freshness::Poll && !hinted.contains(&i);
            if self.part == Part::Answers && !self.cells.iter().enumerate().any(is_unread) {
                self.poll_at = ended + self.context.interval;
            }
            return true;
        }
        if self.is_there && self.poll_at <= now {
            if !self.is_refused {
                reading::polled(self);
            }
            self.poll_at = Instant::now() + self.context.interval;
            return true;
        }
        false
    }

    /// A cell has a new value: tells what changed.
    pub fn becomes(&mut self, position: usize, value: Option<Value>, how: Freshness) {
        let records = self.cells[position].becomes(value, how, self.context.paths);
        self.tell_all(records);
    }

    /// Tells of what cannot be read, unless that was told already.
    pub fn problem(&mut self, error: &Error) {
        let subject = error.subject.clone().unwrap_or_default();
        if self.told.insert(subject, error.message.clone()).as_ref() != Some(&error.message) {
            self.tell(Record::problem(self.plugin.name(), error));
        }
    }

    /// Something cannot be read. One that does not answer may be going, which is told otherwise.
    pub fn unreadable(&mut self, error: Error) {
        if error.kind == Kind::Unavailable && self.is_there {
            let (_, errors) = self.doubted.get_or_insert_with(|| (Instant::now() + DOUBT, Vec::new()));
            errors.push(error);
        } else {
            self.problem(&error);
        }
    }

    /// Whether the service seems to be going.
    pub fn is_in_doubt(&self) -> bool {
        self.doubted.is_some()
    }

    /// Forgets that something could not be read.
    pub fn is_readable(&mut self, subject: &str) {
        self.told.remove(subject);
    }

    pub(super) fn tell_of_service(&self, state: Presence) {
        if self.tells_of_service {
            self.tell(Record::service(self.plugin.name(), self.plugin.service().unwrap_or_default(), state));
        }
    }

    fn tell_all(&self, records: Vec<Record>) {
        records.into_iter().for_each(|record| self.tell(record));
    }

    fn tell(&self, record: Record) {
        // Nobody listens any more when the watch ends.
        let _ = self.context.tell.send(Told::Record(Box::new(record)));
    }
}

fn object_of(cell: &Cell) -> Option<&str> {
    match &cell.source {
        Source::Property { group, .. } => Some(&group.path),
        Source::Answer { .. } => None,
    }
}

/// The keys of this part of a plugin.
fn cells_of(plugin: &dyn StatePlugin, task: &Task) -> Vec<Cell> {
    let sources = plugin.sources().into_iter().filter(|(key, _)| task.keys.contains(key));
    sources
        .map(|(key, source)| Cell {
            is_set: plugin.keys().get(&key).is_some_and(|spec| spec.strategy == Strategy::SetDifference),
            names: vec![plugin.name().to_owned(), key],
            source,
            class: Freshness::Poll,
            hits: 0,
            value: None,
        })
        .collect()
}
