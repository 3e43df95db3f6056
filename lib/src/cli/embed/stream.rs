//! The pipe: texts in, vectors out, in order, a block at a time.

use super::format::{Format, Npy, bytes_of};
use super::lines::{Line, Lines};
use crate::base::{Error, Result};
use crate::cli::{Cli, Out, Outcome, one_line};
use crate::embed::documents::{EmbedTimings, Record, fields};
use crate::embed::embedder::{Embedder, MAX_TEXT_BYTES, Source};
use serde_json::{Map, Value};
use std::time::Instant;

/// A record is its text and what comes with it.
pub const MAX_LINE_BYTES: usize = 2 * MAX_TEXT_BYTES;

/// What lines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Records, if the first line is an object with a `text`; texts otherwise.
    Auto,
    /// Each line is a text, whatever it looks like.
    Text,
    /// Each line is a record `{"id":...,"text":"...",...}`.
    Ndjson,
}

impl std::str::FromStr for Input {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "ndjson" => Ok(Self::Ndjson),
            _ => Err(Error::usage(format!("{text:?} is no input")).hint("there are auto, text and ndjson")),
        }
    }
}

/// A text that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Its name: the record's, or the line's number.
    pub id: Value,
    /// The text, or why there is none.
    pub text: Result<String>,
    /// What else the record says.
    pub more: Option<Map<String, Value>>,
}

impl Input {
    /// What a line asks for; the first line decides what [`Self::Auto`] means.
    pub fn asked(&mut self, line: Line) -> Asked {
        let text = match line.text {
            Ok(text) => text,
            error => return Asked { id: line.number.into(), text: error, more: None },
        };
        if *self == Self::Auto {
            let is_record = text.starts_with('{') && record(&text, line.number).text.is_ok();
            *self = if is_record { Self::Ndjson } else { Self::Text };
        }
        match self {
            Self::Ndjson => record(&text, line.number),
            _ => Asked { id: line.number.into(), text: Ok(text), more: None },
        }
    }
}

fn record(text: &str, number: u64) -> Asked {
    let wrong = |what: String| Asked {
        id: number.into(),
        text: Err(Error::bad_input(what)
            .on(format!("line {number}"))
            .hint(r#"a record is {"id":"...","text":"..."}; --input text takes each line as a text"#)),
        more: None,
    };
    let mut fields = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => return wrong("this is no record: a JSON object is".into()),
        Err(error) => return wrong(format!("this is no JSON: {error}")),
    };
    let Some(Value::String(text)) = fields.remove("text") else {
        return wrong("this record has no text".into());
    };
    let id = fields.remove("id").unwrap_or_else(|| number.into());
    for own in ["vector", "model", "cached", "error"] {
        fields.remove(own);
    }
    Asked { id, text: Ok(text), more: Some(fields).filter(|fields| !fields.is_empty()) }
}

/// Answers every line of a stream.
pub fn stream(
    lines: Lines,
    mut input: Input,
    format: Format,
    embedder: &mut Embedder,
    cli: &mut Cli,
) -> Result<Outcome> {
    let mut progress = cli.out.progress();
    let dimension = embedder.dimension();
    let mut npy = if format == Format::Npy { Some(Npy::begin(dimension, &mut cli.out)?) } else { None };
    let (mut vectors, mut bytes) = (vec![], vec![]);
    let (mut count, mut failed) = (0u64, 0u64);
    for block in lines {
        let asked: Vec<Asked> = block?.into_iter().map(|line| input.asked(line)).collect();
        let answers = answers(&asked, embedder, &mut vectors)?;
        warn_of(embedder, &mut cli.out);
        bytes.clear();
        let mut stopped = None;
        for ((asked, answer), vector) in asked.iter().zip(&answers).zip(vectors.chunks_exact(dimension)) {
            failed += u64::from(answer.is_err());
            match (format, answer) {
                (Format::Ndjson, answer) => write_record(asked, answer, vector, embedder, &mut bytes, &cli.out)?,
                (_, Ok(_)) => bytes_of(vector, &mut bytes),
                // A row that is missing would make every later one another text's.
                (_, Err(error)) => {
                    stopped = Some(error.clone().or_on(format!("line {}", asked.id)));
                    break;
                }
            }
        }
        match &mut npy {
            Some(npy) => npy.add(&bytes, &mut cli.out)?,
            None => cli.out.bytes(&bytes)?,
        }
        if let Some(error) = stopped {
            return Err(error);
        }
        count += asked.len() as u64;
        progress.spinner(&format!("{count} texts, {} computed", embedder.counts().misses));
        if cli.out.is_closed() {
            break;
        }
    }
    if let Some(npy) = npy {
        npy.end(&mut cli.out)?;
    }
    progress.finish();
    if embedder.counts().cut > 0 {
        let (cut, most) = (embedder.counts().cut, embedder.model().manifest.max_tokens);
        cli.out.warn(&format!("{cut} texts are longer than the {most} tokens the model reads: the rest did not count"));
    }
    Ok(if failed > 0 { Outcome::Partial } else { Outcome::Done })
}

/// The answers of a block; what is no text has its error.
pub fn answers(asked: &[Asked], embedder: &mut Embedder, vectors: &mut Vec<f32>) -> Result<Vec<Result<Source>>> {
    let texts: Vec<&str> = asked.iter().map(|asked| asked.text.as_deref().unwrap_or_default()).collect();
    if asked.iter().all(|asked| asked.text.is_ok()) {
        return embedder.embed(&texts, vectors);
    }
    // Nothing is computed for a line that is no text.
    let dimension = embedder.dimension();
    let good: Vec<usize> = (0..asked.len()).filter(|&at| asked[at].text.is_ok()).collect();
    let good_texts: Vec<&str> = good.iter().map(|&at| texts[at]).collect();
    let mut good_vectors = vec![];
    let mut found = embedder.embed(&good_texts, &mut good_vectors)?.into_iter();
    vectors.clear();
    vectors.resize(asked.len() * dimension, 0.0);
    for (&at, vector) in good.iter().zip(good_vectors.chunks_exact(dimension)) {
        vectors[at * dimension..][..dimension].copy_from_slice(vector);
    }
    Ok(asked
        .iter()
        .map(|asked| match &asked.text {
            Ok(_) => found.next().unwrap_or_else(|| Err(Error::failed("an answer is missing"))),
            Err(error) => Err(error.clone()),
        })
        .collect())
}

/// Says what went wrong beside the answers.
pub fn warn_of(embedder: &mut Embedder, out: &mut Out) {
    for problem in embedder.take_problems() {
        out.warn(&format!("{problem}\nthe answers are right without it, only slower"));
    }
}

fn write_record(
    asked: &Asked,
    answer: &Result<Source>,
    vector: &[f32],
    embedder: &Embedder,
    bytes: &mut Vec<u8>,
    out: &Out,
) -> Result<()> {
    if !out.look().is_json {
        let text = asked.text.as_deref().unwrap_or_default();
        let first: Vec<String> = vector.iter().take(4).map(|value| format!("{value:+.4}")).collect();
        let said = match answer {
            Ok(Source::Cache) => format!("[{} ...] cached", first.join(" ")),
            Ok(Source::Model) => format!("[{} ...] computed", first.join(" ")),
            Err(error) => error.message.clone(),
        };
        bytes.extend(format!("{}\t{}\t{said}\n", asked.id, one_line(text)).bytes());
        return Ok(());
    }
    let error = answer.as_ref().err().map(fields);
    let record = Record {
        id: &asked.id,
        text: asked.text.as_deref().ok(),
        more: asked.more.as_ref(),
        model: error.is_none().then(|| embedder.model().name()),
        cached: answer.as_ref().ok().map(|&source| source == Source::Cache),
        vector: error.is_none().then_some(vector),
        error,
    };
    serde_json::to_writer(&mut *bytes, &record).map_err(|e| Error::failed(format!("could not write a record: {e}")))?;
    bytes.push(b'\n');
    Ok(())
}

/// What a run did.
pub fn timings(embedder: &mut Embedder, begun: Instant) -> EmbedTimings {
    let counts = embedder.counts();
    let opened = (counts.misses > 0).then(|| embedder.engine().ok()).flatten();
    let engine = opened.as_ref().map(|engine| {
        format!("{} {} on {}", engine.runtime().kind.as_str(), engine.runtime().version, engine.provider().0.as_str())
    });
    let opening_ms = opened.map_or(0.0, |engine| engine.opening.as_secs_f64() * 1e3);
    EmbedTimings {
        kind: "embed_timings",
        version: 1,
        texts: counts.hits + counts.misses,
        hits: counts.hits,
        misses: counts.misses,
        opening_ms,
        computing_ms: counts.computing.as_secs_f64() * 1e3,
        total_ms: begun.elapsed().as_secs_f64() * 1e3,
        engine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line { number: 7, text: Ok(text.into()) }
    }

    #[test]
    fn the_first_line_decides() {
        let mut input = Input::Auto;
        let asked = input.asked(line(r#"{"text":"a","id":"x","unit":"ssh","vector":[1]}"#));
        assert_eq!((input, &asked.id, asked.text.as_deref()), (Input::Ndjson, &Value::from("x"), Ok("a")));
        assert_eq!(asked.more.unwrap().into_iter().collect::<Vec<_>>(), [("unit".to_owned(), Value::from("ssh"))]);
        let error = input.asked(line("plain")).text.unwrap_err();
        assert!(error.message.contains("no JSON") && error.subject.as_deref() == Some("line 7"), "{error}");
        for text in ["plain", "{curly}", r#"{"txt":"a"}"#, r#"{"text":1}"#, ""] {
            let mut input = Input::Auto;
            assert_eq!((input.asked(line(text)).text.as_deref(), input), (Ok(text), Input::Text));
        }
    }
}
