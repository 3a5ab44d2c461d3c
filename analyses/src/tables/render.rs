//! A table as text, Markdown, CSV and LaTeX.

use super::{Better, Cell, Column, Format, Table};
use std::fmt::Write as _;

const MISSING: &str = "-";

impl Table {
    /// For the terminal: columns as wide as their widest cell, numbers to the right, notes below.
    #[must_use]
    pub fn text(&self) -> String {
        let cells: Vec<Vec<String>> = self.rows.iter().map(|row| self.line(row)).collect();
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
        let header: Vec<String> = self.columns.iter().map(|c| c.name.clone()).collect();
        let rule: Vec<String> = widths.iter().map(|w| "-".repeat(*w)).collect();
        let mut text = if self.caption.is_empty() { String::new() } else { format!("{}\n", self.caption) };
        text.push_str(&line(&header));
        text.push_str(&line(&rule));
        text.extend(cells.iter().map(|row| line(row)));
        text.extend(self.notes.iter().map(|note| format!("  {note}\n")));
        text
    }

    /// Markdown, the best of a column bold.
    #[must_use]
    pub fn markdown(&self) -> String {
        let escape = |text: &str| text.replace('|', "\\|");
        let best = self.best();
        let mut text = if self.caption.is_empty() { String::new() } else { format!("{}\n\n", self.caption) };
        let mut line = |cells: Vec<String>| {
            // Writing into a String cannot fail.
            writeln!(text, "| {} |", cells.join(" | ")).ok();
        };
        line(self.columns.iter().map(|c| escape(&c.name)).collect());
        let right = |c: &Column| if c.format == Format::Words { "---" } else { "---:" }.to_owned();
        line(self.columns.iter().map(right).collect());
        for (r, row) in self.rows.iter().enumerate() {
            let bold = |c: usize, cell: String| if best[c] == Some(r) { format!("**{cell}**") } else { cell };
            line(self.line(row).iter().enumerate().map(|(c, cell)| bold(c, escape(cell))).collect());
        }
        if !self.notes.is_empty() {
            text.push('\n');
            text.extend(self.notes.iter().map(|note| format!("{note}\n")));
        }
        text
    }

    /// CSV with full numbers: a column whose cells are means has `<name> deviation` and `<name> n` beside it.
    #[must_use]
    pub fn csv(&self) -> String {
        let quote = |text: &str| {
            let plain = !text.contains([',', '"', '\n']);
            if plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
        };
        let means: Vec<bool> = (0..self.columns.len())
            .map(|c| self.rows.iter().any(|r| matches!(r.get(c), Some(Cell::Number { n, .. }) if *n > 1)))
            .collect();
        let mut header = Vec::new();
        for (column, mean) in self.columns.iter().zip(&means) {
            header.push(quote(&column.name));
            if *mean {
                header.extend([quote(&format!("{} deviation", column.name)), quote(&format!("{} n", column.name))]);
            }
        }
        let mut text = format!("{}\n", header.join(","));
        for row in &self.rows {
            let mut cells = Vec::new();
            for (cell, mean) in row.iter().zip(&means) {
                let (first, rest) = match cell {
                    Cell::Missing => (String::new(), [String::new(), String::new()]),
                    Cell::Text(words) => (quote(words), [String::new(), String::new()]),
                    Cell::Number { value, deviation, n, .. } => {
                        (value.to_string(), [deviation.map(|d| d.to_string()).unwrap_or_default(), n.to_string()])
                    }
                };
                cells.push(first);
                if *mean {
                    cells.extend(rest);
                }
            }
            text.push_str(&format!("{}\n", cells.join(",")));
        }
        text
    }

    /// LaTeX for the package booktabs, the best of a column bold, the notes as comments.
    #[must_use]
    pub fn latex(&self) -> String {
        let best = self.best();
        let alignment: String =
            self.columns.iter().map(|c| if c.format == Format::Words { 'l' } else { 'r' }).collect();
        let mut text: String = self.notes.iter().map(|note| format!("% {note}\n")).collect();
        text.push_str(&format!("\\begin{{tabular}}{{{alignment}}}\n\\toprule\n"));
        let mut line = |cells: Vec<String>| text.push_str(&format!("{} \\\\\n", cells.join(" & ")));
        line(self.columns.iter().map(|c| escape_latex(&c.name)).collect());
        let mut body = String::from("\\midrule\n");
        for (r, row) in self.rows.iter().enumerate() {
            let cell = |(c, cell): (usize, &String)| {
                let cell = escape_latex(cell).replace('\u{b1}', "$\\pm$");
                if best[c] == Some(r) { format!("\\textbf{{{cell}}}") } else { cell }
            };
            let cells: Vec<String> = self.line(row).iter().enumerate().map(cell).collect();
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
        Cell::Number { value, deviation: None, .. } => number(format, *value),
        Cell::Number { value, deviation: Some(deviation), .. } => {
            let spread = if matches!(format, Format::Signed(_)) { unsigned(format) } else { format };
            format!("{} \u{b1} {}", number(format, *value), number(spread, *deviation))
        }
    }
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

fn escape_latex(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', c]),
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            _ => escaped.push(c),
        }
    }
    escaped
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
        assert!(latex.contains("full & \\textbf{1.50 $\\pm$ 0.71} & 50.0 & 1,234 \\\\"), "{latex}");
        assert!(latex.contains("score\\_\\%") && latex.contains("{lrrr}") && latex.contains("\\bottomrule"), "{latex}");
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
}
