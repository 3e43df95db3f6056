//! Every service of a booted machine: made a plugin, queried, mapped or not. The table is `docs/SERVICES-OF-A-MACHINE.md`;
//! with `OP_DBUS_BLESS=1` it is written, otherwise a service that does no longer do what it says fails.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::machine::{Machine, MachineOptions};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

struct Row {
    generated: String,
    queryable: String,
    mapped: String,
}

fn why(stderr: &str) -> String {
    let line = stderr.lines().find(|line| line.starts_with('{')).unwrap_or_default();
    let error: Value = serde_json::from_str(line).unwrap_or_default();
    let message = error["error"]["message"].as_str().unwrap_or("no reason given");
    // A message may name what is different each time.
    let message: String = message.split(" (").next().unwrap_or(message).chars().take(110).collect();
    format!("no: {}", message.replace('|', "/"))
}

#[test]
fn every_service_of_a_booted_machine() {
    let machine = Machine::boot(&MachineOptions::default());
    let inventory = machine.run(&["op-discover"], "").json();
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for (number, service) in inventory["services"].as_array().unwrap().iter().enumerate() {
        let name = service["name"].as_str().unwrap();
        let plugin = format!("service-{number}");
        let created = machine.run(&["op-install", "create", &plugin, "--from-dbus", name], "");
        let generated = if created.code == 0 { "yes".to_owned() } else { why(&created.stderr) };
        let queried = machine.run(&["op-query", "--plugin", if created.code == 0 { &plugin } else { name }], "");
        let queryable = match queried.code {
            0 => "yes".to_owned(),
            3 if queried.stdout.contains("observed") => {
                format!("in part, {}", why(&queried.stderr).trim_start_matches("no: "))
            }
            _ => why(&queried.stderr),
        };
        let mapped = service["plugins"].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
        let mapped = if mapped.is_empty() { "no".to_owned() } else { mapped.join(", ") };
        rows.insert(name.to_owned(), Row { generated, queryable, mapped });
    }
    let mut table = String::from("| service | generated | queryable | mapping |\n|---|---|---|---|\n");
    for (name, row) in &rows {
        let _ = writeln!(table, "| `{name}` | {} | {} | {} |", row.generated, row.queryable, row.mapped);
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/SERVICES-OF-A-MACHINE.md");
    let shown = fs::read_to_string(&file).unwrap();
    let (before, rest) = shown.split_once("<!-- table -->\n").unwrap();
    let (old, after) = rest.split_once("<!-- end of table -->").unwrap();
    if std::env::var_os("OP_DBUS_BLESS").is_some() {
        fs::write(&file, format!("{before}<!-- table -->\n{table}<!-- end of table -->{after}")).unwrap();
        return;
    }
    assert!(old == table, "docs/SERVICES-OF-A-MACHINE.md says otherwise; OP_DBUS_BLESS=1 writes it:\n{table}");
}
