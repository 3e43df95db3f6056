//! What does not look like the past: who, what, when, how much, how it ends, and, where there are vectors, what it means.
//! Says that it is learning until there is enough past to differ from.

use super::block::{Block, Kind};
use super::chain::Chain;
use super::log::{self, Filter};
use super::search::text_of;
use super::vectors::{self, BlockVectors, cosine};
use crate::base::{Result, time};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Runs that must have been seen before anything is called unusual.
pub const ENOUGH_RUNS: usize = 30;
/// Days that they must be spread over.
pub const ENOUGH_DAYS: usize = 3;
/// Further than this from everything before is unusual, when new texts usually lie nearer. Sentences about different
/// things are 0.6 to 1 apart, the same one about another item 0 to 0.3.
const FAR: f64 = 0.55;
/// And so many times as far as new texts usually are.
const TIMES: f64 = 1.5;
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
    /// What was done is like nothing that was done before.
    Novelty,
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
    meanings: Meanings,
}

/// What was done so far, by meaning.
#[derive(Debug, Default)]
struct Meanings {
    texts: BTreeSet<String>,
    vectors: Vec<Vec<f32>>,
    /// How far each new text was from those before it, when it came.
    distances: Vec<f64>,
    model: String,
}

impl Meanings {
    /// How far a text that is new is from everything before it, and how far is far.
    fn take(&mut self, text: &str, vector: &[f32]) -> Option<(f64, f64)> {
        if !self.texts.insert(text.to_owned()) {
            return None;
        }
        let nearest = self
            .vectors
            .iter()
            .map(|past| 1.0 - cosine(past, vector))
            .fold(None, |best: Option<f64>, one| Some(best.map_or(one, |best| best.min(one))));
        self.vectors.push(vector.to_vec());
        let distance = nearest?;
        let mut sorted = self.distances.clone();
        sorted.sort_by(f64::total_cmp);
        // Nine of ten new texts were no further than this.
        let usual = sorted.get(sorted.len() * 9 / 10).copied().unwrap_or_default();
        self.distances.push(distance);
        Some((distance, FAR.max(usual.min(0.6) * TIMES).min(0.9)))
    }
}

impl Past {
    fn is_enough(&self) -> bool {
        self.runs >= ENOUGH_RUNS && self.days.len() >= ENOUGH_DAYS
    }

    /// What is unusual about one more block; then it is past, too.
    fn take(&mut self, block: &Block, vectors: Option<&BlockVectors>) -> Vec<(What, String)> {
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
        found.extend(self.unlike_all(block, vectors, is_enough));
        let count = self.rate.entry(hour).or_default();
        *count += 1;
        let count = *count;
        found.extend(self.too_many(hour, count, "runs"));
        self.runs += 1;
        self.days.insert(seconds(moment) / 86_400);
        found
    }

    /// What a block does that is like nothing before it.
    fn unlike_all(&mut self, block: &Block, vectors: Option<&BlockVectors>, is_enough: bool) -> Option<(What, String)> {
        let kept = vectors?;
        if self.meanings.model != kept.model {
            self.meanings = Meanings { model: kept.model.clone(), ..Meanings::default() };
        }
        let mut furthest: Option<(f64, String)> = None;
        for (entry, vector) in block.entries.iter().zip(&kept.vectors) {
            let text = text_of(entry);
            let Some((distance, limit)) = self.meanings.take(&text, vector) else { continue };
            if is_enough && distance > limit && furthest.as_ref().is_none_or(|(most, _)| distance > *most) {
                furthest = Some((distance, text));
            }
        }
        let (distance, text) = furthest?;
        Some((What::Novelty, format!("{text:?} is like nothing before it: {distance:.2} from the nearest")))
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
        let kept = vectors::read(chain, block.header.number, &block.digest);
        let found = past.take(&block, kept.as_ref());
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
                assert_eq!(past.take(&run(day, hour, 0, plugin), None), [], "day {day}, {hour}:00");
            }
        }
        past
    }

    #[test]
    fn a_clean_log_has_none_and_planted_ones_are_found() {
        let what = |found: Vec<(What, String)>| found.into_iter().map(|(what, _)| what).collect::<Vec<_>>();
        let mut past = usual();
        assert_eq!(what(past.take(&run(15, 9, 0, "hostname"), None)), []);
        assert_eq!(what(past.take(&run(15, 9, 1000, "hostname"), None)), [What::NewActor]);
        assert_eq!(what(past.take(&run(15, 9, 1000, "hostname"), None)), [], "new once");
        assert_eq!(what(past.take(&run(15, 10, 0, "firewalld"), None)), [What::NewPlugin]);
        assert_eq!(what(past.take(&run(15, 17, 0, "hostname"), None)), [], "an hour beside the usual ones");
        assert_eq!(what(past.take(&run(16, 3, 0, "hostname"), None)), [What::NewHour]);
        let burst: Vec<What> = (0..40).flat_map(|_| what(past.take(&run(17, 11, 0, "hostname"), None))).collect();
        assert_eq!(burst, [What::Rate], "said once");
        let failures: Vec<What> = (0..20)
            .flat_map(|_| {
                let mut block = run(18, 11, 0, "hostname");
                block.header.kind = Kind::Outcome;
                block.header.detail = Some(json!({"outcome": "undone", "error": {"kind": "failed"}}));
                what(past.take(&block, None))
            })
            .collect();
        assert_eq!(failures, [What::Failures]);
    }

    #[test]
    fn nothing_is_unusual_while_it_learns() {
        let mut past = Past::default();
        for n in 0..29 {
            let plugin = format!("p{n}");
            assert_eq!(past.take(&run(n % 5, n % 24, u32::try_from(n).unwrap(), &plugin), None), []);
        }
        assert!(!past.is_enough());
    }

    #[test]
    fn what_means_something_else_is_found() {
        let kept = |angle: f32| BlockVectors { model: "m".into(), vectors: vec![vec![angle.cos(), angle.sin()]] };
        let titled = |day: u64, title: String| {
            let mut block = run(day, 9, 0, "hostname");
            block.entries[0]["title"] = json!(title);
            block
        };
        let mut past = Past::default();
        for n in 0..60_u16 {
            let block = titled(u64::from(n) / 5, format!("set location to {n}"));
            assert_eq!(past.take(&block, Some(&kept(f32::from(n) / 100.0))), [], "{n}");
        }
        let odd = titled(13, "open every port".into());
        let found = past.take(&odd, Some(&kept(2.4)));
        assert_eq!(found.iter().map(|(what, _)| *what).collect::<Vec<_>>(), [What::Novelty], "{found:?}");
        assert_eq!(past.take(&odd, Some(&kept(2.4))), [], "new once");
        // Another model has another past.
        let other = BlockVectors { model: "n".into(), ..kept(0.0) };
        assert_eq!(past.take(&titled(13, "something".into()), Some(&other)), []);
    }
}
