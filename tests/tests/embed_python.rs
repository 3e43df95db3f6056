//! Embeddings beside what others compute: ONNX Runtime, the reference forward pass, and clients that are there already.
//!
//! All of this needs Python packages, which are fetched once; where that cannot be, each test says that it is skipped.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]
#![allow(clippy::print_stdout, reason = "a skipped test says so")]

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// The folder of packages and models; none where they cannot be fetched.
fn python() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let script = repository().join("tests/embed/python.sh");
        let output = Command::new("bash").arg(script).stderr(Stdio::inherit()).output().unwrap();
        match output.status.code() {
            Some(0) => Some(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())),
            Some(77) => None,
            code => panic!("tests/embed/python.sh: {code:?}"),
        }
    });
    if folder.is_none() {
        println!("SKIP embed-python: Python packages cannot be fetched here");
    }
    folder.as_deref()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(op_dbus_tests::program("op-embed"));
        command.args(args).env("OP_DBUS_ROOT", self.0.path()).env_remove("ORT_DYLIB_PATH").stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str], stdin: &str) -> Vec<u8> {
        let mut child = self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{args:?}");
        output.stdout
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_slice(&self.run(args, "")).unwrap()
    }
}

/// Runs Python on what is said there; what it prints.
fn say(folder: &Path, code: &str, args: &[&str]) -> String {
    let output = Command::new(folder.join("venv/bin/python")).args(["-c", code]).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn both_engines_agree_with_the_reference() {
    let Some(folder) = python() else { return };
    let host = Host::new();
    let runtime = folder.join("venv/runtime");
    let runtime = runtime.to_str().unwrap();
    for model in ["f32", "q4"] {
        let model = folder.join("models").join(model);
        for engine in [&["--runtime", "tract"][..], &["--runtime", runtime], &["--runtime", runtime, "--threads", "1"]]
        {
            let found = host.json(&[&["model", "verify", model.to_str().unwrap()], engine].concat());
            assert!(found["lowest_cosine"].as_f64().unwrap() > 0.9999, "{found}");
            assert_eq!(found["largest_difference_in_a_batch"], 0.0, "{found}");
        }
    }
    let engines = host.json(&["engines", "--runtime", runtime]);
    assert_eq!(engines["runtime"], "onnxruntime");
    assert!(engines["providers_refused"].as_array().unwrap().iter().any(|provider| provider["what"] == "cuda"));
    // The environment finds it, too; and what one engine computed, the other one finds.
    let mut found = host.command(&["--text", "Creating container 100", "--timings", "--json"]);
    let output = found.env("ORT_DYLIB_PATH", runtime).output().unwrap();
    let timings: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert!(timings["engine"].as_str().unwrap().starts_with("onnxruntime 1."), "{timings}");
    let kept = host.json(&["--runtime", "tract", "--text", "Creating container 100"]);
    assert_eq!(kept["cached"], true);
}

/// From a wheel, an archive of a release, the library alone and a folder; what does not compute is not put in place.
#[test]
fn a_runtime_is_put_in_place() {
    let Some(folder) = python() else { return };
    let host = Host::new();
    let root = host.0.path().to_str().unwrap().to_owned();
    let pack = "
import os, sys, tarfile, zipfile
venv, out = sys.argv[1:]
runtime = os.path.join(venv, 'runtime')
library = os.path.realpath(os.path.join(runtime, sorted(n for n in os.listdir(runtime) if 'onnxruntime.so' in n)[-1]))
with zipfile.ZipFile(out + '/onnxruntime.whl', 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as wheel:
    wheel.write(library, 'onnxruntime/capi/' + os.path.basename(library))
    wheel.writestr('onnxruntime/__init__.py', '')
with tarfile.open(out + '/onnxruntime.tgz', 'w:gz', compresslevel=1) as archive:
    archive.add(library, 'onnxruntime-linux/lib/' + os.path.basename(library))
with open(out + '/broken.so', 'wb') as broken:
    broken.write(open(library, 'rb').read()[:100000])
print(library)
";
    let library = say(folder, pack, &[folder.join("venv").to_str().unwrap(), &root]);
    let computes = || host.json(&["engines"])["runtime"].clone();
    let refused = |args: &[&str], word: &str| {
        let output = host.command(args).output().unwrap();
        assert!(!output.status.success(), "{args:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(word), "{stderr}");
        assert_eq!(computes(), "tract", "nothing was changed");
    };
    refused(&["runtime", "install", &format!("{root}/broken.so")], "does not compute here");
    refused(&["runtime", "install", "/etc/hostname"], "libonnxruntime.so");
    refused(&["runtime", "install", &format!("{root}/onnxruntime.whl"), "--digest", &"0".repeat(64)], "--digest says");
    refused(&["runtime", "remove"], "no runtime is installed");
    for what in [format!("{root}/onnxruntime.whl"), format!("{root}/onnxruntime.tgz"), library.trim().to_owned()] {
        let installed = host.json(&["runtime", "install", &what]);
        assert!(installed["runtime_version"].as_str().unwrap().starts_with("1."), "{what}: {installed}");
        assert_eq!(computes(), "onnxruntime", "{what}");
    }
    host.run(&["runtime", "remove"], "");
    assert_eq!(computes(), "tract");
    assert!(
        std::fs::read_dir(&root).unwrap().all(|entry| !entry.unwrap().path().to_str().unwrap().contains(".staging"))
    );
}

#[test]
fn the_scripts_make_the_model_that_is_built_in() {
    let Some(folder) = python() else { return };
    for file in ["model.onnx", "model.toml", "tokenizer.json"] {
        let made = std::fs::read(folder.join("models/q4").join(file)).unwrap();
        assert!(made == std::fs::read(repository().join("lib/models/minilm-l6-q4").join(file)).unwrap(), "{file}");
    }
}

#[test]
fn a_graph_that_looks_at_its_batch_is_run_one_text_at_a_time() {
    let Some(folder) = python() else { return };
    let host = Host::new();
    let (model, runtime) = (folder.join("models/dynamic"), folder.join("venv/runtime"));
    let options = ["--model", model.to_str().unwrap(), "--runtime", runtime.to_str().unwrap()];
    let verified = host.json(&["model", "verify", options[1], "--runtime", options[3]]);
    assert_eq!((&verified["batching"], &verified["largest_difference_in_a_batch"]), (&"never".into(), &0.0.into()));
    let raw = |text: &str| host.run(&[&options[..], &["--no-cache", "--format", "raw"]].concat(), text);
    let (alone, together) = (raw("one two three\n"), raw("one two three\nfour five six\nERROR 0x00 rpool DEGRADED\n"));
    assert_eq!(alone, together[..alone.len()]);
}

#[test]
fn numpy_reads_what_is_written_for_it() {
    let Some(folder) = python() else { return };
    let host = Host::new();
    let path = host.0.path().join("v.npy");
    let file = std::fs::File::create(&path).unwrap();
    assert!(host.command(&["--format", "npy", "--text", "a", "--text", "b"]).stdout(file).status().unwrap().success());
    let code = "import numpy, sys; a = numpy.load(sys.argv[1]); print(a.shape, a.dtype, round(float(a[0] @ a[0]), 3))";
    assert_eq!(say(folder, code, &[path.to_str().unwrap()]), "(2, 384) float32 1.0\n");
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// OpenAI's own client, unchanged: its usual base64, plain numbers, its errors, and two requests on one connection.
#[test]
fn a_client_that_knows_openai_is_answered() {
    let Some(folder) = python() else { return };
    let host = Host::new();
    let mut child = host.command(&["serve", "--http", "0"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let _server = Server(child);
    let place = line.trim().rsplit(' ').next().unwrap();
    let code = r#"
import openai, sys
client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0)
a = client.embeddings.create(model="minilm-l6-q4", input=["Creating container 100", "x"])
b = client.embeddings.create(model="minilm-l6-q4", input="Creating container 100", encoding_format="float")
try:
    client.embeddings.create(model="other", input="x")
except openai.NotFoundError as error:
    print(error.code)
same = max(abs(p - q) for p, q in zip(a.data[0].embedding, b.data[0].embedding)) < 1e-7
print(len(a.data), len(a.data[1].embedding), same, a.usage.total_tokens, [m.id for m in client.models.list()])
"#;
    let said = say(folder, code, &[place]);
    assert_eq!(said, "model_not_found\n2 384 True 8 ['minilm-l6-q4']\n");
}
