//! Names of users' files and ids in messages: one line each, however long they are and whatever is in them.

use std::fmt;
use std::path::Path;

/// Letters of a name at most.
const MOST: usize = 200;

/// A name in quotes, with its beginning, its end and its length where it is very long, and with escapes for what is no letter.
pub(crate) struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ends(self.0) {
            None => write!(f, "{:?}", self.0),
            Some((first, last, all)) => write!(f, "{:?} ({all} letters)", format!("{first} ... {last}")),
        }
    }
}

/// The same for a path, without quotes.
pub(crate) fn path(path: &Path) -> String {
    line(&path.to_string_lossy())
}

/// The same without quotes.
pub(crate) fn line(text: &str) -> String {
    match ends(text) {
        None => escaped(text),
        Some((first, last, all)) => format!("{} ... {} ({all} letters)", escaped(first), escaped(last)),
    }
}

fn escaped(text: &str) -> String {
    let each = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(each).collect()
}

/// Beginning, end and number of letters of a long text.
fn ends(text: &str) -> Option<(&str, &str, usize)> {
    // No letter has less than a byte.
    if text.len() <= MOST {
        return None;
    }
    let all = text.chars().count();
    let at = |letter: usize| text.char_indices().nth(letter).map_or(text.len(), |(at, _)| at);
    (all > MOST).then(|| (&text[..at(MOST / 2)], &text[at(all - MOST / 4)..], all))
}

/// Why a picture that is not there is not there, from its name.
pub(crate) fn absent(picture: &Path) -> String {
    let text = picture.to_string_lossy();
    if text.contains("data:image/") || picture.components().any(|part| part.as_os_str().len() > 255) {
        return "the entry holds the picture itself as text, not the name of a file; write it to a file and name that"
            .to_owned();
    }
    // Joined to a folder, an address keeps its slashes.
    if ["http://", "https://", "s3://", "gs://"].iter().any(|scheme| text.contains(scheme)) {
        return "the image is an address, and pictures are read from files; download it and name the file".to_owned();
    }
    "the image is missing".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_line_however_long() {
        assert_eq!(Shown("a\nb").to_string(), "\"a\\nb\"");
        let long = Shown(&"\u{e9}".repeat(100_000)).to_string();
        assert!(long.ends_with("\u{e9}\" (100000 letters)") && long.chars().count() < 200, "{long}");
        assert_eq!(path(Path::new("a/b\n\u{7}.png")), "a/b\\n\\u{7}.png");
        assert!(path(Path::new(&format!("a/{}", "x".repeat(50_000)))).len() < 200);
        assert_eq!(path(Path::new("images/\u{56fe}.png")), "images/\u{56fe}.png");
    }

    #[test]
    fn a_picture_in_the_entry_and_an_address_are_not_called_missing() {
        let of = |name: &str| absent(&Path::new("images").join(name));
        assert_eq!(of("no.png"), "the image is missing");
        for name in ["data:image/png;base64,iVBORw0KGgo=", &"iVBORw0KGgo".repeat(30)] {
            assert!(of(name).contains("holds the picture itself"), "{}", of(name));
        }
        assert!(of("https://example.org/a.png").contains("an address"));
    }
}
