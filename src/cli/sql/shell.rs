//! The interactive shell.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum as _;
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor};

use super::super::OK;
use super::complete::SqlHelper;
use super::output::Format;
use super::plot::PlotArgs;
use super::run::{RunError, Runner, report};
use super::text;
use crate::lakesql::{LakeSqlError, StatementText, split};

/// The shell's own commands: name, what follows it, what it does.
pub(super) const COMMANDS: &[(&str, &str, &str)] = &[
    ("?", "", "this list"),
    ("q", "", "leave; so does Ctrl-D"),
    ("dt", "", "the tables: SHOW TABLES"),
    ("d", "TABLE", "a table's columns: DESCRIBE TABLE"),
    ("history", "TABLE", "a table's versions: DESCRIBE HISTORY TABLE"),
    ("timing", "[on|off]", "say how many rows there were and how long it took"),
    ("format", "NAME", "table, csv, json, ndjson, markdown"),
    ("rows", "N", "show N rows of a table at most; 0: all"),
    ("plot", "[FILE]", "draw the last query: here, or to a .svg or .png file"),
    ("o", "[FILE]", "write the next statement's rows to a file; without one, back to the screen"),
    ("i", "FILE", "run the statements of a file"),
];

const EDITING: &str = "\
Statements end with a semicolon and may go over several lines. Tab completes keywords, functions,
tables and columns; the arrow up and Ctrl-R bring earlier ones back. Ctrl-C stops the query that
runs, or clears what is typed.";

/// Reads statements until the end of input.
pub(super) fn run(runner: Runner) -> anyhow::Result<ExitCode> {
    let config = Config::builder()
        .history_ignore_space(true)
        .history_ignore_dups(true)?
        .completion_type(CompletionType::List)
        .build();
    let mut editor: Editor<SqlHelper, DefaultHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(SqlHelper::new(runner.session.clone())));
    let history = history_file();
    if let Some(file) = &history {
        // There is none before the first time.
        let _ = editor.load_history(file);
    }
    let tables = runner.session.catalog().tables().len();
    println!(
        "millpond {}: {} known by name, \\? for help",
        env!("CARGO_PKG_VERSION"),
        if tables == 1 { "1 table".to_owned() } else { format!("{tables} tables") }
    );
    let mut shell = Shell { runner, last: None };
    loop {
        match editor.readline("millpond> ") {
            Ok(input) => {
                if input.trim().is_empty() {
                    continue;
                }
                // Without a history the shell works as well.
                let _ = editor.add_history_entry(input.trim());
                let goes_on = shell.input(&input);
                if let Some(helper) = editor.helper() {
                    helper.refresh();
                }
                if !goes_on {
                    break;
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        }
        if let Some(file) = &history {
            save(&mut editor, file);
        }
    }
    if let Some(file) = &history {
        save(&mut editor, file);
    }
    Ok(ExitCode::from(OK))
}

/// `MILLPOND_HISTORY`, or else where programs keep such things; nowhere if that is empty.
fn history_file() -> Option<PathBuf> {
    if let Some(file) = std::env::var_os("MILLPOND_HISTORY") {
        return (!file.is_empty()).then(|| PathBuf::from(file));
    }
    let state = std::env::var_os("XDG_STATE_HOME").filter(|dir| !dir.is_empty());
    let state = match state {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".local/state"),
    };
    Some(state.join("millpond").join("sql_history"))
}

/// A history that cannot be kept is no reason to stop.
fn save(editor: &mut Editor<SqlHelper, DefaultHistory>, file: &std::path::Path) {
    if let Some(directory) = file.parent() {
        let _ = std::fs::create_dir_all(directory);
    }
    let _ = editor.save_history(file);
}

struct Shell {
    runner: Runner,
    /// The last query, for `\plot`.
    last: Option<(StatementText, String)>,
}

impl Shell {
    /// Does what was typed; whether the shell goes on.
    fn input(&mut self, input: &str) -> bool {
        match input.trim().strip_prefix('\\') {
            Some(command) => self.command(command.trim_end_matches(';').trim()),
            None => {
                self.statements(input);
                true
            }
        }
    }

    fn statements(&mut self, text: &str) {
        let statements = match split(text) {
            Ok(statements) => statements,
            Err(error) => return text::print_error(&LakeSqlError::Sql(error), text),
        };
        for statement in statements {
            self.last = Some((statement.clone(), text.to_owned()));
            if let Err(error) = self.runner.run(statement, true) {
                say(&error, text);
                return;
            }
        }
    }

    fn command(&mut self, command: &str) -> bool {
        let (name, argument) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let argument = argument.trim();
        match (name, argument) {
            ("q" | "quit" | "exit", _) => return false,
            ("?" | "h" | "help", _) => help(),
            ("dt", _) => self.statements("SHOW TABLES"),
            ("d", "") => self.statements("SHOW TABLES"),
            ("d", table) => self.statements(&format!("DESCRIBE {table}")),
            ("history", table) if !table.is_empty() => {
                self.statements(&format!("DESCRIBE HISTORY {table}"));
            }
            ("timing", "") => self.timing(self.runner.settings.quiet),
            ("timing", "on") => self.timing(true),
            ("timing", "off") => self.timing(false),
            ("format", name) => match Format::from_str(name, true) {
                Ok(Format::Parquet) => {
                    eprintln!(
                        "error: the screen cannot show Parquet; \\o FILE first, or write \
                               millpond sql --format parquet --output FILE"
                    );
                }
                Ok(format) => self.runner.settings.format = format,
                Err(_) => eprintln!(
                    "error: there is no format '{name}'; expected table, csv, json, ndjson or \
                     markdown"
                ),
            },
            ("rows", count) => match count.parse() {
                Ok(count) => self.runner.settings.max_rows = count,
                Err(_) => eprintln!("error: '{count}' is no number of rows"),
            },
            ("plot", file) => self.plot(file),
            ("o", "") => self.runner.settings.output = None,
            ("o", file) => self.runner.settings.output = Some(PathBuf::from(file)),
            ("i", file) if !file.is_empty() => match std::fs::read_to_string(file) {
                Ok(text) => self.statements(&text),
                Err(error) => eprintln!("error: cannot read {file}: {error}"),
            },
            _ => {
                let names = COMMANDS.iter().map(|(name, ..)| *name);
                match crate::sql::nearest(name, names) {
                    Some(near) => eprintln!("error: no such command; did you mean \\{near}?"),
                    None => eprintln!("error: no such command; \\? lists them"),
                }
            }
        }
        true
    }

    fn timing(&mut self, on: bool) {
        self.runner.settings.quiet = !on;
        println!("timing is {}", if on { "on" } else { "off" });
    }

    fn plot(&mut self, file: &str) {
        let Some((statement, text)) = self.last.clone() else {
            eprintln!("error: there is no query yet to draw");
            return;
        };
        let plot = PlotArgs { plot: Some(file.to_owned()), ..PlotArgs::default() };
        let before = std::mem::replace(&mut self.runner.settings.plot, plot);
        if let Err(error) = self.runner.run(statement, true) {
            say(&error, &text);
        }
        self.runner.settings.plot = before;
    }
}

fn say(error: &RunError, text: &str) {
    report(error, text);
}

fn help() {
    let width = COMMANDS.iter().map(|(name, argument, _)| name.len() + argument.len()).max();
    let width = width.unwrap_or(0) + 2;
    for (name, argument, what) in COMMANDS {
        let left = format!("\\{name} {argument}");
        println!("  {left:<width$}  {what}");
    }
    println!("\n{EDITING}");
}
