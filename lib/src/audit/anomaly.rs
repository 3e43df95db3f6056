//! What does not look like the past: who, what, when, how much, and how it ends. Counts alone; says that it is learning
//! until there is enough past to differ from.

use super::block::{Block, Kind};
use super::chain::Chain;
use super::log::{self, Filter};
use crate::base::{Result, time};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Runs that must have been seen before anything is called unusual.
pub const ENOUGH_RUNS: usize = 30;
/// Days that they must be spread over.
pub const ENOUGH_DAYS: usize = 3;
/// Runs at other hours before an hour is called unusual.
const ENOUGH_HOURS: usize = 100;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Anomalies {
    /// Always `audit_anomalies`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// Whether there is not enough past yet.
    pub is_learning: bool,
    /// Runs that were looked at.
    pub runs: usize,
    /// Days that they are spread over.
    pub days: usize,
    /// What is unusual, in order.
    pub anomalies: Vec<Anomaly>,
}

/// One unusual thing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Anomaly {
    /// The block.
    pub block: u64,
    /// When.
    pub time: String,
    /// What kind of unusual.
    pub what: What,
    /// In words, with the numbers that it follows from.
    pub why: String,
}

/// Ways of being unusual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum What {
    /// Somebody who did nothing before.
    NewActor,
    /// A plugin that was not changed before.
    NewPlugin,
    /// An hour of the day at which nothing happened before.
    NewHour,
    /// Many more runs in an hour than ever.
    Rate,
    /// Many more failures in an hour than ever.
    Failures,
}

/// The past so far.
#[derive(Debug, Default)]
struct Past {
    runs: usize,
    days: BTreeSet<u64>,
    actors: BTreeMap<String, usize>,
    plugins: BTreeMap<String, usize>,
    hours: BTreeMap<u64, usize>,
    /// Runs and failures by hour since 1970.
    rate: BTreeMap<u64, usize>,
    failures: BTreeMap<u64, usize>,
    told: BTreeSet<(u64, &'static str)>,
}

impl Past {
    fn is_enough(&self) -> bool {
        self.runs >= ENOUGH_RUNS && self.days.len() >= ENOUGH_DAYS
    }

    /// What is unusual about one more block; then it is past, too.
    fn take(&mut self, block: &Block) -> Vec<(What, String)> {
        let mut found = Vec::new();
        let header = &block.header;
        let Some(moment) = time::parse_rfc3339(&header.time) else { return found };
        let hour = seconds(moment) / 3600;
        let is_run = matches!(header.kind, Kind::Intent | Kind::Refusal);
        if is_failure(block) {
            let count = self.failures.entry(hour).or_default();
            *count += 1;
            let count = *count;
            found.extend(self.too_many(hour, count, "failures"));
        }
        if !is_run {
            return found;
        }
        let is_enough = self.is_enough();
        let actor = actor_of(block);
        if is_enough && !self.actors.contains_key(&actor) {
            found.push((What::NewActor, format!("{actor} did nothing in the {} runs before", self.runs)));
        }
        *self.actors.entry(actor).or_default() += 1;
        let plugins: BTreeSet<&str> = block.entries.iter().filter_map(|entry| entry["plugin"].as_str()).collect();
        for plugin in plugins {
            if is_enough && !self.plugins.contains_key(plugin) {
                found.push((What::NewPlugin, format!("{plugin} was not changed in the {} runs before", self.runs)));
            }
            *self.plugins.entry(plugin.to_owned()).or_default() += 1;
        }
        let of_day = hour % 24;
        // The hours beside it count: who works until six is not unusual at five past.
        let near = [(of_day + 23) % 24, of_day, (of_day + 1) % 24].iter().any(|hour| self.hours.contains_key(hour));
        if is_enough && self.runs >= ENOUGH_HOURS && !near {
            found.push((
                What::NewHour,
                format!("nothing happened near {of_day}:00 UTC in the {} runs before", self.runs),
            ));
        }
        *self.hours.entry(of_day).or_default() += 1;
        let count = self.rate.entry(hour).or_default();
        *count += 1;
        let count = *count;
        found.extend(self.too_many(hour, count, "runs"));
        self.runs += 1;
        self.days.insert(seconds(moment) / 86_400);
        found
    }

    /// Whether so many in one hour are far beyond every hour before. Said once an hour.
    fn too_many(&mut self, hour: u64, count: usize, what: &'static str) -> Option<(What, String)> {
        let (kind, counts) = if what == "runs" { (What::Rate, &self.rate) } else { (What::Failures, &self.failures) };
        let most = counts.range(..hour).map(|(_, count)| *count).max().unwrap_or(0);
        let limit = (3 * most).max(10);
        if !self.is_enough() || count <= limit || !self.told.insert((hour, what)) {
            return None;
        }
        Some((kind, format!("{count} {what} within an hour; the most before was {most}")))
    }
}

fn seconds(moment: SystemTime) -> u64 {
    moment.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

fn is_failure(block: &Block) -> bool {
    let detail = block.header.detail.as_ref();
    match block.header.kind {
        Kind::Refusal => true,
        Kind::Outcome => detail.and_then(|detail| detail.get("error")).is_some_and(|error| *error != Value::Null),
        _ => false,
    }
}

/// Who did it: the unit without numbers that are new each time, and the user.
fn actor_of(block: &Block) -> String {
    let actor = &block.header.actor;
    let user = actor.login_uid.or(actor.uid).map_or_else(|| "nobody".to_owned(), |uid| format!("user {uid}"));
    let unit = actor.unit.as_deref().filter(|unit| unit.ends_with(".service") && !unit.starts_with("op-dbus-revert-"));
    let from = actor.ssh.as_deref().and_then(|ssh| ssh.split(' ').next());
    match (unit, from) {
        (Some(unit), _) => format!("{user} in {unit}"),
        (None, Some(from)) => format!("{user} from {from}"),
        (None, None) => user,
    }
}

/// What is unusual among the blocks that `filter` wants; all of them are the past.
pub fn find(chain: &Chain, filter: &Filter) -> Result<Anomalies> {
    let mut past = Past::default();
    let mut anomalies = Vec::new();
    log::walk(chain, 1, &Filter::default(), &mut |block| {
        let found = past.take(&block);
        if filter.accepts(&block) {
            let (number, at) = (block.header.number, block.header.time.clone());
            anomalies.extend(found.into_iter().map(|(what, why)| Anomaly {
                block: number,
                time: at.clone(),
                what,
                why,
            }));
        }
        Ok(true)
    })?;
    Ok(Anomalies {
        kind: "audit_anomalies".into(),
        version: 1,
        is_learning: !past.is_enough(),
        runs: past.runs,
        days: past.days.len(),
        anomalies,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::block::{self, tests::header};
    use serde_json::json;

    /// A block of a run at an hour of a day.
    fn run(day: u64, hour: u64, uid: u32, plugin: &str) -> Block {
        let moment = UNIX_EPOCH + Duration::from_secs(1_736_900_000 / 86_400 * 86_400 + day * 86_400 + hour * 3600);
        let mut header = header(1, &block::genesis());
        header.kind = Kind::Intent;
        header.time = time::rfc3339(moment);
        header.actor.uid = Some(uid);
        Block { header, digest: String::new(), entries: vec![json!({"plugin": plugin})] }
    }

    /// Ten days of work between eight and seventeen.
    fn usual() -> Past {
        let mut past = Past::default();
        for day in 0..15 {
            for hour in 8..17 {
                let plugin = ["hostname", "packagekit", "timedate"][usize::try_from((day + hour) % 3).unwrap()];
                assert_eq!(past.take(&run(day, hour, 0, plugin)), [], "day {day}, {hour}:00");
            }
        }
        past
    }

    #[test]
    fn a_clean_log_has_none_and_planted_ones_are_found() {
        let what = |found: Vec<(What, String)>| found.into_iter().map(|(what, _)| what).collect::<Vec<_>>();
        let mut past = usual();
        assert_eq!(what(past.take(&run(15, 9, 0, "hostname"))), []);
        assert_eq!(what(past.take(&run(15, 9, 1000, "hostname"))), [What::NewActor]);
        assert_eq!(what(past.take(&run(15, 9, 1000, "hostname"))), [], "new once");
        assert_eq!(what(past.take(&run(15, 10, 0, "firewalld"))), [What::NewPlugin]);
        assert_eq!(what(past.take(&run(15, 17, 0, "hostname"))), [], "an hour beside the usual ones");
        assert_eq!(what(past.take(&run(16, 3, 0, "hostname"))), [What::NewHour]);
        let burst: Vec<What> = (0..40).flat_map(|_| what(past.take(&run(17, 11, 0, "hostname")))).collect();
        assert_eq!(burst, [What::Rate], "said once");
        let failures: Vec<What> = (0..20)
            .flat_map(|_| {
                let mut block = run(18, 11, 0, "hostname");
                block.header.kind = Kind::Outcome;
                block.header.detail = Some(json!({"outcome": "undone", "error": {"kind": "failed"}}));
                what(past.take(&block))
            })
            .collect();
        assert_eq!(failures, [What::Failures]);
    }

    #[test]
    fn nothing_is_unusual_while_it_learns() {
        let mut past = Past::default();
        for n in 0..29 {
            let plugin = format!("p{n}");
            assert_eq!(past.take(&run(n % 5, n % 24, u32::try_from(n).unwrap(), &plugin)), []);
        }
        assert!(!past.is_enough());
    }
}
