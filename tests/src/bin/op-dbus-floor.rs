//! Milliseconds that the large synthetic service and the bus need for a walk, whoever walks.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its number is its output")]

use op_dbus_tests::synth::walk::SERVICE;
use op_dbus_tests::synth::walk_floor::{What, measure};
use std::process::ExitCode;

const USAGE: &str =
    "usage: op-dbus-floor --address ADDR walk|managed|getall [--objects N] [--repeat N] [--name BUS.NAME]
It prints the median in milliseconds; the connection's own time is not in it.";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("op-dbus-floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let (mut address, mut name, mut word) = (String::new(), SERVICE.to_owned(), String::new());
    let (mut objects, mut repeat) = (2000, 1);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if !arg.starts_with("--") {
            word = arg;
            continue;
        }
        let value = args.next().ok_or(USAGE)?;
        let number = || value.parse::<usize>().map_err(|error| format!("{arg} {value}: {error}"));
        match arg.as_str() {
            "--address" => address = value,
            "--name" => name = value,
            "--objects" => objects = number()?,
            "--repeat" => repeat = number()?.max(1),
            _ => return Err(USAGE.into()),
        }
    }
    let what = match word.as_str() {
        "walk" => What::Walk,
        "managed" => What::Managed,
        "getall" => What::GetAll(objects),
        _ => return Err(USAGE.into()),
    };
    let mut measured = Vec::new();
    for _ in 0..repeat {
        measured.push(measure(&address, &name, what).map_err(|error| error.to_string())?);
    }
    measured.sort_by_key(|floor| floor.time);
    let floor = measured[measured.len() / 2];
    println!("{:.2}", floor.time.as_secs_f64() * 1000.0);
    eprintln!("{} calls, {} bytes", floor.calls, floor.bytes);
    Ok(())
}
