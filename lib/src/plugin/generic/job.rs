//! A call that answers with a job: listen first, call, wait for the signal that ends that job.

use super::rows;
use crate::base::{Error, Kind, Progress, Result};
use crate::bus::{Bus, Call, names};
use crate::plugin::mapping::{JobSection, Mapping, fixed_of, template};
use crate::plugin::{Failure, Touched};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long a job may take when the mapping says nothing.
const DEFAULT_LIMIT: Duration = Duration::from_secs(300);

/// Makes `call` and waits until its job has ended.
pub fn run(
    bus: &Bus,
    mapping: &Mapping,
    job: &JobSection,
    call: Call,
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    let untouched = |error: Error| Failure { error, touched: Touched::No };
    let path = job.path.as_deref().unwrap_or(&mapping.path);
    let interface = job.interface.as_deref().unwrap_or(&mapping.interface);
    // The match comes first: a short job has ended before its answer is read.
    let of_job = bus.subscribe(&mapping.service, Some(path), interface).map_err(untouched)?;
    let of_bus = match bus.subscribe(names::BUS_NAME, None, names::BUS_NAME) {
        Ok(id) => id,
        Err(error) => {
            bus.unsubscribe(of_job);
            return Err(untouched(error));
        }
    };
    let label = call.label();
    let outcome = set_up(bus, mapping, job).map_err(untouched).and_then(|()| {
        let id = bus.call(call).and_then(|reply| reply.single(&label)).map_err(|error| {
            let touched = if super::perform::was_turned_away(&error) { Touched::No } else { Touched::Perhaps };
            Failure { error, touched }
        })?;
        let limit = job.timeout_ms.map_or(DEFAULT_LIMIT, Duration::from_millis);
        let begun = |error: Error| Failure { error: error.or_on(label.clone()), touched: Touched::Perhaps };
        let deadline = Instant::now() + limit;
        progress.say(&format!("waiting for {}", job.done.signal), None);
        loop {
            let Some((subscription, signal)) = bus.next_signal(deadline) else {
                let error = Error::new(Kind::Timeout, format!("the job did not end within {limit:?}"))
                    .hint("see the service's log; the mapping's timeout_ms sets how long a job may take");
                return Err(begun(error));
            };
            if subscription == of_bus && super::transaction::is_vanished(&signal, &mapping.service) {
                return Err(begun(Error::failed("the service went away in the middle of the job").hint("see its log")));
            }
            if subscription != of_job || signal.member != job.done.signal {
                continue;
            }
            let row = rows::row(&Value::Array(signal.args.clone()), &job.done.fields).map_err(begun)?;
            if row.get(&job.id) != Some(&id) {
                continue;
            }
            if rows::passes(&row, &job.done.r#match) {
                return Ok(());
            }
            let text = job.done.text.as_ref().and_then(|text| row.get(text)).cloned();
            let text = text.unwrap_or(Value::Array(signal.args));
            return Err(begun(Error::failed(format!("the job ended with {text}")).hint("see the service's log")));
        }
    });
    bus.unsubscribe(of_job);
    bus.unsubscribe(of_bus);
    outcome
}

fn set_up(bus: &Bus, mapping: &Mapping, job: &JobSection) -> Result<()> {
    for step in &job.setup {
        let method = mapping.method(step.method.as_deref().unwrap_or_default())?;
        let free = template::fill(step.args.as_deref().unwrap_or_default(), &|_| None)?;
        let args = template::with_fixed(free, &fixed_of(method.section))?;
        let types = method.section.arg_types.as_ref().map(|types| types.concat()).unwrap_or_default();
        let call = Call::new(&mapping.service, &method.path, &method.interface, &method.member)
            .with(&types, args)
            .in_manner(mapping.manner(Some(method.section)));
        match bus.call(call) {
            Err(error) if super::perform::is_already_so(&method, &error) => {}
            other => drop(other?),
        }
    }
    Ok(())
}
