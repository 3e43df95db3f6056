//! What docs/AUTO-PLUGIN-INTEGRATION.md types is typed here, in order, on the real service: a reader must be able to do the
//! same.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::root::RealRoot;
use std::path::Path;

/// The commands of a page, in order.
fn commands(page: &str) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let text = std::fs::read_to_string(file).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    let lines: Vec<String> = blocks.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.into_iter().filter(|line| !line.trim().is_empty()).collect()
}

#[test]
fn every_command_of_the_page_works() {
    let session = RealRoot::get().session();
    let mut seen = Vec::new();
    let mut environment = String::new();
    for command in commands("AUTO-PLUGIN-INTEGRATION.md") {
        if command.starts_with("export ") {
            environment.push_str(&format!("{command}; "));
            continue;
        }
        // Nobody answers here: where the page leads to the question, the answer is yes.
        let asks = command.contains("op-apply") && !command.contains("--dry-run");
        let typed = if asks { format!("{command} --yes") } else { command.clone() };
        let output = session.sh(&format!("set -o pipefail; cd /root; {environment}{typed}"));
        assert_eq!(output.code, 0, "{command}\n{}\n{}", output.stdout, output.stderr);
        seen.push((command, output.stdout));
    }
    assert!(seen.len() > 20, "the page types {} commands only: were its blocks renamed?", seen.len());
    let said = |start: &str| {
        let found: Vec<&String> = seen.iter().filter(|(c, _)| c.starts_with(start)).map(|(_, out)| out).collect();
        assert!(!found.is_empty(), "the page does not type {start}");
        found
    };
    // What the page says about its commands.
    assert!(said("op-discover org.freedesktop.Accounts")[0].contains("CreateUser"));
    let queries = said("op-query --plugin users");
    assert!(queries[0].contains("observed") && !queries[0].contains("\"users\":{}"), "{}", queries[0]);
    assert!(queries[1].contains("\"users\":{}"), "{}", queries[1]);
    assert!(said("getent")[0].contains(":Ada L.:/home/ada:/bin/sh"));
    assert!(said("op-query --plugin users | op-apply")[0].contains("\"unchanged\""));
    let learned = said("op-install map --learn");
    assert!(learned[0].contains("[state_mapping.location]") && learned[1].contains("remove_service"), "{learned:?}");
    assert!(session.run(&["getent", "passwd", "ada"], "").stdout.is_empty());
}
