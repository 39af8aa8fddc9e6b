//! Lines of text with styles, and their width.

/// How a piece of text looks, where there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// What is read first.
    Strong,
    /// What is read last.
    Faint,
    /// As it should be.
    Good,
    /// Worth a look.
    Warning,
    /// Wrong.
    Bad,
}

impl Style {
    /// The numbers of ECMA-48's "select graphic rendition"; 0 is the terminal's own.
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Strong => "1",
            Self::Faint => "2",
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "1;31",
        }
    }
}

/// A line: pieces of text one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(Vec<(Style, String)>);

impl Line {
    /// Adds a piece. What would move the cursor or change colours is made harmless: reasons and
    /// keys come from the data.
    pub fn push(&mut self, style: Style, text: impl AsRef<str>) -> &mut Self {
        let text = text.as_ref();
        let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.0.push((style, clean));
        self
    }

    /// Adds a plain piece.
    pub fn text(&mut self, text: impl AsRef<str>) -> &mut Self {
        self.push(Style::Plain, text)
    }

    /// Adds spaces up to a column, and at least one if there is text already beyond it.
    pub fn column(&mut self, column: usize) -> &mut Self {
        let width = self.width();
        let gap = column.saturating_sub(width).max(usize::from(width > 0));
        self.push(Style::Plain, " ".repeat(gap))
    }

    /// Columns that it takes. All text of the view is in scripts of one column a character.
    pub fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// The line, cut to `width` columns; what was cut shows as an ellipsis.
    pub fn cut(&self, width: usize, unicode: bool) -> Self {
        if self.width() <= width {
            return self.clone();
        }
        let mark = if unicode { "…" } else { "..." };
        let mut left = width.saturating_sub(mark.chars().count());
        let mut line = Self::default();
        for (style, text) in &self.0 {
            let part: String = text.chars().take(left).collect();
            left -= part.chars().count();
            line.0.push((*style, part));
        }
        line.0.push((Style::Faint, mark.chars().take(width).collect()));
        line
    }

    /// The text without styles and without spaces at its end.
    pub fn plain(&self) -> String {
        let text: String = self.0.iter().map(|(_, text)| text.as_str()).collect();
        text.trim_end().to_owned()
    }

    /// The text with styles.
    pub fn coloured(&self) -> String {
        let mut out = String::new();
        for (style, text) in &self.0 {
            if text.is_empty() {
                continue;
            }
            if *style == Style::Plain {
                out += text;
            } else {
                out += &format!("\x1b[{}m{text}\x1b[0m", style.code());
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_a_width_and_control_characters_are_harmless() {
        let mut line = Line::default();
        line.push(Style::Bad, "abc\x1b[2J").text("déf").column(14).text("x").column(3).text("y");
        assert_eq!(line.plain(), "abc [2Jdéf    x y");
        assert_eq!(line.width(), 17);
        assert_eq!(line.cut(17, true).plain(), line.plain());
        assert_eq!(line.cut(6, true).plain(), "abc […");
        assert_eq!(line.cut(6, false).plain(), "abc...");
        for width in 0..20 {
            assert!(line.cut(width, true).width() <= width);
            assert!(line.cut(width, false).width() <= width);
        }
        assert_eq!(line.cut(3, true).coloured(), "\x1b[1;31mab\x1b[0m\x1b[2m…\x1b[0m");
    }
}
