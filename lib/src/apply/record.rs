//! Recording a service: everything that reading it, querying its plugin and planning documents asks of it, with the
//! answers. The gate stays closed, so only safe calls are made.

use super::{Desired, Options, StateManager, secrets};
use crate::base::{Error, Kind, Result, time};
use crate::bus::recording::{Hidden, Recorder, Recording};
use crate::bus::walk::{self, is_standard};
use crate::bus::{Call, Manner, names, read};
use crate::plugin::{StatePlugin, Want};
use crate::state::StateDocument;
use serde_json::json;
use std::time::SystemTime;

/// What to record.
#[derive(Debug, Clone, Default)]
pub struct Take {
    /// Bus name of the service.
    pub service: String,
    /// Only these objects, besides what the plugin asks; all, when there are none.
    pub paths: Vec<String>,
    /// A plugin of this service, whose reading calls are recorded as well.
    pub plugin: Option<String>,
    /// State documents, whose planning is recorded as well, by name.
    pub documents: Vec<(String, StateDocument)>,
    /// Members that must not be in the recording: `INTERFACE.MEMBER`.
    pub left_out: Vec<String>,
}

/// What was recorded, and what went wrong on the way.
#[derive(Debug)]
pub struct Taken {
    /// The recording.
    pub recording: Recording,
    /// What went wrong.
    pub trouble: Trouble,
}

/// What went wrong while recording. It is in the recording as the service said it.
#[derive(Debug, Default)]
pub struct Trouble {
    /// What could not be read.
    pub problems: Vec<Error>,
    /// The documents that could not be planned, and why: perhaps that is what is to be recorded.
    pub unplanned: Vec<(String, Error)>,
}

const MANNER: Manner = Manner { may_activate: true, timeout: None };

impl StateManager<'_> {
    /// Records a service, which is started if it does not run.
    pub fn record_service(&mut self, take: &Take) -> Result<Taken> {
        names::check(&take.service)?;
        if take.service == names::BUS_NAME {
            return Err(Error::bad_input("the bus itself is no service that could be replayed").on(&*take.service));
        }
        self.bus.stop_when(self.interrupts.clone());
        let entry = take.plugin.as_deref().map(|name| self.catalog.entry(name)).transpose()?;
        let mut hidden = take.left_out.iter().map(|text| member(text)).collect::<Result<Vec<_>>>()?;
        if let Some(entry) = &entry {
            let service = entry.manifest.plugin.dbus_service.as_deref().unwrap_or_default();
            if service != take.service {
                return Err(Error::bad_input(format!("this plugin is for {service}, not for {}", take.service))
                    .on(entry.manifest.plugin.name.clone()));
            }
            if let Some(problem) = entry.problems.first() {
                return Err(problem.clone());
            }
            hidden.extend(entry.mapping.as_ref().map(secrets::of).unwrap_or_default());
        }
        for (name, state) in take.documents.iter().flat_map(|(_, document)| &document.plugins) {
            let mapping = self.catalog.entry(name).ok().and_then(|entry| entry.mapping);
            hidden.extend(mapping.map(|mapping| secrets::said(&mapping, state)).unwrap_or_default());
        }
        if names::owner_of(self.bus, &take.service).is_err() {
            names::start(self.bus, &take.service)?;
        }
        self.bus.start_recording(Recorder::new(&take.service, hidden));
        let plugin = entry.map(|entry| entry.plugin()).transpose()?;
        let outcome = self.ask_everything(take, plugin.as_deref());
        let recording = self.bus.stop_recording();
        let trouble = outcome?;
        let mut recording = recording.ok_or_else(|| Error::failed("nothing was recorded").on(&*take.service))?;
        recording.time = Some(time::rfc3339(SystemTime::now()));
        recording.plugin.clone_from(&take.plugin);
        Ok(Taken { recording, trouble })
    }

    fn ask_everything(&mut self, take: &Take, plugin: Option<&dyn StatePlugin>) -> Result<Trouble> {
        let mut trouble = Trouble::default();
        if take.paths.is_empty() {
            let progress = &mut *self.progress;
            let mut on_object = |count: usize| progress.say(&format!("{}: {count} objects", take.service), None);
            let tree = walk::walk(self.bus, &take.service, walk::Want::Values, MANNER, &mut on_object)?;
            trouble.problems.extend(tree.problems.into_iter().map(|problem| Error::new(Kind::Partial, problem)));
        }
        for path in &take.paths {
            self.ask_object(&take.service, path)?;
        }
        if let Some(plugin) = plugin {
            self.bus.allow(plugin.safe_calls());
            trouble.problems.extend(plugin.query(self.bus, &Want::State, self.progress).problems);
        }
        for (name, document) in &take.documents {
            let desired = Desired::State(document.clone());
            if let Err(error) = self.plan(desired, &Options::default()) {
                trouble.unplanned.push((name.clone(), error));
            }
        }
        if self.is_interrupted() {
            return Err(Error::failed("interrupted").on(&*take.service));
        }
        Ok(trouble)
    }

    /// Asks one object for everything it shows. What a property or the manager answers is for the recorder alone.
    fn ask_object(&self, service: &str, path: &str) -> Result<()> {
        let node = read::introspect(self.bus, service, path, MANNER).map_err(|error| match error.kind {
            // Whoever named it is mistaken, not the service.
            Kind::InterfaceChanged => Error::bad_input(format!("the service has no such object: {}", error.message))
                .on(path)
                .hint(format!("op-discover {service} shows its objects")),
            _ => error,
        })?;
        for (name, interface) in &node.interfaces {
            let call = |interface: &str, member: &str| Call::new(service, path, interface, member).in_manner(MANNER);
            if name == "org.freedesktop.DBus.ObjectManager" {
                let _ = self.bus.call(call(name, "GetManagedObjects"));
            }
            let readable: Vec<_> = interface.properties.iter().filter(|(_, p)| p.access.is_readable()).collect();
            if is_standard(name) || readable.is_empty() {
                continue;
            }
            let properties = "org.freedesktop.DBus.Properties";
            // One property that fails makes GetAll fail as a whole: then they are asked one by one.
            if self.bus.call(call(properties, "GetAll").with("s", vec![json!(name)])).is_err() {
                for (property, _) in readable {
                    let _ = self.bus.call(call(properties, "Get").with("ss", vec![json!(name), json!(property)]));
                }
            }
        }
        Ok(())
    }
}

/// `INTERFACE.MEMBER`, as a person wrote it.
fn member(text: &str) -> Result<Hidden> {
    match text.rsplit_once('.').filter(|(interface, name)| interface.contains('.') && !name.is_empty()) {
        Some((interface, name)) => {
            let why = "whoever recorded it said so".into();
            Ok(Hidden::Member { interface: interface.into(), name: name.into(), why })
        }
        None => Err(Error::usage("this is no member of an interface")
            .on(text)
            .hint("write INTERFACE.MEMBER, for example org.example.Service1.SerialNumber")),
    }
}
