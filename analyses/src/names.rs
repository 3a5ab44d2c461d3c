//! Names as figures, tables and the explorer show them: whole where there is room, cut where they do not differ from others, never two alike.

use std::collections::BTreeMap;
use unicode_segmentation::UnicodeSegmentation;

/// What stands for a part that is left out.
const GAP: &str = "\u{2026}";

/// Names with spaces for underscores and without what is not seen, where that leaves them different; what is not seen is
/// spelled (`<U+200B>`) where names differ by it alone or have nothing else. `missing` tells what the font cannot draw.
#[must_use]
pub fn readable(names: &[String], missing: &dyn Fn(char) -> bool) -> Vec<String> {
    let spaced: Vec<String> = names.iter().map(|name| name.replace('_', " ")).collect();
    let seen = |name: &String| {
        let boxed = |c: char| if missing(c) { '\u{25a1}' } else { c };
        let text: String = name.chars().filter(|c| !unseen(*c)).map(boxed).collect();
        text.split(|c: char| c.is_whitespace() || c.is_control())
            .filter(|w| !w.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    spaced.iter().for_each(|name| *count.entry(seen(name)).or_default() += 1);
    let alone = |name: &String| count.get(&seen(name)).is_none_or(|n| *n < 2);
    let one = |(name, spaced): (&String, &String)| match () {
        () if name.is_empty() => "(empty)".to_owned(),
        () if alone(spaced) && !seen(spaced).is_empty() => spaced.clone(),
        () => spelled(name, missing),
    };
    names.iter().zip(&spaced).map(one).collect()
}

/// Characters that take no room and leave no mark of their own: joiners, marks of direction, variation selectors.
pub(crate) fn unseen(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

/// `name` with a word for everything that is not seen, or not told from something else.
fn spelled(name: &str, missing: &dyn Fn(char) -> bool) -> String {
    let mut text = String::new();
    let mut before = ' ';
    for c in name.chars() {
        let blank = c == ' ' && before == ' ';
        match c {
            '\n' => text += "\\n",
            '\t' => text += "\\t",
            c if blank || unseen(c) || c.is_control() || (c != ' ' && c.is_whitespace()) || missing(c) => {
                text += &format!("<U+{:04X}>", u32::from(c));
            }
            c => text.push(c),
        }
        before = c;
    }
    if text.ends_with(' ') {
        text.pop();
        text += "<U+0020>";
    }
    text
}

/// `names`, each so short that it `fits`. A name that does not fit loses what it shares with others first; no two results
/// are the same.
#[must_use]
pub fn shorten(names: &[String], fits: &dyn Fn(&str) -> bool) -> Vec<String> {
    let split: Vec<Vec<&str>> = names.iter().map(|n| n.graphemes(true).collect()).collect();
    let cut = |i: usize| if fits(&names[i]) { names[i].clone() } else { cut(i, &split, fits) };
    let mut short: Vec<String> = (0..names.len()).map(cut).collect();
    // What cannot be told apart in the room that there is gets its number.
    loop {
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        short.iter().for_each(|name| *count.entry(name).or_default() += 1);
        let twice: Vec<usize> = (0..names.len()).filter(|i| count[short[*i].as_str()] > 1).collect();
        if twice.is_empty() {
            return short;
        }
        for i in twice {
            let number = format!("({})", i + 1);
            let of = |kept: usize| format!("{}{GAP} {number}", split[i][..kept].concat().trim_end());
            let most = longest(split[i].len(), &|kept| fits(&of(kept)));
            short[i] = if most == 0 && short[i] != number { number } else { of(most) };
        }
    }
}

/// The largest `kept` below `all` that `fits`, which grows with it; 0 if none does.
fn longest(all: usize, fits: &dyn Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, all);
    while low + 1 < high {
        let middle = usize::midpoint(low, high);
        if fits(middle) { low = middle } else { high = middle }
    }
    low
}

/// A name cut so that it fits and, where that is possible, so that no other name could be cut like it.
fn cut(i: usize, all: &[Vec<&str>], fits: &dyn Fn(&str) -> bool) -> String {
    let own = &all[i];
    let whole = own.len();
    let ends = |head: usize, tail: usize| vec![0..head, whole - tail..whole];
    let around = |place: usize, kept: usize, head: usize| {
        let from = place.saturating_sub((kept - head) / 2).max(head).min(whole - (kept - head));
        vec![0..head, from..from + (kept - head)]
    };
    let best = |make: &dyn Fn(usize) -> Vec<std::ops::Range<usize>>| {
        let kept = longest(whole, &|kept| fits(&joined(own, &make(kept))));
        make(kept)
    };
    let first = best(&|kept| ends(kept - kept / 3, kept / 3));
    let rivals: Vec<&Vec<&str>> =
        all.iter().enumerate().filter(|(j, r)| *j != i && *r != own).map(|(_, r)| r).collect();
    let near = |r: &[&str]| own.iter().zip(r).take_while(|(a, b)| a == b).count();
    let far = |r: &[&str]| whole - own.iter().rev().zip(r.iter().rev()).take_while(|(a, b)| a == b).count();
    let alike: Vec<_> = rivals.iter().filter(|r| matches(r, own, &first)).collect();
    let from_front = alike.iter().map(|r| near(r)).max().unwrap_or(0).min(whole);
    let from_back = alike.iter().map(|r| far(r)).min().unwrap_or(0);
    let plans: Vec<Vec<std::ops::Range<usize>>> = vec![
        best(&|kept| ends(kept / 3, kept - kept / 3)),
        best(&|kept| around(from_front, kept, kept / 3)),
        best(&|kept| around(from_back.saturating_sub(1), kept, kept / 3)),
        best(&|kept| around(from_front, kept, 0)),
    ];
    let unique = |plan: &Vec<std::ops::Range<usize>>| !rivals.iter().any(|r| matches(r, own, plan));
    let plan = std::iter::once(&first).chain(&plans).find(|p| unique(p)).unwrap_or(&first);
    joined(own, plan)
}

/// The parts of a name with gaps between.
fn joined(name: &[&str], parts: &[std::ops::Range<usize>]) -> String {
    let (mut text, mut end) = (String::new(), 0);
    for part in parts {
        if part.start > end {
            text += GAP;
        }
        text += &name[part.clone()].concat();
        end = end.max(part.end);
    }
    if end < name.len() { text + GAP } else { text }
}

/// Whether `rival` could be cut to the same text as `own` by `parts`: it holds them in order, and at its ends those at ends.
fn matches(rival: &[&str], own: &[&str], parts: &[std::ops::Range<usize>]) -> bool {
    let mut at = 0;
    for part in parts.iter().filter(|p| !p.is_empty()) {
        let text = &own[part.clone()];
        let place = if part.start == 0 {
            rival.starts_with(text).then_some(0)
        } else if part.end == own.len() {
            (rival.len() >= at + text.len() && rival.ends_with(text)).then(|| rival.len() - text.len())
        } else {
            rival.get(at..).and_then(|rest| rest.windows(text.len()).position(|w| w == text)).map(|p| p + at)
        };
        let Some(place) = place else { return false };
        at = place + text.len();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(names: &[String], room: usize) -> Vec<String> {
        let short = shorten(names, &|text| text.chars().count() <= room);
        let mut once = short.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), names.len(), "{short:?}");
        assert!(short.iter().all(|s| s.chars().count() <= room), "{short:?}");
        short
    }

    fn made(of: impl Fn(usize) -> String) -> Vec<String> {
        (0..30).map(of).collect()
    }

    #[test]
    fn what_sets_names_apart_is_kept_wherever_it_stands() {
        let long = "a_very_long_name_of_a_task_".repeat(4);
        let end = short(&made(|i| format!("{long}{i:02}")), 20);
        assert!(end.iter().enumerate().all(|(i, s)| s.ends_with(&format!("{i:02}"))), "{end:?}");
        let middle = short(&made(|i| format!("{long}<{i:02}>{long}")), 20);
        assert!(middle.iter().enumerate().all(|(i, s)| s.contains(&format!("{i:02}"))), "{middle:?}");
        let front = short(&made(|i| format!("{i:02}{long}")), 20);
        assert!(front.iter().enumerate().all(|(i, s)| s.starts_with(&format!("{i:02}"))), "{front:?}");
    }

    #[test]
    fn what_fits_stays_as_it_is_and_what_cannot_be_told_apart_is_numbered() {
        let names = ["short", "a name that is long", "a name that is long, too"].map(str::to_owned);
        assert_eq!(short(&names, 40), names);
        assert_eq!(short(&names, 12)[0], "short");
        // Two places set these apart: neither alone does.
        let both = ["x", "y"].into_iter().flat_map(|a| ["1", "2"].map(|b| (a, b)));
        let both: Vec<String> = both.map(|(a, b)| format!("{a}{}{b}{}", "m".repeat(60), "n".repeat(60))).collect();
        short(&both, 14);
        short(&vec!["the same name again and again".to_owned(); 3], 12);
        // Nothing is torn out of the middle of a letter with its marks.
        let marks = made(|i| "e\u{301}".repeat(50 + i));
        assert!(short(&marks, 21).iter().all(|s| !s.replace("e\u{301}", "").contains('\u{301}')));
    }

    #[test]
    fn names_that_look_alike_are_spelled() {
        let names =
            |names: &[&str]| readable(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>(), &|c| c > '\u{4e00}');
        assert_eq!(names(&["region_captioning", "ocr"]), ["region captioning", "ocr"]);
        assert_eq!(names(&["", " ", "\u{200b}"]), ["(empty)", "<U+0020>", "<U+200B>"]);
        assert_eq!(names(&["a_b", "a b", "c"]), ["a_b", "a b", "c"]);
        assert_eq!(names(&["ab", "a\u{200b}b"]), ["ab", "a<U+200B>b"]);
        assert_eq!(names(&["a\nb", "a b", "a b "]), ["a\\nb", "a b", "a b<U+0020>"]);
        assert_eq!(names(&["\u{5206}", "\u{6d4b}"]), ["<U+5206>", "<U+6D4B>"]);
        assert_eq!(names(&["\u{5206}", "x"]), ["\u{5206}", "x"]);
    }
}
