//! Words in tables: one function a format.

/// Words on one line: line breaks and other control characters become spaces, and several of them one.
#[must_use]
pub fn one_line(text: &str) -> String {
    if !text.contains(breaks) {
        return text.to_owned();
    }
    text.split(breaks).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Control characters, and the line and paragraph separators of Unicode.
fn breaks(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// For a cell of a Markdown table: nothing in it ends the cell, begins another, or is set as anything but itself.
pub(super) fn markdown(text: &str) -> String {
    let text = one_line(text);
    let mut escaped = String::with_capacity(text.len());
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        // An underscore inside a word is one; at its edge it would slant what follows.
        let edge = !before.is_alphanumeric() || !rest.peek().is_some_and(|next| next.is_alphanumeric());
        if matches!(c, '\\' | '|' | '`' | '*' | '<' | '>' | '&' | '[' | ']' | '~' | '$') || c == '_' && edge {
            escaped.push('\\');
        }
        escaped.push(c);
        before = c;
    }
    escaped
}

/// For a cell of a LaTeX tabular, in any font encoding.
pub(super) fn latex(text: &str) -> String {
    let text = one_line(text);
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', c]),
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '<' => escaped.push_str("\\textless{}"),
            '>' => escaped.push_str("\\textgreater{}"),
            '|' => escaped.push_str("\\textbar{}"),
            '"' => escaped.push_str("\\char34{}"),
            // At the beginning of a row these would belong to the line end before it.
            '[' | ']' | '*' => escaped.extend(['{', c, '}']),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_cell_in_every_format() {
        let name = "new\r\nline | \\ <b>&amp;</b> a_b _c_ *d* [e]";
        assert_eq!(one_line(name), "new line | \\ <b>&amp;</b> a_b _c_ *d* [e]");
        assert_eq!(one_line("a\tb\u{2028}c\n"), "a b c");
        let cell = markdown(name);
        assert_eq!(cell, r"new line \| \\ \<b\>\&amp;\</b\> a_b \_c\_ \*d\* \[e\]");
        assert_eq!(latex("R&D $x^2$ #1"), r"R\&D \$x\textasciicircum{}2\$ \#1");
        assert_eq!(latex("back\\slash{}\n~"), r"back\textbackslash{}slash\{\} \textasciitilde{}");
        assert_eq!(latex("[a]*<"), r"{[}a{]}{*}\textless{}");
    }
}
