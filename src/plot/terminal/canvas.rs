//! A grid of characters, each of 2 x 4 braille dots.

/// What a cell shows, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// A series, by its number.
    Series(usize),
    Band,
    Info,
    Warning,
    Critical,
    Frame,
}

impl Ink {
    /// The number of a "select graphic rendition" escape.
    fn code(self) -> &'static str {
        const SERIES: [&str; 6] = ["36", "33", "32", "35", "34", "37"];
        match self {
            Ink::Series(i) => SERIES[i % SERIES.len()],
            Ink::Band | Ink::Frame => "90",
            Ink::Info => "34",
            Ink::Warning => "1;33",
            Ink::Critical => "1;31",
        }
    }
}

/// Text in an ink, with escapes only if `colour`.
pub fn inked(text: &str, ink: Ink, colour: bool) -> String {
    if colour { format!("\x1b[{}m{text}\x1b[0m", ink.code()) } else { text.to_owned() }
}

#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    dots: u8,
    shade: bool,
    sign: Option<char>,
    ink: Option<Ink>,
}

/// Dots from the lower left.
#[derive(Debug)]
pub struct Canvas {
    columns: usize,
    rows: usize,
    cells: Vec<Cell>,
}

/// Bits of the eight dots of a braille character: [column][row from the top].
const BITS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

impl Canvas {
    /// An empty one of so many characters, at least 1 x 1.
    pub fn new(columns: usize, rows: usize) -> Self {
        let (columns, rows) = (columns.max(1), rows.max(1));
        Canvas { columns, rows, cells: vec![Cell::default(); columns * rows] }
    }

    /// Dots from left to right.
    pub fn wide(&self) -> usize {
        self.columns * 2
    }

    /// Dots from bottom to top.
    pub fn high(&self) -> usize {
        self.rows * 4
    }

    fn cell(&mut self, column: usize, row: usize) -> Option<&mut Cell> {
        if column >= self.columns {
            return None;
        }
        self.cells.get_mut(row * self.columns + column)
    }

    /// The dot at (x from the left, y from the bottom); outside the canvas none.
    pub fn dot(&mut self, x: usize, y: usize, ink: Ink) {
        let Some(from_top) = self.high().checked_sub(y + 1) else { return };
        let bit = BITS[x % 2][from_top % 4];
        if let Some(cell) = self.cell(x / 2, from_top / 4) {
            cell.dots |= bit;
            cell.ink = Some(ink);
        }
    }

    /// Dots from one to the other (Bresenham).
    pub fn line(&mut self, from: (usize, usize), to: (usize, usize), ink: Ink) {
        let signed = |(x, y): (usize, usize)| (x as i64, y as i64);
        let ((mut x, mut y), (x1, y1)) = (signed(from), signed(to));
        let (dx, dy) = ((x1 - x).abs(), -(y1 - y).abs());
        let (sx, sy) = ((x1 - x).signum(), (y1 - y).signum());
        let mut error = dx + dy;
        loop {
            if let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) {
                self.dot(x, y, ink);
            }
            if (x, y) == (x1, y1) {
                return;
            }
            let twice = 2 * error;
            if twice >= dy {
                error += dy;
                x += sx;
            }
            if twice <= dx {
                error += dx;
                y += sy;
            }
        }
    }

    /// Shades a column of characters between two heights in dots, both included.
    pub fn shade(&mut self, x: usize, low: usize, high: usize) {
        let top = self.high().saturating_sub(high + 1) / 4;
        let bottom = self.high().saturating_sub(low + 1) / 4;
        for row in top..=bottom {
            if let Some(cell) = self.cell(x / 2, row) {
                cell.shade = true;
            }
        }
    }

    /// Puts a character over the cell of a dot.
    pub fn sign(&mut self, x: usize, y: usize, sign: char, ink: Ink) {
        let Some(from_top) = self.high().checked_sub(y + 1) else { return };
        if let Some(cell) = self.cell(x / 2, from_top / 4) {
            cell.sign = Some(sign);
            cell.ink = Some(ink);
        }
    }

    /// The characters of a row, from the top; without spaces at its end.
    pub fn row(&self, row: usize, colour: bool) -> String {
        let start = row * self.columns;
        let cells = self.cells.get(start..start + self.columns).unwrap_or_default();
        let shown: Vec<(char, Option<Ink>)> = cells.iter().map(Cell::shown).collect();
        let used = shown.iter().rposition(|(c, _)| *c != ' ').map_or(0, |last| last + 1);
        let mut text = String::new();
        for run in shown[..used].chunk_by(|a, b| a.1 == b.1) {
            let characters: String = run.iter().map(|(c, _)| *c).collect();
            match run.first().and_then(|(_, ink)| *ink) {
                Some(ink) => text.push_str(&inked(&characters, ink, colour)),
                None => text.push_str(&characters),
            }
        }
        text
    }
}

impl Cell {
    fn shown(&self) -> (char, Option<Ink>) {
        if let Some(sign) = self.sign {
            return (sign, self.ink);
        }
        if self.dots != 0 {
            // 0x2800 to 0x28ff are all braille patterns.
            return (char::from_u32(0x2800 + u32::from(self.dots)).unwrap_or('*'), self.ink);
        }
        if self.shade { ('░', Some(Ink::Band)) } else { (' ', None) }
    }
}
