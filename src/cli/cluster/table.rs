//! Columns as kubectl prints them, and colour where it helps.

use std::{fmt::Write as _, io::IsTerminal};

use clap::ValueEnum;

/// Least width of a column and blanks between two, as in kubectl's printer.
const LEAST: usize = 6;
const GAP: usize = 3;

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether to paint what goes to this stream.
    pub(super) fn paints(self, stream: &impl IsTerminal) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            // An empty NO_COLOR is none (no-color.org).
            Self::Auto => stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }
}

/// What a cell says beside its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tone {
    #[default]
    Plain,
    Good,
    Bad,
    Doubtful,
}

impl Tone {
    /// The words, painted.
    pub(super) fn paint(self, words: &str, paints: bool) -> String {
        let code = match self {
            Self::Good => "32",
            Self::Bad => "31",
            Self::Doubtful => "33",
            Self::Plain => return words.to_owned(),
        };
        if paints { format!("\u{1b}[{code}m{words}\u{1b}[0m") } else { words.to_owned() }
    }
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Cell {
    words: String,
    tone: Tone,
}

impl Cell {
    /// Words that may come from somebody else's container; nothing in them reaches the terminal as a command.
    pub(super) fn new(words: &str, tone: Tone) -> Self {
        let words = if words.is_empty() { "<none>" } else { words };
        Self { words: printable(words), tone }
    }
}

/// Without control characters.
pub(super) fn printable(words: &str) -> String {
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Widths that only grow, so that lines printed later stay below those before.
#[derive(Debug, Default)]
pub(super) struct Columns(Vec<usize>);

impl Columns {
    /// Lines for these rows; the last cell is not filled up.
    pub(super) fn lines(&mut self, rows: &[Vec<Cell>], paints: bool) -> String {
        for row in rows {
            self.0.resize(self.0.len().max(row.len()), LEAST - GAP);
            for (width, cell) in self.0.iter_mut().zip(row) {
                *width = (*width).max(cell.words.chars().count());
            }
        }
        let mut text = String::new();
        for row in rows {
            for (n, (width, cell)) in self.0.iter().zip(row).enumerate() {
                text.push_str(&cell.tone.paint(&cell.words, paints));
                if n + 1 < row.len() {
                    let blanks = width + GAP - cell.words.chars().count();
                    let _ = write!(text, "{:blanks$}", "");
                }
            }
            text.push('\n');
        }
        text
    }
}

/// An age as kubectl writes it (`duration.HumanDuration` of k8s.io/apimachinery).
pub(super) fn age(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    let two = |first: i64, unit: &str, second: i64, small: &str| {
        if second == 0 { format!("{first}{unit}") } else { format!("{first}{unit}{second}{small}") }
    };
    match () {
        () if seconds < -1 => "<invalid>".to_owned(),
        () if seconds < 0 => "0s".to_owned(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 192 => two(days, "d", hours % 24, "h"),
        () if days < 730 => format!("{days}d"),
        () if days < 2920 => two(days / 365, "y", days % 365, "d"),
        () => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// The table of `TestHumanDuration` in k8s.io/apimachinery, and what lies around it.
    #[rstest]
    #[case(-2, "<invalid>")]
    #[case(-1, "0s")]
    #[case(0, "0s")]
    #[case(119, "119s")]
    #[case(120, "2m")]
    #[case(121, "2m1s")]
    #[case(599, "9m59s")]
    #[case(600, "10m")]
    #[case(179 * 60 + 59, "179m")]
    #[case(3 * 3600, "3h")]
    #[case(7 * 3600 + 59 * 60, "7h59m")]
    #[case(8 * 3600, "8h")]
    #[case(47 * 3600, "47h")]
    #[case(48 * 3600, "2d")]
    #[case(49 * 3600, "2d1h")]
    #[case(8 * 86400, "8d")]
    #[case(729 * 86400, "729d")]
    #[case(730 * 86400, "2y")]
    #[case(800 * 86400, "2y70d")]
    #[case(8 * 365 * 86400, "8y")]
    fn ages(#[case] seconds: i64, #[case] expected: &str) {
        assert_eq!(age(seconds), expected);
    }

    #[test]
    fn later_lines_keep_the_columns() {
        let row = |words: [&str; 3]| words.map(|words| Cell::new(words, Tone::Plain)).to_vec();
        let mut columns = Columns::default();
        let first = columns.lines(&[row(["NAME", "A", "LAST"]), row(["storage", "", "x"])], false);
        assert_eq!(first, "NAME      A        LAST\nstorage   <none>   x\n");
        assert_eq!(columns.lines(&[row(["p", "b", "y"])], false), "p         b        y\n");
    }

    #[test]
    fn paint_has_no_width_and_text_cannot_paint() {
        let mut columns = Columns::default();
        let rows = [vec![Cell::new("Locked", Tone::Good), Cell::new("a\u{1b}[31mb", Tone::Plain)]];
        assert_eq!(columns.lines(&rows, true), "\u{1b}[32mLocked\u{1b}[0m   a [31mb\n");
        assert_eq!(columns.lines(&rows, false), "Locked   a [31mb\n");
    }
}
