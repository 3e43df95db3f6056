//! A service made from a seed, or the large one for measuring. See `op_dbus_tests::synth`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test program that speaks to its test")]

use op_dbus_tests::synth::service::{Options, Service};
use op_dbus_tests::synth::{Spec, walk};
use std::io::Write;
use std::process::ExitCode;

const USAGE: &str = "usage:
  op-dbus-synth --address ADDR --seed N [--name BUS.NAME] [--fault KIND[=ARG][@TARGET][:N]]... [--state FILE] [--pace MS]
  op-dbus-synth --address ADDR --walk OBJECTS [--object-manager] [--name BUS.NAME]
  op-dbus-synth --seed N --write-plugin DIR     writes DIR/PLUGIN and prints its path
It prints \"ready BUS.NAME\" when it can be called, and ends with the bus. ADDR is DBUS_SYSTEM_BUS_ADDRESS when absent.
OP_DBUS_FAULTS holds more faults, one a line.";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("op-dbus-synth: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut options =
        Options { address: std::env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_default(), ..Options::default() };
    let faults = std::env::var("OP_DBUS_FAULTS").unwrap_or_default();
    options.faults.extend(faults.lines().filter(|line| !line.is_empty()).map(str::to_owned));
    let (mut objects, mut has_manager, mut folder) = (None, false, None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--object-manager" {
            has_manager = true;
            continue;
        }
        let value = args.next().ok_or(USAGE)?;
        let number = || value.parse::<u64>().map_err(|error| format!("{arg} {value}: {error}"));
        match arg.as_str() {
            "--address" => options.address = value,
            "--seed" => options.seed = number()?,
            "--name" => options.name = Some(value),
            "--fault" => options.faults.push(value),
            "--state" => options.state = Some(value.into()),
            "--pace" => options.pace_ms = number()?,
            "--walk" => objects = Some(usize::try_from(number()?).map_err(|error| error.to_string())?),
            "--write-plugin" => folder = Some(value),
            _ => return Err(USAGE.into()),
        }
    }
    if let Some(folder) = folder {
        let written = Spec::from_seed(options.seed).write_plugin(folder.as_ref()).map_err(|error| error.to_string())?;
        println!("{}", written.display());
        return Ok(());
    }
    // Nobody may be listening any more when the bus started us.
    let ready = |name: &str| {
        let mut stdout = std::io::stdout();
        let _ = writeln!(stdout, "ready {name}").and_then(|()| stdout.flush());
    };
    if let Some(objects) = objects {
        let name = options.name.as_deref().unwrap_or(walk::SERVICE);
        return walk::serve(&options.address, name, objects, has_manager, ready).map_err(|error| error.to_string());
    }
    let mut service = Service::start(&options).map_err(|error| error.to_string())?;
    ready(service.name());
    service.run().map_err(|error| error.to_string())
}
