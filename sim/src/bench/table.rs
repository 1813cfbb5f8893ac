//! Tables of text, on a terminal and on a page.

use std::fmt;
use std::fmt::Write as _;

/// No column of a terminal is narrower.
const NARROW: usize = 8;

/// A table: every row has a cell under each head.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Table {
    /// How many columns, the first ones, hold words; numbers are in the others.
    words: usize,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { words: 0, head: head.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// The same, with words in its first columns.
    pub(super) const fn with_words(mut self, columns: usize) -> Self {
        self.words = columns;
        self
    }

    pub(super) fn row(&mut self, row: Vec<String>) {
        assert_eq!(row.len(), self.head.len(), "a cell under each head");
        self.rows.push(row);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The line of heads, for a table whose rows come one by one.
    pub(super) fn head(&self) -> String {
        self.line(&self.head, &self.width_of_heads())
    }

    /// Its newest row.
    pub(super) fn last(&self) -> String {
        self.rows.last().map_or_else(String::new, |row| self.line(row, &self.width_of_heads()))
    }

    fn width_of_heads(&self) -> Vec<usize> {
        self.head.iter().map(|head| head.chars().count().max(NARROW)).collect()
    }

    /// Words begin at the left, numbers end at the right.
    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            let _ = match at < self.words {
                true => write!(line, "  {cell:<width$}"),
                false => write!(line, "  {cell:>width$}"),
            };
        }
        line.truncate(line.trim_end().len());
        line + "\n"
    }

    /// The same in HTML.
    pub(super) fn html(&self) -> String {
        let mut html = String::from("<table>\n<tr>");
        for head in &self.head {
            let _ = write!(html, "<th>{}</th>", escaped(head));
        }
        html.push_str("</tr>\n");
        for row in &self.rows {
            html.push_str("<tr>");
            for (at, cell) in row.iter().enumerate() {
                let class = if at < self.words { " class=\"words\"" } else { "" };
                let _ = write!(html, "<td{class}>{}</td>", escaped(cell));
            }
            html.push_str("</tr>\n");
        }
        html + "</table>\n"
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |at: usize| {
            let cells = self.rows.iter().map(|row| &row[at]).chain(self.head.get(at));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        f.write_str(&self.line(&self.head, &widths))?;
        self.rows.iter().try_for_each(|row| f.write_str(&self.line(row, &widths)))
    }
}

/// A number, or a dash where there is none.
pub(super) fn number(number: Option<f64>, digits: usize) -> String {
    number.map_or_else(|| "-".into(), |number| format!("{number:.digits$}"))
}

/// Text as it is written in HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_at_the_left_and_numbers_at_the_right() {
        let mut table = Table::new(["what", "ms"]).with_words(1);
        table.row(vec!["a<b".into(), number(Some(1.25), 1)]);
        table.row(vec!["longer".into(), number(None, 1)]);
        assert_eq!(table.to_string(), "  what     ms\n  a<b     1.2\n  longer    -\n");
        assert!(table.html().contains("<td class=\"words\">a&lt;b</td><td>1.2</td>"));
        assert_eq!(table.last(), format!("  {:<8}  {:>8}\n", "longer", "-"));
    }
}
