//! A table as text, Markdown, CSV and LaTeX.

use super::escape::{self, one_line};
use super::{Better, Cell, Column, Format, Table};
use crate::csv;
use std::fmt::Write as _;

const MISSING: &str = "-";

impl Table {
    /// For the terminal: columns as wide as their widest cell, numbers to the right, notes below.
    #[must_use]
    pub fn text(&self) -> String {
        let cells: Vec<Vec<String>> =
            self.rows.iter().map(|row| self.line(row).iter().map(|cell| one_line(cell)).collect()).collect();
        let width = |c: usize| cells.iter().filter_map(|r| r.get(c)).map(|t| t.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> =
            self.columns.iter().enumerate().map(|(c, column)| width(c).max(column.name.chars().count())).collect();
        let line = |cells: &[String]| {
            let mut text = String::from(" ");
            for ((column, width), cell) in self.columns.iter().zip(&widths).zip(cells) {
                let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
                let (before, after) =
                    if column.format == Format::Words { ("", pad) } else { (pad.as_str(), String::new()) };
                text.extend([" ", before, cell, &after, " "]);
            }
            format!("{}\n", text.trim_end())
        };
        let header: Vec<String> = self.columns.iter().map(|c| one_line(&c.name)).collect();
        let rule: Vec<String> = widths.iter().map(|w| "-".repeat(*w)).collect();
        let mut text = if self.caption.is_empty() { String::new() } else { format!("{}\n", one_line(&self.caption)) };
        text.push_str(&line(&header));
        text.push_str(&line(&rule));
        text.extend(cells.iter().map(|row| line(row)));
        text.extend(self.notes.iter().map(|note| format!("  {}\n", one_line(note))));
        text
    }

    /// Markdown, the best of a column bold.
    #[must_use]
    pub fn markdown(&self) -> String {
        let best = self.best();
        let mut text = if self.caption.is_empty() { String::new() } else { format!("{}\n\n", one_line(&self.caption)) };
        let mut line = |cells: Vec<String>| {
            // Writing into a String cannot fail.
            writeln!(text, "| {} |", cells.join(" | ")).ok();
        };
        line(self.columns.iter().map(|c| escape::markdown(&c.name)).collect());
        let right = |c: &Column| if c.format == Format::Words { "---" } else { "---:" }.to_owned();
        line(self.columns.iter().map(right).collect());
        for (r, row) in self.rows.iter().enumerate() {
            let bold = |c: usize, cell: String| if best[c] == Some(r) { format!("**{cell}**") } else { cell };
            line(self.line(row).iter().enumerate().map(|(c, cell)| bold(c, escape::markdown(cell))).collect());
        }
        if !self.notes.is_empty() {
            text.push('\n');
            text.extend(self.notes.iter().map(|note| format!("{}\n", one_line(note))));
        }
        text
    }

    /// CSV with full numbers: a column whose cells are means has `<name> deviation` and `<name> n` beside it.
    #[must_use]
    pub fn csv(&self) -> String {
        let means: Vec<bool> = (0..self.columns.len())
            .map(|c| self.rows.iter().any(|r| matches!(r.get(c), Some(Cell::Number { n, .. }) if *n > 1)))
            .collect();
        let left: Vec<bool> = (0..self.columns.len())
            .map(|c| {
                let some = |cell: &Cell| matches!(cell, Cell::Number { not_finite, .. } if not_finite.total() > 0);
                self.rows.iter().any(|r| r.get(c).is_some_and(some))
            })
            .collect();
        let mut header = Vec::new();
        for ((column, mean), left) in self.columns.iter().zip(&means).zip(&left) {
            header.push(csv::cell(&column.name).into_owned());
            if *mean {
                header.extend([
                    csv::cell(&format!("{} deviation", column.name)).into_owned(),
                    csv::cell(&format!("{} n", column.name)).into_owned(),
                ]);
            }
            if *left {
                header.push(csv::cell(&format!("{} not finite", column.name)).into_owned());
            }
        }
        let mut text = format!("{}\n", header.join(","));
        for row in &self.rows {
            let mut cells = Vec::new();
            for ((cell, mean), left) in row.iter().zip(&means).zip(&left) {
                let none = || [String::new(), String::new(), String::new()];
                let (first, [deviation, n, bad]) = match cell {
                    Cell::Missing => (String::new(), none()),
                    Cell::Text(words) => (csv::cell(words).into_owned(), none()),
                    Cell::Number { value, deviation, n, not_finite, .. } => {
                        let deviation = deviation.map(|d| d.to_string()).unwrap_or_default();
                        (value.to_string(), [deviation, n.to_string(), not_finite.total().to_string()])
                    }
                };
                cells.push(first);
                if *mean {
                    cells.extend([deviation, n]);
                }
                if *left {
                    cells.push(bad);
                }
            }
            text.push_str(&format!("{}\n", cells.join(",")));
        }
        text
    }

    /// LaTeX for the package booktabs, numbers in mathematics, the best of a column bold, the notes as comments.
    #[must_use]
    pub fn latex(&self) -> String {
        let best = self.best();
        let alignment: String =
            self.columns.iter().map(|c| if c.format == Format::Words { 'l' } else { 'r' }).collect();
        let mut text: String = self.notes.iter().map(|note| format!("% {}\n", one_line(note))).collect();
        text.push_str(&format!("\\begin{{tabular}}{{{alignment}}}\n\\toprule\n"));
        let mut line = |cells: Vec<String>| text.push_str(&format!("{} \\\\\n", cells.join(" & ")));
        line(self.columns.iter().map(|c| escape::latex(&c.name)).collect());
        let mut body = String::from("\\midrule\n");
        for (r, row) in self.rows.iter().enumerate() {
            let of = |(c, (column, cell)): (usize, (&Column, &Cell))| latex(column.format, cell, best[c] == Some(r));
            let cells: Vec<String> = self.columns.iter().zip(row).enumerate().map(of).collect();
            body.push_str(&format!("{} \\\\\n", cells.join(" & ")));
        }
        text.push_str(&body);
        text.push_str("\\bottomrule\n\\end{tabular}\n");
        text
    }

    fn line(&self, row: &[Cell]) -> Vec<String> {
        self.columns.iter().zip(row).map(|(column, cell)| written(column.format, cell)).collect()
    }

    /// Row of each column's best cell; none where two share it or only one competes.
    fn best(&self) -> Vec<Option<usize>> {
        let of = |(c, column): (usize, &Column)| {
            let better = column.better?;
            let sign = if better == Better::Lower { -1.0 } else { 1.0 };
            let candidates = self.rows.iter().enumerate().filter_map(|(r, row)| match row.get(c) {
                Some(Cell::Number { value, ranked: true, .. }) if value.is_finite() => Some((r, sign * value)),
                _ => None,
            });
            let candidates: Vec<(usize, f64)> = candidates.collect();
            let top = candidates.iter().map(|(_, v)| *v).fold(f64::NEG_INFINITY, f64::max);
            let mut tops = candidates.iter().filter(|(_, v)| *v == top);
            match (tops.next(), tops.next()) {
                (Some((row, _)), None) if candidates.len() > 1 => Some(*row),
                _ => None,
            }
        };
        self.columns.iter().enumerate().map(of).collect()
    }
}

fn written(format: Format, cell: &Cell) -> String {
    match cell {
        Cell::Missing => MISSING.to_owned(),
        Cell::Text(words) => words.clone(),
        Cell::Number { value, n: 0, not_finite, .. } if not_finite.total() > 1 => {
            format!("{} ({} runs)", number(format, *value), not_finite.total())
        }
        Cell::Number { value, not_finite, .. } if !value.is_finite() || not_finite.total() == 0 => {
            spread(format, cell, number(format, *value))
        }
        Cell::Number { value, not_finite, .. } => {
            format!("{} ({})", spread(format, cell, number(format, *value)), not_finite.kinds())
        }
    }
}

/// The number with its deviation, where it has one.
fn spread(format: Format, cell: &Cell, value: String) -> String {
    let Cell::Number { deviation: Some(deviation), .. } = cell else { return value };
    let of = if matches!(format, Format::Signed(_)) { unsigned(format) } else { format };
    format!("{value} \u{b1} {}", number(of, *deviation))
}

fn unsigned(format: Format) -> Format {
    match format {
        Format::Signed(digits) => Format::Fixed(digits),
        other => other,
    }
}

fn number(format: Format, value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    match format {
        Format::Words => value.to_string(),
        Format::Fixed(digits) => format!("{value:.digits$}"),
        Format::Signed(digits) => format!("{value:+.digits$}"),
        Format::Scientific(digits) => format!("{value:.digits$e}"),
        Format::Percent(digits) => format!("{:.digits$}", 100.0 * value),
        Format::Mebibytes => format!("{:.0}", value / f64::from(1 << 20)),
        Format::Count => thousands(value),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value < 0.0 { "-" } else { "" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A cell of LaTeX: a number stands in mathematics, where its minus is one.
fn latex(format: Format, cell: &Cell, bold: bool) -> String {
    let text = written(format, cell);
    match cell {
        Cell::Missing => "--".to_owned(),
        Cell::Number { value, .. } if value.is_finite() => {
            let text = text.replace('\u{b1}', "\\pm").replace(',', "{,}");
            let set = |part: &str| match part.split_once('e') {
                Some((mantissa, exponent)) => format!("{mantissa} \\times 10^{{{exponent}}}"),
                None => part.to_owned(),
            };
            let text = text.split(' ').map(set).collect::<Vec<_>>().join(" ");
            if bold { format!("$\\mathbf{{{text}}}$") } else { format!("${text}$") }
        }
        _ => escape::latex(&text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            caption: "Methods".into(),
            columns: vec![
                Column::words("method"),
                Column::new("loss", Format::Fixed(2)).better(Better::Lower),
                Column::new("score_%", Format::Percent(1)).better(Better::Higher),
                Column::new("trained", Format::Count),
            ],
            rows: vec![
                vec![Cell::Text("chance".into()), Cell::Missing, Cell::number(0.9).unranked(), Cell::Missing],
                vec![Cell::Text("full".into()), Cell::mean(&[1.0, 2.0]), Cell::number(0.5), Cell::number(1234.0)],
                vec![Cell::Text("a|b".into()), Cell::number(3.0), Cell::number(0.7), Cell::number(0.0)],
            ],
            notes: vec!["n = 2".into()],
        }
    }

    #[test]
    fn text_sets_numbers_right() {
        let lines: Vec<String> = table().text().lines().map(str::to_owned).collect();
        assert_eq!(lines[1], "  method         loss  score_%  trained");
        assert_eq!(lines[3], "  chance            -     90.0        -");
        assert_eq!(lines[4], "  full    1.50 \u{b1} 0.71     50.0    1,234");
        assert_eq!(lines[6], "  n = 2");
    }

    #[test]
    fn the_best_of_those_that_compete_is_bold() {
        let text = table().markdown();
        assert!(text.contains("| full | **1.50 \u{b1} 0.71** | 50.0 | 1,234 |"), "{text}");
        assert!(
            text.contains("| a\\|b | 3.00 | **70.0** | 0 |") && text.contains("| chance | - | 90.0 | - |"),
            "{text}"
        );
        let latex = table().latex();
        assert!(latex.contains("full & $\\mathbf{1.50 \\pm 0.71}$ & $50.0$ & $1{,}234$ \\\\"), "{latex}");
        assert!(latex.contains("score\\_\\%") && latex.contains("{lrrr}") && latex.contains("\\bottomrule"), "{latex}");
    }

    #[test]
    fn latex_sets_numbers_in_mathematics() {
        let set = |format, value: f64| latex(format, &Cell::number(value), false);
        assert_eq!(set(Format::Signed(3), -0.007), "$-0.007$");
        assert_eq!(set(Format::Scientific(1), 1.2e-5), "$1.2 \\times 10^{-5}$");
        assert_eq!(set(Format::Count, -1234.0), "$-1{,}234$");
        assert_eq!(set(Format::Fixed(1), f64::NAN), "NaN");
        assert_eq!(latex(Format::Fixed(1), &Cell::Missing, false), "--");
    }

    #[test]
    fn csv_keeps_every_digit() {
        let text = table().csv();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "method,loss,loss deviation,loss n,score_%,trained");
        assert_eq!(lines[1], "chance,,,,0.9,");
        assert_eq!(lines[2], "full,1.5,0.7071067811865476,2,0.5,1234");
        assert_eq!(lines[3], "a|b,3,,1,0.7,0");
    }
    #[test]
    fn numbers_that_are_not_finite_are_shown_and_counted() {
        let nan = f64::NAN;
        let mut table = table();
        table.rows = vec![
            vec![Cell::Text("a".into()), Cell::mean(&[1.0, nan, 2.0]), Cell::number(nan), Cell::Missing],
            vec![Cell::Text("b".into()), Cell::mean(&[nan, nan]), Cell::number(f64::INFINITY), Cell::Missing],
            vec![Cell::Text("c".into()), Cell::number(3.0), Cell::number(0.5), Cell::Missing],
            vec![Cell::Text("d".into()), Cell::number(4.0), Cell::number(0.6), Cell::Missing],
        ];
        let text = table.markdown();
        assert!(text.contains("| a | 1.50 \u{b1} 0.71 (1 NaN) | NaN | - |"), "{text}");
        assert!(text.contains("| b | NaN (2 runs) | inf | - |"), "{text}");
        // A mean that leaves something out does not compete for the best.
        assert!(text.contains("| c | **3.00** | 50.0 | - |") && text.contains("| d | 4.00 | **60.0** |"), "{text}");
        let csv = table.csv();
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines[0], "method,loss,loss deviation,loss n,loss not finite,score_%,score_% not finite,trained");
        assert_eq!(lines[1], "a,1.5,0.7071067811865476,2,1,NaN,1,");
        assert_eq!(lines[2], "b,NaN,,0,2,inf,1,");
    }

    #[test]
    fn names_with_line_breaks_and_marks_leave_tables_whole() {
        let mut table = table();
        table.rows[1][0] = Cell::Text("new\nline | \\".into());
        assert!(table.markdown().lines().filter(|l| l.starts_with('|')).count() == 5);
        assert!(table.markdown().contains(r"| new line \| \\ | **1.50"), "{}", table.markdown());
        assert!(table.latex().contains(r"new line \textbar{} \textbackslash{} & "), "{}", table.latex());
        assert_eq!(table.text().lines().count(), 7);
        assert!(table.csv().contains("\"new\nline | \\\",1.5,"), "{}", table.csv());
    }
}
