//! `op-dbus VERB ...` is `op-VERB ...`.

use std::process::ExitCode;

fn main() -> ExitCode {
    op_dbus::cli::front::main(env!("CARGO_PKG_VERSION"))
}
