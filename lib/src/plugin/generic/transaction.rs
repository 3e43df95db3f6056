//! A call whose results are signals: make the transaction object, listen, call, collect until it says it is done.

use super::rows::{self, Row};
use crate::base::{Error, Kind, Progress, Result};
use crate::bus::{Bus, Call, Signal, SubscriptionId, names};
use crate::plugin::mapping::file::TransactionSection;
use crate::plugin::mapping::{Mapping, Method, SignalSection, fixed_of, template};
use crate::plugin::{Failure, Touched};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long a transaction may say nothing at all.
const DEFAULT_SILENCE: Duration = Duration::from_secs(600);

/// Results a transaction may bring: no machine has so many packages, and a service that goes on for ever must not
/// fill the memory.
const MAX_ROWS: usize = 1_000_000;

/// Makes a transaction object; its path.
pub fn create(bus: &Bus, mapping: &Mapping, name: &str) -> Result<String> {
    let section = mapping
        .file
        .transactions
        .get(name)
        .ok_or_else(|| Error::bad_input(format!("there is no [transactions.{name}]")).on(mapping.source.clone()))?;
    let factory = mapping.method(&section.create)?;
    let call = Call::new(&mapping.service, &factory.path, &factory.interface, &factory.member)
        .in_manner(mapping.manner(Some(factory.section)));
    let label = call.label();
    match bus.call(call)?.single(&label)? {
        Value::String(path) => Ok(path),
        other => Err(Error::bad_input(format!("the factory returned {other}, not an object path")).on(label)),
    }
}

/// Runs `method` of a transaction with `args`, and returns the rows of its item signals.
pub fn run(
    bus: &Bus,
    mapping: &Mapping,
    method: &Method<'_>,
    call: &Call,
    progress: &mut dyn Progress,
) -> Result<Vec<Row>, Failure> {
    let untouched = |error: Error| Failure { error, touched: Touched::No };
    let Some((name, section)) = method.transaction else {
        return Err(untouched(Error::bad_input("the method belongs to no transaction").on(method.name.clone())));
    };
    let path = create(bus, mapping, name).map_err(untouched)?;
    let of_object = bus.subscribe(&mapping.service, Some(&path), &section.interface).map_err(untouched)?;
    let of_bus = match bus.subscribe(names::BUS_NAME, None, names::BUS_NAME) {
        Ok(id) => id,
        Err(error) => {
            bus.unsubscribe(of_object);
            return Err(untouched(error));
        }
    };
    let item = method.section.item.as_ref().or(section.item.as_ref());
    let silence = section.timeout_ms.map_or(DEFAULT_SILENCE, Duration::from_millis);
    let listener = Listener { bus, service: &mapping.service, of_object, of_bus, silence };
    let outcome = set_up(bus, mapping, section, &path).map_err(untouched).and_then(|()| {
        let mut real = call.clone();
        real.path.clone_from(&path);
        match bus.call(real) {
            Ok(_) => listener.collect(section, item, progress),
            // A service may have begun before it answered: silence is no proof, and its signals may tell.
            Err(error) if matches!(error.kind, Kind::Timeout | Kind::Unavailable) => {
                let touched = if listener.has_touched(section) { Touched::Surely } else { Touched::Perhaps };
                Err(Failure { error, touched })
            }
            Err(error) => Err(untouched(error)),
        }
    });
    bus.unsubscribe(of_object);
    bus.unsubscribe(of_bus);
    outcome.map_err(|mut failure| {
        failure.error = failure.error.or_on(call.label());
        failure
    })
}

fn set_up(bus: &Bus, mapping: &Mapping, section: &TransactionSection, path: &str) -> Result<()> {
    for step in &section.setup {
        let setup = mapping.method(step.method.as_deref().unwrap_or_default())?;
        let free = template::fill(step.args.as_deref().unwrap_or_default(), &|_| None)?;
        let args = template::with_fixed(free, &fixed_of(setup.section))?;
        let types = setup.section.arg_types.as_ref().map(|types| types.concat()).ok_or_else(|| {
            Error::bad_input("a setup method needs its arg_types")
                .on(format!("{}: methods.{}", mapping.source, setup.name))
        })?;
        let call = Call::new(&mapping.service, path, &setup.interface, &setup.member)
            .with(&types, args)
            .in_manner(mapping.manner(Some(setup.section)));
        bus.call(call)?;
    }
    Ok(())
}

struct Listener<'a> {
    bus: &'a Bus,
    service: &'a str,
    of_object: SubscriptionId,
    of_bus: SubscriptionId,
    silence: Duration,
}

impl Listener<'_> {
    /// Whether a signal that is here already says that the machine is being changed.
    fn has_touched(&self, section: &TransactionSection) -> bool {
        std::iter::from_fn(|| self.bus.next_signal(Instant::now()))
            .any(|(id, signal)| id == self.of_object && counts(section.touched.as_ref(), &signal))
    }

    fn collect(
        &self,
        section: &TransactionSection,
        item: Option<&SignalSection>,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::new();
        // Without a signal that tells, only reading again does.
        let mut touched = if section.touched.is_some() { Touched::No } else { Touched::Perhaps };
        let mut reason: Option<String> = None;
        loop {
            let Some((id, signal)) = self.bus.next_signal(Instant::now() + self.silence) else {
                if self.bus.is_interrupted() {
                    return Err(Failure { error: Error::failed("interrupted"), touched });
                }
                let error = Error::new(Kind::Timeout, format!("the transaction said nothing for {:?}", self.silence))
                    .hint("see the service's log; the mapping's timeout_ms sets how long it may be silent");
                return Err(Failure { error, touched: touched.max(Touched::Perhaps) });
            };
            if id == self.of_bus {
                if is_vanished(&signal, self.service) {
                    let error = Error::new(Kind::Failed, "the service went away in the middle of the transaction")
                        .hint("see the service's log");
                    // Reading again, once it is back, tells what became of it.
                    return Err(Failure { error, touched: touched.max(Touched::Perhaps) });
                }
                continue;
            }
            if id != self.of_object {
                continue;
            }
            if counts(section.touched.as_ref(), &signal) {
                touched = Touched::Surely;
            }
            let failed = |error| Failure { error, touched };
            if let Some(spec) = section.error.as_ref().filter(|spec| spec.signal == signal.member) {
                let row = named(spec, &signal).map_err(failed)?;
                reason =
                    Some(spec.text.as_ref().and_then(|text| row.get(text)).map_or_else(|| "it failed".into(), plain));
            }
            if let Some(spec) = section.progress.as_ref().filter(|spec| spec.signal == signal.member) {
                let row = named(spec, &signal).map_err(failed)?;
                let text = spec.text.as_ref().and_then(|text| row.get(text)).map_or_else(String::new, plain);
                let percent = spec.percent.as_ref().and_then(|percent| row.get(percent)).and_then(Value::as_u64);
                progress.say(&text, percent.and_then(|p| u8::try_from(p.min(100)).ok()));
            }
            if let Some(spec) = item.filter(|spec| spec.signal == signal.member) {
                let row = named(spec, &signal).map_err(failed)?;
                if rows::passes(&row, &spec.r#match) {
                    rows.push(row);
                }
                if rows.len() > MAX_ROWS {
                    return Err(failed(Error::failed(format!("the transaction brought more than {MAX_ROWS} results"))));
                }
            }
            if section.done.signal == signal.member {
                let row = named(&section.done, &signal).map_err(failed)?;
                if reason.is_none() && rows::passes(&row, &section.done.r#match) {
                    return Ok(rows);
                }
                let text = reason.unwrap_or_else(|| format!("the service ended it with {}", Value::Array(signal.args)));
                return Err(Failure { error: Error::failed(text), touched });
            }
        }
    }
}

/// Whether `signal` is the one `spec` speaks of, with the values it must have.
fn counts(spec: Option<&SignalSection>, signal: &Signal) -> bool {
    spec.filter(|spec| spec.signal == signal.member)
        .is_some_and(|spec| named(spec, signal).is_ok_and(|row| rows::passes(&row, &spec.r#match)))
}

fn named(spec: &SignalSection, signal: &Signal) -> Result<Row> {
    rows::row(&Value::Array(signal.args.clone()), &spec.fields)
        .map_err(|error| error.on(format!("signal {}.{}", signal.interface, signal.member)))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub fn is_vanished(signal: &Signal, service: &str) -> bool {
    let arg = |i: usize| signal.args.get(i).and_then(Value::as_str);
    signal.member == "NameOwnerChanged" && arg(0) == Some(service) && arg(2) == Some("")
}
