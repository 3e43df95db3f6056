//! The pipe: texts in, vectors out.

use op_dbus::base::{Error, Result};
use op_dbus::cli::embed::Choice;
use op_dbus::cli::embed::format::Format;
use op_dbus::cli::embed::lines::Lines;
use op_dbus::cli::embed::stream::{self, Input, MAX_LINE_BYTES};
use op_dbus::cli::{Cli, Outcome, input};
use std::fs::File;
use std::io::{Cursor, IsTerminal, Read};
use std::time::Instant;

/// Vectors of texts: one a line, or NDJSON records {"id","text",...}.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "embed")]
pub struct Embed {
    /// a file of texts, - being standard input
    #[argh(positional, arg_name = "FILE")]
    file: Option<String>,
    /// a text (may be repeated)
    #[argh(option, arg_name = "TEXT")]
    text: Vec<String>,
    /// what lines are: auto, text or ndjson (auto: records if the first line is one)
    #[argh(option, arg_name = "INPUT", default = "Input::Auto")]
    input: Input,
    /// what is printed: ndjson, raw (32-bit floats) or npy (a numpy array)
    #[argh(option, arg_name = "FORMAT", default = "Format::Ndjson")]
    format: Format,
    /// a model's name or folder; the one in use when not said
    #[argh(option, arg_name = "MODEL")]
    pub model: Option<String>,
    /// how much to spend: none (cache only), low, medium or high
    #[argh(option, arg_name = "LEVEL")]
    pub level: Option<String>,
    /// tract (built in), auto, or the path of libonnxruntime.so
    #[argh(option, arg_name = "RUNTIME")]
    pub runtime: Option<String>,
    /// what to compute on, in this order: cuda,tensorrt,rocm,openvino,cpu
    #[argh(option, arg_name = "LIST")]
    pub provider: Option<String>,
    /// how many threads compute
    #[argh(option, arg_name = "N")]
    pub threads: Option<usize>,
    /// how exact vectors are, here and in the cache: f32, f16 or int8 (f16)
    #[argh(option, long = "type", arg_name = "TYPE")]
    vector_type: Option<String>,
    /// neither ask the cache nor keep anything
    #[argh(switch)]
    no_cache: bool,
    /// where threads that compute are put: local, node N, most-memory, interleave, replicate or off
    #[argh(option, arg_name = "STRATEGY")]
    numa: Option<String>,
    /// say on standard error how long it took
    #[argh(switch)]
    timings: bool,
}

pub fn run(args: &Embed, cli: &mut Cli) -> Result<Outcome> {
    let begun = Instant::now();
    if args.format != Format::Ndjson && cli.out.look().is_stdout_terminal {
        return Err(Error::usage("a terminal cannot show these bytes")
            .on("--format")
            .hint("send them to a file or a pipe"));
    }
    let (mut input, lines) = (args.input, lines(args)?);
    if !args.text.is_empty() {
        input = Input::Text;
    }
    let choice = Choice {
        vector_type: args.vector_type.clone(),
        no_cache: args.no_cache,
        numa: args.numa.clone(),
        ..choice!(args)
    };
    let mut embedder = choice.embedder(cli)?;
    let outcome = stream::stream(lines, input, args.format, &mut embedder, cli)?;
    if args.timings {
        let timings = stream::timings(&mut embedder, begun);
        let lines = timings.lines();
        cli.out.aside_document(&timings, &lines);
    }
    Ok(outcome)
}

fn lines(args: &Embed) -> Result<Lines> {
    let (stream, name): (Box<dyn Read + Send>, &str) = match (&args.file, &args.text[..]) {
        (Some(_), [_, ..]) => {
            return Err(Error::usage("--text and a file both say what to embed: say one of them").on("--text"));
        }
        (None, texts @ [_, ..]) => {
            if let Some(text) = texts.iter().find(|text| text.contains('\n')) {
                return Err(Error::usage("a text is one line").on(format!("--text {text:?}")));
            }
            (Box::new(Cursor::new(texts.join("\n"))), "--text")
        }
        (file, []) => return open(file.as_deref()),
    };
    Lines::of(stream, name, MAX_LINE_BYTES)
}

/// The lines of a file, or of standard input.
pub fn open(file: Option<&str>) -> Result<Lines> {
    let (stream, name): (Box<dyn Read + Send>, &str) = match file {
        Some(path) if path != "-" => {
            let file = File::open(path).map_err(|e| Error::bad_input(format!("could not read it: {e}")).on(path))?;
            (Box::new(file), path)
        }
        None if std::io::stdin().is_terminal() => {
            return Err(Error::usage("there are no texts").hint("pipe lines in, name a file, or say --text"));
        }
        _ => (Box::new(std::io::stdin()), input::STDIN),
    };
    Lines::of(stream, name, MAX_LINE_BYTES)
}
