//! The block of lines at the bottom of the terminal, drawn over itself.

use std::io::{self, IsTerminal, Write};

use crossterm::cursor::{MoveToColumn, MoveUp};
use crossterm::queue;
use crossterm::terminal::{BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, size};

use super::line::Line;

/// Taken where the terminal does not tell its size.
const USUAL: (u16, u16) = (80, 24);

/// What the terminal can show.
#[derive(Clone, Copy, Debug)]
pub struct Abilities {
    /// There is one, and it understands how the cursor is moved.
    pub live: bool,
    /// Colours are wanted.
    pub colours: bool,
    /// Characters beyond ASCII are shown.
    pub unicode: bool,
}

impl Abilities {
    /// Of standard output and the environment (`TERM`, `NO_COLOR`, the locale).
    pub fn read() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        let dumb = set("TERM").is_none_or(|terminal| terminal == "dumb");
        let live = io::stdout().is_terminal() && !dumb;
        Self {
            live,
            colours: live && set("NO_COLOR").is_none(),
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
        }
    }
}

/// Draws blocks of lines, each over the one before. Neither the alternate screen nor the terminal's
/// modes are touched: whenever the process ends, the terminal is as it was.
#[derive(Debug)]
pub struct Screen {
    abilities: Abilities,
    /// Widths of the lines that are there.
    drawn: Vec<usize>,
}

impl Screen {
    /// A screen with nothing drawn.
    pub fn new(abilities: Abilities) -> Self {
        Self { abilities, drawn: Vec::new() }
    }

    /// Columns and rows that a block may have: the last column and the last row stay free, so that
    /// nothing wraps and nothing scrolls.
    pub fn room(&self) -> (usize, usize) {
        let (columns, rows) = size().ok().filter(|(c, r)| *c > 0 && *r > 0).unwrap_or(USUAL);
        (usize::from(columns).saturating_sub(1).max(1), usize::from(rows).saturating_sub(1).max(1))
    }

    /// Draws `lines`, made for [`room`](Self::room), over the last block.
    pub fn draw(&mut self, lines: &[Line]) {
        let (columns, rows) = self.room();
        let mut out = Vec::new();
        // Nothing can be done about a terminal that has gone; the demo goes on without it.
        let _ = self.compose(lines, columns, rows, &mut out);
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(&out).and_then(|()| stdout.flush());
    }

    fn compose(
        &mut self,
        lines: &[Line],
        columns: usize,
        rows: usize,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        queue!(out, BeginSynchronizedUpdate, MoveToColumn(0))?;
        let up = rows_of(&self.drawn, columns).min(rows);
        // The cursor stands below the block; a move of 0 would be one of 1.
        if up > 0 {
            queue!(out, MoveUp(u16::try_from(up).unwrap_or(u16::MAX)))?;
        }
        // Line by line: where a block begins at the top of the screen, terminals take the clearing
        // of all that is below for the clearing of the screen, and keep a copy in their history.
        self.drawn.clear();
        for line in lines.iter().take(rows) {
            let line = line.cut(columns, self.abilities.unicode);
            let text = if self.abilities.colours { line.coloured() } else { line.plain() };
            out.extend_from_slice(text.as_bytes());
            queue!(out, Clear(ClearType::UntilNewLine))?;
            out.extend_from_slice(b"\r\n");
            self.drawn.push(line.width());
        }
        let left = up.saturating_sub(self.drawn.len());
        for _ in 0..left {
            queue!(out, Clear(ClearType::UntilNewLine))?;
            out.extend_from_slice(b"\r\n");
        }
        // Also takes away the ^C that the terminal itself has written.
        queue!(out, Clear(ClearType::UntilNewLine))?;
        if left > 0 {
            queue!(out, MoveUp(u16::try_from(left).unwrap_or(u16::MAX)))?;
        }
        queue!(out, EndSynchronizedUpdate)
    }
}

/// Rows that lines of these widths take on a terminal that was made narrower since and has
/// wrapped them.
fn rows_of(widths: &[usize], columns: usize) -> usize {
    widths.iter().map(|width| width.div_ceil(columns + 1).max(1)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        let mut line = Line::default();
        line.text(text);
        line
    }

    fn screen() -> Screen {
        Screen::new(Abilities { live: true, colours: false, unicode: true })
    }

    fn composed(screen: &mut Screen, lines: &[Line], columns: usize, rows: usize) -> String {
        let mut out = Vec::new();
        screen.compose(lines, columns, rows, &mut out).expect("memory takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_block_is_drawn_over_the_one_before() {
        let mut screen = screen();
        let first = composed(&mut screen, &[line("one"), line("two")], 79, 23);
        let text = "one\x1b[K\r\ntwo\x1b[K\r\n";
        assert!(!first.contains("\x1b[2A") && first.contains(text), "{first:?}");
        let second = composed(&mut screen, &[line("three")], 79, 23);
        let cleared = "\x1b[2Athree\x1b[K\r\n\x1b[K\r\n\x1b[K\x1b[1A";
        assert!(second.contains(cleared), "what is left of the first goes: {second:?}");
        assert!(!second.contains("\x1b[J"), "{second:?}");
        assert!(composed(&mut screen, &[], 79, 23).contains("\x1b[1A"));
    }

    #[test]
    fn lines_that_wrapped_when_the_terminal_was_made_narrower_are_counted() {
        let mut screen = screen();
        composed(&mut screen, &[line(&"x".repeat(70)), line("y")], 79, 23);
        let narrower = composed(&mut screen, &[line("z")], 29, 23);
        assert!(narrower.contains("\x1b[4A"), "70 columns take 3 rows of 30: {narrower:?}");
        assert_eq!(rows_of(&[0, 30, 31, 60, 61], 29), 1 + 1 + 2 + 2 + 3);
    }

    #[test]
    fn a_block_never_leaves_the_screen() {
        let mut screen = screen();
        let lines: Vec<Line> = (0..50).map(|n| line(&format!("line {n}"))).collect();
        let text = composed(&mut screen, &lines, 20, 9);
        assert!(text.contains("line 8") && !text.contains("line 9"));
        assert!(composed(&mut screen, &lines, 20, 9).contains("\x1b[9A"));
        assert!(composed(&mut screen, &lines, 20, 4).contains("\x1b[4A"));
        let cut = composed(&mut screen, &[line(&"x".repeat(100))], 10, 4);
        assert!(cut.contains("xxxxxxxxx…\x1b[K"), "{cut:?}");
    }
}
