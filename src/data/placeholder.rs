//! `<image>` and the marks of other tools: where a picture is meant, and where a text only speaks of one.

use super::conversation::{IMAGE_PLACEHOLDER, Role};
use super::media::elements;
use super::remark::Remark;
use std::fmt::Display;

/// Marks that stand for something else than text in some tool's files, in lower case.
const MARKS: &[&str] = &[
    IMAGE_PLACEHOLDER,
    "<img>",
    "<images>",
    "<image-placeholder>",
    "<image_placeholder>",
    "<imagehere>",
    "<picture>",
    "<|image|>",
    "<|image_1|>",
    "<|image_pad|>",
    "<|vision_start|>",
    "<image_1>",
    "<image1>",
    "<image 1>",
    "<video>",
    "<video_placeholder>",
    "<|video|>",
    "<|video_pad|>",
    "<audio>",
    "<|audio|>",
    "<|audio_bos|>",
    "<speech>",
    "<ref-object>",
    "<bbox>",
];

/// Marks that other code puts around `<image>`. Those of HTML are words where there is no picture.
const AROUND: [&str; 11] = [
    "<im_start>",
    "<im_end>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_start|>",
    "<|image_end|>",
    "<img>",
    "</img>",
    "</image>",
    "<picture>",
    "</picture>",
];

/// What a text has of marks that no picture of the entry fills: those that stand as words are remarks.
///
/// # Errors
/// A mark stands where something is meant: at a question's front or end, around `<image>`, or around a file's name.
pub(super) fn unfilled(
    text: &str,
    turn: impl Display,
    role: Role,
    has_image: bool,
    into: &mut Vec<Remark>,
) -> Result<(), String> {
    // Nearly all texts have no mark at all, or <image> alone.
    if !text.contains('<') {
        return Ok(());
    }
    if let Some(element) = elements(text).first() {
        let written = shown(&text[element.place.clone()]);
        let what = if element.is_picture {
            format!(
                "name the file as the entry's \"image\" and write {IMAGE_PLACEHOLDER} in its place (data convert does so)"
            )
        } else {
            "leave entries with video or sound out".to_owned()
        };
        return Err(format!("{turn} has {written}, which is not read; {what}"));
    }
    let lower = text.to_ascii_lowercase();
    if let Some(mark) = around(&lower, has_image).filter(|_| role == Role::Human) {
        return Err(format!(
            "{turn} has {mark} beside {IMAGE_PLACEHOLDER}, which would be learnt as a text; take it out, {IMAGE_PLACEHOLDER} stands alone"
        ));
    }
    for mark in MARKS {
        let image = *mark == IMAGE_PLACEHOLDER;
        if !lower.contains(mark) || (image && has_image && text.matches(mark).count() == lower.matches(mark).count()) {
            continue;
        }
        let at = lower.find(mark).unwrap_or(0);
        let written = &text[at..at + mark.len()];
        if role == Role::Human && is_meant(&lower, mark) {
            return Err(match (image, has_image) {
                (true, false) => format!(
                    "{turn} has {written}, but the entry has no \"image\"; name the file, or take {written} out"
                ),
                (true, true) => format!("{turn} has {written}; write {IMAGE_PLACEHOLDER}, in small letters"),
                (false, _) => format!(
                    "{turn} has {written}, which is not read; write {IMAGE_PLACEHOLDER} for a picture, and leave out entries with video or sound"
                ),
            });
        }
        let remark = Remark::Word(written.to_owned());
        if !into.contains(&remark) {
            into.push(remark);
        }
    }
    Ok(())
}

/// The same for a system message, in which no picture can stand.
///
/// # Errors
/// It has `<image>`, or names a file in an element.
pub(super) fn in_system(text: &str, into: &mut Vec<Remark>) -> Result<(), String> {
    if text.contains(IMAGE_PLACEHOLDER) {
        return Err(format!(
            "the system message has {IMAGE_PLACEHOLDER}, which stands in a question alone; take it out"
        ));
    }
    // As in an answer, a mark of another tool is a word there.
    unfilled(text, "the system message", Role::Assistant, false, into)
}

/// The first and the last of a long text.
fn shown(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= 60 {
        return text.to_owned();
    }
    chars[..30].iter().chain(" ... ".chars().collect::<Vec<_>>().iter()).chain(&chars[chars.len() - 20..]).collect()
}

/// A mark right before or behind `<image>`.
fn around(lower: &str, has_image: bool) -> Option<&'static str> {
    let counts = |mark: &&&str| has_image || mark.starts_with("<im_") || mark.starts_with("<|");
    lower.match_indices(IMAGE_PLACEHOLDER).find_map(|(at, _)| {
        let (before, behind) = (lower[..at].trim_end(), lower[at + IMAGE_PLACEHOLDER.len()..].trim_start());
        let mut marks = AROUND.iter().filter(counts);
        marks.find(|mark| before.ends_with(**mark) || behind.starts_with(**mark)).copied()
    })
}

/// Whether a mark stands for something: at the front or the end of a question, and not as an HTML element that is
/// closed again.
fn is_meant(lower: &str, mark: &str) -> bool {
    let text = lower.trim();
    let closing = mark.replacen('<', "</", 1);
    (text.starts_with(mark) || text.ends_with(mark)) && !text.contains(&closing)
}

/// LLaVA's rule: a turn that has `<image>` anywhere gets one at its front, a line break, and the rest trimmed.
///
/// # Errors
/// It stands in the turn more than once: an entry has one picture.
pub(super) fn first(text: &str, turn: usize) -> Result<String, String> {
    match text.matches(IMAGE_PLACEHOLDER).count() {
        0 => Ok(text.to_owned()),
        // One that is written around another is one more.
        1 if text.replace(IMAGE_PLACEHOLDER, "").contains(IMAGE_PLACEHOLDER) => Err(format!(
            "turn {turn} has {IMAGE_PLACEHOLDER} within {IMAGE_PLACEHOLDER}; keep one, or leave the entry out"
        )),
        1 => {
            let rest = text.replace(IMAGE_PLACEHOLDER, "");
            Ok(format!("{IMAGE_PLACEHOLDER}\n{}", rest.trim()).trim().to_owned())
        }
        n => Err(format!(
            "turn {turn} has {IMAGE_PLACEHOLDER} {n} times, but an entry has one picture; keep one, or leave the entry out"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, role: Role, has_image: bool) -> Result<Vec<Remark>, String> {
        let mut remarks = Vec::new();
        unfilled(text, "turn 0", role, has_image, &mut remarks).map(|()| remarks)
    }

    #[test]
    fn a_mark_at_a_questions_front_or_end_means_something() {
        insta::assert_snapshot!(of("<image>\nWhat?", Role::Human, false).unwrap_err(), @r#"turn 0 has <image>, but the entry has no "image"; name the file, or take <image> out"#);
        insta::assert_snapshot!(of("What?\n<Image>", Role::Human, true).unwrap_err(), @"turn 0 has <Image>; write <image>, in small letters");
        insta::assert_snapshot!(of(" <video>\nWhat?", Role::Human, true).unwrap_err(), @"turn 0 has <video>, which is not read; write <image> for a picture, and leave out entries with video or sound");
        assert!(of("<image>\nWhat?", Role::Human, true).unwrap().is_empty());
        for mark in MARKS.iter().skip(1) {
            assert!(of(&format!("{mark} What?"), Role::Human, true).is_err(), "{mark}");
        }
    }

    #[test]
    fn marks_around_the_placeholder_and_names_within_elements_are_refused_wherever_they_stand() {
        insta::assert_snapshot!(of("<im_start><image><im_end>\nWhat?", Role::Human, true).unwrap_err(), @"turn 0 has <im_start> beside <image>, which would be learnt as a text; take it out, <image> stands alone");
        for text in ["a <|vision_start|> <image>\nb", "What?\n<Img><image></Img>", "<image></image>"] {
            assert!(of(text, Role::Human, true).unwrap_err().contains(" beside <image>, "), "{text}");
        }
        assert!(of("Is <image></image> XML?", Role::Human, false).is_ok());
        insta::assert_snapshot!(of("See <img>a/rgb.png</img>.", Role::Human, false).unwrap_err(), @r#"turn 0 has <img>a/rgb.png</img>, which is not read; name the file as the entry's "image" and write <image> in its place (data convert does so)"#);
        insta::assert_snapshot!(of("<image>\n<video>v.mp4</video>", Role::Human, true).unwrap_err(), @"turn 0 has <video>v.mp4</video>, which is not read; leave entries with video or sound out");
        assert!(of("<img>a.png</img>", Role::Assistant, false).is_err());
        assert_eq!(of("What is <img src=\"a.png\"> for?", Role::Human, false).unwrap(), []);
    }

    #[test]
    fn within_a_text_it_is_a_word_and_counted() {
        assert_eq!(of("What is <image>?", Role::Human, false).unwrap(), [Remark::Word("<image>".into())]);
        assert_eq!(of("<video>", Role::Assistant, false).unwrap(), [Remark::Word("<video>".into())]);
        assert_eq!(of("<video>\n<source/>\n</video>", Role::Human, false).unwrap(), [Remark::Word("<video>".into())]);
        assert!(of("a < b", Role::Human, false).unwrap().is_empty());
    }

    #[test]
    fn the_placeholder_goes_to_the_front() {
        assert_eq!(first("<image>\n", 0).unwrap(), "<image>");
        assert_eq!(first(" Where\n<image> ", 0).unwrap(), "<image>\nWhere");
        insta::assert_snapshot!(first("<image><image> a", 2).unwrap_err(), @"turn 2 has <image> 2 times, but an entry has one picture; keep one, or leave the entry out");
        insta::assert_snapshot!(first("<im<image>age>", 2).unwrap_err(), @"turn 2 has <image> within <image>; keep one, or leave the entry out");
    }
}
