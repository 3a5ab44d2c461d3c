//! Which script a letter belongs to, and a free font that has it.

/// First letter, last letter, script, a font.
const SCRIPTS: [(u32, u32, &str, &str); 27] = [
    (0x0370, 0x03FF, "Greek", "Noto Sans"),
    (0x0400, 0x052F, "Cyrillic", "Noto Sans"),
    (0x0530, 0x058F, "Armenian", "Noto Sans Armenian"),
    (0x0590, 0x05FF, "Hebrew", "Noto Sans Hebrew"),
    (0x0600, 0x077F, "Arabic", "Noto Sans Arabic"),
    (0x08A0, 0x08FF, "Arabic", "Noto Sans Arabic"),
    (0x0900, 0x097F, "Devanagari", "Noto Sans Devanagari"),
    (0x0980, 0x09FF, "Bengali", "Noto Sans Bengali"),
    (0x0A00, 0x0A7F, "Gurmukhi", "Noto Sans Gurmukhi"),
    (0x0A80, 0x0AFF, "Gujarati", "Noto Sans Gujarati"),
    (0x0B80, 0x0BFF, "Tamil", "Noto Sans Tamil"),
    (0x0C00, 0x0C7F, "Telugu", "Noto Sans Telugu"),
    (0x0E00, 0x0E7F, "Thai", "Noto Sans Thai"),
    (0x10A0, 0x10FF, "Georgian", "Noto Sans Georgian"),
    (0x1100, 0x11FF, "Hangul", "Noto Sans CJK"),
    (0x1200, 0x139F, "Ethiopic", "Noto Sans Ethiopic"),
    (0x2E80, 0x2FDF, "Han", "Noto Sans CJK"),
    (0x3040, 0x30FF, "Kana", "Noto Sans CJK"),
    (0x3100, 0x312F, "Bopomofo", "Noto Sans CJK"),
    (0x3130, 0x318F, "Hangul", "Noto Sans CJK"),
    (0x3400, 0x9FFF, "Han", "Noto Sans CJK"),
    (0xAC00, 0xD7FF, "Hangul", "Noto Sans CJK"),
    (0xF900, 0xFAFF, "Han", "Noto Sans CJK"),
    (0xFB50, 0xFDFF, "Arabic", "Noto Sans Arabic"),
    (0xFE70, 0xFEFF, "Arabic", "Noto Sans Arabic"),
    (0x1F000, 0x1FAFF, "emoji", "Noto Emoji"),
    (0x20000, 0x323AF, "Han", "Noto Sans CJK"),
];

/// Script and font of a letter.
pub(super) fn of(letter: char) -> (&'static str, &'static str) {
    let code = u32::from(letter);
    let found = SCRIPTS.iter().find(|(from, to, ..)| (*from..=*to).contains(&code));
    found.map_or(("other scripts", "Noto Sans and Noto Sans Symbols"), |(_, _, script, font)| (script, font))
}

/// Whether a font is needed for it: not for what steers other letters, nor for private use.
pub(super) fn is_drawn(letter: char) -> bool {
    let steers = matches!(u32::from(letter), 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0xFE00..=0xFE0F
        | 0xFEFF | 0xFFFD | 0xE000..=0xF8FF | 0xE0000..=0x10_FFFF);
    !steers && !letter.is_control() && !letter.is_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_have_scripts() {
        assert!(SCRIPTS.iter().all(|(from, to, ..)| from < to));
        for (letter, script) in [('检', "Han"), ('の', "Kana"), ('문', "Hangul"), ('ع', "Arabic"), ('ह', "Devanagari")]
        {
            assert_eq!(of(letter).0, script);
            assert!(is_drawn(letter));
        }
        assert_eq!(of('\u{2603}').0, "other scripts");
        assert!(!is_drawn('\u{FE0F}') && !is_drawn('\u{200D}') && !is_drawn('\n') && !is_drawn(' '));
    }
}
