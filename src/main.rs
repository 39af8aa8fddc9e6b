//! The `millpond` program: parses the command line and hands over to [`millpond::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    millpond::cli::main()
}
