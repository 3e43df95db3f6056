//! Documents: added with their vectors, and found by meaning.

use super::choice::Choice;
use super::lines::Lines;
use super::stream::{Asked, Input, answers, warn_of};
use crate::base::digest::Plain;
use crate::base::{Error, Result};
use crate::cli::{Cli, Outcome, one_line};
use crate::embed::Model;
use crate::embed::documents::{Added, Document as Printed, SearchTimings};
use crate::embed::search::{Access, Document, Documents, Filter, Search};
use serde_json::Value;

/// What is looked for, and how much of it is printed.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// `--top`.
    pub top: usize,
    /// `--filter`.
    pub filter: Vec<String>,
    /// `--threads`.
    pub threads: Option<usize>,
    /// `--timings`.
    pub timings: bool,
}

fn open(model: &Model, access: Access, cli: &Cli) -> Result<Documents> {
    let folder = cli.root()?.documents();
    Documents::open(&folder, &model.identity(), model.manifest.dimension, access)
}

/// Embeds every line of a stream and adds it to the documents.
pub fn add(lines: Lines, mut input: Input, choice: &Choice, cli: &mut Cli) -> Result<Outcome> {
    let mut embedder = choice.embedder(cli)?;
    let mut documents = open(&embedder.model().clone(), Access::Write, cli)?;
    let dimension = embedder.dimension();
    let mut progress = cli.out.progress();
    let (mut vectors, mut problems) = (vec![], vec![]);
    let (mut added, mut replaced) = (0, 0);
    for block in lines {
        let asked: Vec<Asked> = block?.into_iter().map(|line| input.asked(line)).collect();
        let answers = answers(&asked, &mut embedder, &mut vectors)?;
        warn_of(&mut embedder, &mut cli.out);
        let mut batch = vec![];
        for ((asked, answer), vector) in asked.into_iter().zip(answers).zip(vectors.chunks_exact(dimension)) {
            match (answer, asked.text) {
                (Ok(_), Ok(text)) => batch.push(document(asked.id, text, asked.more, vector, input)),
                (Err(error), _) | (_, Err(error)) => problems.push(error),
            }
        }
        let done = documents.add(&batch)?;
        added += done.added;
        replaced += done.replaced;
        progress.spinner(&format!("{} documents", added + replaced));
    }
    progress.finish();
    let printed = Added { added, replaced, documents: documents.len() };
    if cli.out.look().is_json {
        cli.out.document(&Printed::new("documents", &printed))?;
    } else {
        cli.out.text(&format!("{added} added, {replaced} replaced, {} documents now", documents.len()))?;
    }
    match Error::all(problems) {
        None => Ok(Outcome::Done),
        Some(error) => {
            cli.out.fail(&error);
            Ok(Outcome::Partial)
        }
    }
}

/// A text without a name is known by its digest: adding it again takes its own place.
fn document(
    id: Value,
    text: String,
    more: Option<serde_json::Map<String, Value>>,
    vector: &[f32],
    input: Input,
) -> Document {
    let id = match id {
        Value::String(id) => id,
        id if input == Input::Ndjson => id.to_string(),
        _ => Plain::of(text.as_bytes())[..16].to_owned(),
    };
    Document { id, text, metadata: Value::Object(more.unwrap_or_default()), vector: vector.to_vec() }
}

/// Prints the documents nearest to a text.
pub fn search(text: &str, wanted: &Wanted, choice: &Choice, cli: &mut Cli) -> Result<Outcome> {
    let filter = Filter::parse(&wanted.filter)?;
    let model = choice.model(cli)?;
    // Whether there is anything to search is known before a model is opened.
    let mut documents = open(&model, Access::Read, cli)?;
    let mut embedder = choice.embedder(cli)?;
    let mut vector = vec![];
    embedder.embed(&[text], &mut vector)?.remove(0)?;
    warn_of(&mut embedder, &mut cli.out);
    if let Some(threads) = wanted.threads {
        documents.set_threads(threads);
    }
    let found = documents.search(&vector, wanted.top, &filter)?;
    print(&found, wanted, cli)
}

/// Prints the documents nearest to another one.
pub fn neighbours(id: &str, wanted: &Wanted, choice: &Choice, cli: &mut Cli) -> Result<Outcome> {
    let filter = Filter::parse(&wanted.filter)?;
    let mut documents = open(&choice.model(cli)?, Access::Read, cli)?;
    if let Some(threads) = wanted.threads {
        documents.set_threads(threads);
    }
    let found = documents.neighbours(id, wanted.top, &filter)?;
    print(&found, wanted, cli)
}

fn print(found: &Search, wanted: &Wanted, cli: &mut Cli) -> Result<Outcome> {
    if cli.out.look().is_json {
        found.matches.iter().try_for_each(|found| cli.out.ndjson(found))?;
    } else {
        let rows: Vec<Vec<String>> = found
            .matches
            .iter()
            .map(|found| vec![format!("{:.4}", found.score), found.id.clone(), one_line(&found.text).into_owned()])
            .collect();
        cli.out.table(&["SCORE", "ID", "TEXT"], &rows)?;
    }
    if !found.is_exact {
        cli.out.warn("thousands of documents are nearly the same, so these may not be the nearest for certain");
    }
    if !found.damaged.is_empty() {
        cli.out.warn(&format!("{} damaged vectors were left out", found.damaged.len()));
    }
    if wanted.timings {
        let ms = |ns: u64| ns as f64 / 1e6;
        let lines = [format!(
            "{} vectors scanned in {:.2} ms, {} ranked in {:.2} ms",
            found.scanned,
            ms(found.scan_ns),
            found.ranked,
            ms(found.rank_ns)
        )];
        let printed = SearchTimings {
            scanned: found.scanned,
            candidates: found.candidates,
            ranked: found.ranked,
            is_exact: found.is_exact,
            filter_ms: ms(found.filter_ns),
            scan_ms: ms(found.scan_ns),
            rank_ms: ms(found.rank_ns),
        };
        cli.out.aside_document(&Printed::new("search_timings", &printed), &lines);
    }
    Ok(if found.matches.is_empty() { Outcome::Partial } else { Outcome::Done })
}
