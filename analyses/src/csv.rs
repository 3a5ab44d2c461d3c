//! Cells of CSV (RFC 4180), as every table of ours is written.

use std::borrow::Cow;

/// A cell, quoted where it has to be.
#[must_use]
pub fn cell(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(text)
    }
}

/// Words that a spreadsheet would take for a formula, behind an apostrophe; numbers stay numbers.
#[must_use]
pub fn inert(text: &str) -> Cow<'_, str> {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) && text.parse::<f64>().is_err();
    if formula { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_have_to_be() {
        assert_eq!((cell("a\rb"), cell("say \"hi\"")), ("\"a\rb\"".into(), "\"say \"\"hi\"\"\"".into()));
        assert_eq!(
            (cell("a b"), cell("a,b"), cell("\"a\"\n")),
            ("a b".into(), "\"a,b\"".into(), "\"\"\"a\"\"\n\"".into())
        );
    }

    #[test]
    fn formulas_are_inert_and_numbers_stay_numbers() {
        for formula in ["=1+1", "+cmd()", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "-", "-cmd|' /C calc'!A0"] {
            assert_eq!(inert(formula), format!("'{formula}"));
        }
        for plain in ["-2", "+1.5", "-1e-30", "-inf", "a=1", "1-2", "'=1", ""] {
            assert_eq!(inert(plain), plain);
        }
    }
}
