//! Tables for people: aligned columns, no frames. In a pipe nothing is cut; at a terminal the widest columns give way.

use std::borrow::Cow;
use std::io::IsTerminal as _;

use anstyle::Style;

use crate::style::{FAINT, paint};

/// A table that grows row by row.
#[derive(Debug, Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Debug)]
struct Column {
    title: Cow<'static, str>,
    right: bool,
    gives_way: bool,
}

/// Text and how it looks.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    text: String,
    style: Style,
}

impl<T: std::fmt::Display> From<T> for Cell {
    fn from(value: T) -> Self {
        Self { text: value.to_string(), style: Style::new() }
    }
}

/// A cell in a style.
pub fn styled(style: Style, value: impl std::fmt::Display) -> Cell {
    Cell { text: value.to_string(), style }
}

/// Columns stand this far apart.
const GAP: usize = 2;
/// A column that gives way keeps this much.
const LEAST: usize = 8;

impl Table {
    /// A column of text.
    #[must_use]
    pub fn left(mut self, title: impl Into<Cow<'static, str>>) -> Self {
        self.columns.push(Column { title: title.into(), right: false, gives_way: false });
        self
    }

    /// A column of figures.
    #[must_use]
    pub fn right(mut self, title: impl Into<Cow<'static, str>>) -> Self {
        self.columns.push(Column { title: title.into(), right: true, gives_way: false });
        self
    }

    /// A column of text that may be cut at a terminal that is too narrow.
    #[must_use]
    pub fn wide(mut self, title: impl Into<Cow<'static, str>>) -> Self {
        self.columns.push(Column { title: title.into(), right: false, gives_way: true });
        self
    }

    /// One more row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines, each with its end; columns in which nothing stands are left out.
    pub fn render(&self) -> String {
        self.render_in(terminal_width())
    }

    fn render_in(&self, terminal: Option<usize>) -> String {
        let filled = |n: usize| self.rows.iter().any(|row| row.get(n).is_some_and(|cell| !cell.text.is_empty()));
        let shown: Vec<usize> = (0..self.columns.len()).filter(|n| filled(*n)).collect();
        let widths = self.widths(&shown, terminal);
        let mut lines = String::new();
        let has_head = self.columns.iter().any(|column| !column.title.is_empty());
        if has_head && !self.rows.is_empty() {
            let titles: Vec<Cell> = self.columns.iter().map(|column| styled(FAINT, &column.title)).collect();
            self.line(&titles, &shown, &widths, &mut lines);
        }
        for row in &self.rows {
            self.line(row, &shown, &widths, &mut lines);
        }
        lines
    }

    fn widths(&self, shown: &[usize], terminal: Option<usize>) -> Vec<usize> {
        let width = |n: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(n)).map(|cell| chars(&cell.text));
            cells.chain([chars(&self.columns[n].title)]).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = shown.iter().map(|n| width(*n)).collect();
        let Some(terminal) = terminal else { return widths };
        loop {
            let all = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
            let over = all.saturating_sub(terminal);
            let widest = (0..shown.len())
                .filter(|at| self.columns[shown[*at]].gives_way && widths[*at] > LEAST)
                .max_by_key(|at| widths[*at]);
            match widest {
                Some(at) if over > 0 => widths[at] -= 1,
                _ => return widths,
            }
        }
    }

    fn line(&self, row: &[Cell], shown: &[usize], widths: &[usize], lines: &mut String) {
        let mut line = String::new();
        for (at, n) in shown.iter().enumerate() {
            let cell = row.get(*n).cloned().unwrap_or_default();
            let text = cut(&cell.text, widths[at]);
            let space = " ".repeat(widths[at] - chars(&text));
            let text = if cell.style == Style::new() || text.is_empty() { text } else { paint(cell.style, text) };
            let last = at + 1 == shown.len();
            match (self.columns[*n].right, last) {
                (true, _) => line.extend([space, text]),
                (false, true) => line.push_str(&text),
                (false, false) => line.extend([text, space]),
            }
            if !last {
                line.push_str(&" ".repeat(GAP));
            }
        }
        lines.push_str(line.trim_end());
        lines.push('\n');
    }
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

fn cut(text: &str, width: usize) -> String {
    if chars(text) <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// How wide the terminal is; `None` in a pipe.
fn terminal_width() -> Option<usize> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    #[cfg(unix)]
    if let Ok(size) = rustix::termios::tcgetwinsize(&stdout)
        && size.ws_col > 0
    {
        return Some(usize::from(size.ws_col));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_empty_ones_left_out_and_nothing_is_cut_in_a_pipe() {
        let mut table = Table::default().left("ID").right("SIZE").left("LABELS").wide("METRICS");
        table.row(["banking-v1".into(), "9 kB".into(), "".into(), "f1 0.95 accuracy 0.9523".into()]);
        table.row(["b".into(), "120 MB".into(), "".into(), "".into()]);
        let plain = |width| anstream::adapter::strip_str(&table.render_in(width)).to_string();
        let text = "\
ID            SIZE  METRICS
banking-v1    9 kB  f1 0.95 accuracy 0.9523
b           120 MB
";
        assert_eq!(plain(None), text);
        assert_eq!(plain(Some(32)).lines().nth(1), Some("banking-v1    9 kB  f1 0.95 acc…"));
    }
}
