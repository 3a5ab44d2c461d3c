//! A bitmap font of five by seven dots for the letters of the printed words.

/// Columns of a letter.
pub(super) const COLUMNS: u32 = 5;
/// Rows of a letter.
pub(super) const ROWS: u32 = 7;

/// Letters, each as seven rows of five dots.
const LETTERS: [(char, [&str; ROWS as usize]); 26] = [
    ('A', [" ### ", "#   #", "#   #", "#####", "#   #", "#   #", "#   #"]),
    ('B', ["#### ", "#   #", "#   #", "#### ", "#   #", "#   #", "#### "]),
    ('C', [" ####", "#    ", "#    ", "#    ", "#    ", "#    ", " ####"]),
    ('D', ["#### ", "#   #", "#   #", "#   #", "#   #", "#   #", "#### "]),
    ('E', ["#####", "#    ", "#    ", "#### ", "#    ", "#    ", "#####"]),
    ('F', ["#####", "#    ", "#    ", "#### ", "#    ", "#    ", "#    "]),
    ('G', [" ####", "#    ", "#    ", "#  ##", "#   #", "#   #", " ####"]),
    ('H', ["#   #", "#   #", "#   #", "#####", "#   #", "#   #", "#   #"]),
    ('I', ["#####", "  #  ", "  #  ", "  #  ", "  #  ", "  #  ", "#####"]),
    ('J', ["    #", "    #", "    #", "    #", "    #", "#   #", " ### "]),
    ('K', ["#   #", "#  # ", "# #  ", "##   ", "# #  ", "#  # ", "#   #"]),
    ('L', ["#    ", "#    ", "#    ", "#    ", "#    ", "#    ", "#####"]),
    ('M', ["#   #", "## ##", "# # #", "# # #", "#   #", "#   #", "#   #"]),
    ('N', ["#   #", "##  #", "# # #", "# # #", "#  ##", "#   #", "#   #"]),
    ('O', [" ### ", "#   #", "#   #", "#   #", "#   #", "#   #", " ### "]),
    ('P', ["#### ", "#   #", "#   #", "#### ", "#    ", "#    ", "#    "]),
    ('Q', [" ### ", "#   #", "#   #", "#   #", "# # #", "#  # ", " ## #"]),
    ('R', ["#### ", "#   #", "#   #", "#### ", "# #  ", "#  # ", "#   #"]),
    ('S', [" ####", "#    ", "#    ", " ### ", "    #", "    #", "#### "]),
    ('T', ["#####", "  #  ", "  #  ", "  #  ", "  #  ", "  #  ", "  #  "]),
    ('U', ["#   #", "#   #", "#   #", "#   #", "#   #", "#   #", " ### "]),
    ('V', ["#   #", "#   #", "#   #", "#   #", "#   #", " # # ", "  #  "]),
    ('W', ["#   #", "#   #", "#   #", "# # #", "# # #", "## ##", "#   #"]),
    ('X', ["#   #", "#   #", " # # ", "  #  ", " # # ", "#   #", "#   #"]),
    ('Y', ["#   #", "#   #", " # # ", "  #  ", "  #  ", "  #  ", "  #  "]),
    ('Z', ["#####", "    #", "   # ", "  #  ", " #   ", "#    ", "#####"]),
];

/// Dots of a letter as `(column, row)`; none for characters that the font lacks.
pub(super) fn dots(letter: char) -> impl Iterator<Item = (u32, u32)> {
    let rows = LETTERS.iter().find(|(c, _)| *c == letter).map(|(_, rows)| rows);
    let dots = |(y, row): (usize, &&'static str)| {
        row.bytes().enumerate().filter(|(_, b)| *b == b'#').map(move |(x, _)| (x as u32, y as u32))
    };
    rows.into_iter().flat_map(move |rows| rows.iter().enumerate().flat_map(dots))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_fill_their_cell_and_differ() {
        for (i, (letter, rows)) in LETTERS.iter().enumerate() {
            assert!(rows.iter().all(|r| r.len() == COLUMNS as usize), "{letter}");
            assert!(LETTERS[..i].iter().all(|(c, other)| c != letter && other != rows), "{letter}");
        }
        assert_eq!(dots('L').count(), 11);
        assert_eq!(dots('?').count(), 0);
        assert_eq!(dots('T').map(|(_, y)| y).max(), Some(ROWS - 1));
    }
}
