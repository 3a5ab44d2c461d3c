//! Names of pictures, films and sound where they stand outside of `image`: under other keys, and within texts.

use super::json::Json;
use std::ops::Range;

const PICTURES: [&str; 9] = [".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".svg"];
const FILMS: [&str; 11] = [".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".wav", ".mp3", ".flac", ".ogg", ".m4a"];

/// What a name is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Medium {
    Picture,
    Film,
}

impl Medium {
    fn of(name: &str) -> Option<Self> {
        let lower = name.trim().to_ascii_lowercase();
        // What an address asks for stands behind its path.
        let path = if is_address(&lower) { lower.split(['?', '#']).next().unwrap_or_default() } else { &lower };
        let ends = |all: &[&str]| all.iter().any(|end| path.ends_with(end));
        if lower.starts_with("data:image/") || ends(&PICTURES) {
            Some(Self::Picture)
        } else {
            ends(&FILMS).then_some(Self::Film)
        }
    }
}

fn is_address(name: &str) -> bool {
    name.starts_with("http://") || name.starts_with("https://")
}

/// All texts of a value.
fn texts<'j>(value: &'j Json<'_>, into: &mut Vec<&'j str>) {
    match value {
        Json::Text(text) => into.push(text),
        Json::List(items) => items.iter().for_each(|item| texts(item, into)),
        Json::Object(fields) => fields.iter().for_each(|(_, value)| texts(value, into)),
        _ => {}
    }
}

/// The names that a value consists of (an object may have others beside), by what they are of.
fn names<'j>(value: &'j Json<'_>) -> Vec<(&'j str, Medium)> {
    let mut all = Vec::new();
    texts(value, &mut all);
    let names: Vec<_> = all.iter().filter_map(|text| Some((*text, Medium::of(text)?))).collect();
    let is_whole =
        names.len() == all.len() || !matches!(value, Json::List(items) if items.iter().all(|i| i.text().is_some()));
    if is_whole { names } else { Vec::new() }
}

/// Looks at what a key of an entry names beside its `pictures`: another name of the same file is fine, and so is an
/// address where the entry has its picture.
///
/// # Errors
/// It names what is not read.
pub(super) fn beside(key: &str, value: &Json<'_>, pictures: &[&Json<'_>]) -> Result<(), String> {
    let mut own = Vec::new();
    pictures.iter().for_each(|picture| texts(picture, &mut own));
    let base = |name: &str| name.rsplit(['/', '\\']).next().unwrap_or(name).to_ascii_lowercase();
    let speaks = |words: &[&str]| words.iter().any(|word| key.to_ascii_lowercase().contains(word));
    for (name, medium) in names(value) {
        let address = is_address(name);
        match medium {
            Medium::Film if address && !speaks(&["video", "audio", "sound", "film", "clip"]) => {}
            Medium::Film => {
                return Err(format!("{key:?} names video or sound ({value}), which is not read; leave the entry out"));
            }
            Medium::Picture if own.is_empty() => {
                return Err(format!("{key:?} names a picture ({value}), but only \"image\" is read; call it so"));
            }
            Medium::Picture if own.iter().any(|own| base(own) == base(name)) => {}
            Medium::Picture if address && !speaks(&["image", "img", "picture", "photo", "frame"]) => {}
            Medium::Picture => {
                return Err(format!(
                    "{key:?} names another picture than \"image\" ({value}), and an entry has one; take it out, or leave the entry out"
                ));
            }
        }
    }
    Ok(())
}

/// Looks at what a key of a turn names.
///
/// # Errors
/// It names a picture, video or sound.
pub(super) fn in_turn(key: &str, value: &Json<'_>) -> Result<(), String> {
    match names(value).first() {
        Some(_) => Err(format!(
            "{key:?} names a file ({value}); a picture belongs to the entry, not to a turn; name it as the entry's \"image\""
        )),
        None => Ok(()),
    }
}

/// An element of a text that holds a file's name, as ms-swift and Qwen-VL write pictures: `<img>a.png</img>`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Element<'t> {
    /// Where it stands.
    pub place: Range<usize>,
    /// The name.
    pub name: &'t str,
    /// Whether it is a picture's.
    pub is_picture: bool,
}

/// The elements of a text that hold a file's name. HTML's own `<img src=...>` holds nothing.
pub(super) fn elements(text: &str) -> Vec<Element<'_>> {
    const TAGS: [(&str, bool); 7] = [
        ("img", true),
        ("image", true),
        ("picture", true),
        ("video", false),
        ("audio", false),
        ("speech", false),
        ("sound", false),
    ];
    if !text.contains("</") {
        return Vec::new();
    }
    let lower = text.to_ascii_lowercase();
    let mut found = Vec::new();
    for (tag, is_picture) in TAGS {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        for (at, _) in lower.match_indices(&open) {
            let from = at + open.len();
            let Some(length) = lower[from..].find(&close) else { continue };
            let name = text[from..from + length].trim();
            let is_word = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '<');
            let is_name =
                Medium::of(name).is_some() || (is_word && (tag == "img" || is_address(name) || name.contains('/')));
            if is_name && !name.contains(['<', '\n']) {
                found.push(Element { place: at..from + length + close.len(), name, is_picture });
            }
        }
    }
    found.sort_by_key(|element| element.place.start);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::json::Json;

    fn of(key: &str, value: &str, image: Option<&str>) -> String {
        let value = Json::parse(value.as_bytes()).unwrap();
        let image = image.map(|name| Json::Text(name.into()));
        beside(key, &value, &image.iter().collect::<Vec<_>>()).map_or_else(|problem| problem, |()| "fine".to_owned())
    }

    #[test]
    fn files_under_other_keys_are_refused_unless_they_are_the_picture() {
        insta::assert_snapshot!(of("file_name", r#""b.JPG""#, None), @r#""file_name" names a picture (the text "b.JPG"), but only "image" is read; call it so"#);
        insta::assert_snapshot!(of("img", r#"[{"path": "b.gif"}]"#, None), @r#""img" names a picture (a list of 1), but only "image" is read; call it so"#);
        insta::assert_snapshot!(of("depth", r#""b.png""#, Some("a.png")), @r#""depth" names another picture than "image" (the text "b.png"), and an entry has one; take it out, or leave the entry out"#);
        insta::assert_snapshot!(of("shots", r#"["a.png", "b.png"]"#, Some("a.png")), @r#""shots" names another picture than "image" (a list of 2), and an entry has one; take it out, or leave the entry out"#);
        insta::assert_snapshot!(of("clip", r#""x/b.mp4""#, Some("a.png")), @r#""clip" names video or sound (the text "x/b.mp4"), which is not read; leave the entry out"#);
        assert!(of("photo_url", r#""https://a.b/c.png?w=5""#, Some("a.png")).contains("another picture"));
        for (key, value) in [
            ("file_name", r#""coco/A.png""#),
            ("flickr_url", r#""https://a.b/c.jpg""#),
            ("image_id", "7"),
            ("source", r#""coco""#),
            ("tags", r#"["an old a.png", "cat"]"#),
        ] {
            assert_eq!(of(key, value, Some("x/a.png")), "fine", "{key}");
        }
        let value = Json::Text("b.png".into());
        insta::assert_snapshot!(in_turn("file", &value).unwrap_err(), @r#""file" names a file (the text "b.png"); a picture belongs to the entry, not to a turn; name it as the entry's "image""#);
    }

    #[test]
    fn elements_that_hold_a_name_are_found_and_html_is_text() {
        let found =
            |text: &str| elements(text).iter().map(|e| format!("{} {}", e.name, e.is_picture)).collect::<Vec<_>>();
        assert_eq!(found("Picture 1: <img>a b.png</img>\n<IMG> c </IMG>"), ["a b.png true", "c true"]);
        assert_eq!(found("<image>x/y</image> <video>v.mp4</video>"), ["x/y true", "v.mp4 false"]);
        assert_eq!(elements("é <img>a.png</img>.")[0].place, 3..19);
        for text in [
            "<img src='a.png'></img>",
            "<img src=a.png>",
            "<video>\n<source/>\n</video>",
            "<image>a word</image>",
            "<img></img>",
        ] {
            assert!(elements(text).is_empty(), "{text}");
        }
    }
}
