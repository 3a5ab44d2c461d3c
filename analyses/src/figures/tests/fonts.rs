//! Other scripts than the built-in font has: the fonts that are named, shaping, and a word about what cannot be drawn.

use super::*;
use std::path::Path;
use std::sync::Arc;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fonts").join(name)
}

fn fonts(names: &[&str]) -> Arc<Fonts> {
    Fonts::open(&names.iter().map(|n| fixture(n)).collect::<Vec<_>>()).unwrap()
}

/// Context clusters whose first task is called `name`.
fn named(name: &str) -> Plot {
    let (root, plots) = plots();
    let plot = plots.iter().find(|p| p.id() == FigureId::ContextClusters).unwrap();
    let text = plot.json(Venue::Cvpr, &[]).unwrap().replace("region_captioning", name);
    let path = root.path().join("sidecar.json");
    std::fs::write(&path, text).unwrap();
    Plot::from_sidecar(&path).unwrap().0
}

#[test]
fn what_no_font_has_is_named_and_a_font_that_has_it_mends_it() {
    let plot = named("检测分割");
    let warning = plot.warnings(Venue::Cvpr).join("\n");
    assert!(warning.contains("检 测 分 (1 more) in a label") && warning.contains("--font FILE"), "{warning}");
    let svg = |plot: &Plot| String::from_utf8(plot.draw(Venue::Cvpr, Format::Svg).unwrap()).unwrap();
    assert!(svg(&plot).contains("\u{25a1}"));
    let plot = plot.with_fonts(fonts(&["Arabic.ttf", "Han.otf"]));
    assert!(plot.warnings(Venue::Cvpr).is_empty());
    assert!(svg(&plot).contains(">检测分割</text>") && svg(&plot).contains("data:font/otf"));
    let pdf = plot.draw(Venue::Cvpr, Format::Pdf).unwrap();
    let has = |what: &[u8]| pdf.windows(what.len()).any(|w| w == what);
    assert!(has(b"/CIDFontType0C") && has(b"/FontFile3") && has(b"FixtureHanRegular") && has(b"/FontFile2"));
    assert!(plot.draw(Venue::Cvpr, Format::Png).unwrap() == plot.draw(Venue::Cvpr, Format::Png).unwrap());
}

#[test]
fn a_sidecar_names_its_fonts_and_says_when_one_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let font = root.path().join("Han.otf");
    std::fs::copy(fixture("Han.otf"), &font).unwrap();
    let plot = named("检测").with_fonts(Fonts::open(&[fixture("Arabic.ttf"), font.clone()]).unwrap());
    let files = plot.save(Venue::Cvpr, &[Format::Svg], root.path(), &["plot".into()]).unwrap();
    let (again, sidecar) = Plot::from_sidecar(&files[2]).unwrap();
    let names: Vec<&str> = sidecar.fonts.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["Liberation Sans", "Fixture Han Regular"], "those that it uses");
    let once_more = again.save(Venue::Cvpr, &[Format::Svg], &root.path().join("again"), &["plot".into()]).unwrap();
    assert_eq!(std::fs::read(&files[0]).unwrap(), std::fs::read(&once_more[0]).unwrap());
    std::fs::copy(fixture("Devanagari.ttf"), &font).unwrap();
    let warnings = Plot::from_sidecar(&files[2]).unwrap().0.warnings(Venue::Cvpr);
    assert!(warnings[0].contains("Fixture Han") && warnings[0].contains("another one now"), "{warnings:?}");
    assert!(warnings[1].contains("检 测 in a label"), "{warnings:?}");
    std::fs::remove_file(&font).unwrap();
    assert!(Plot::from_sidecar(&files[2]).unwrap().0.warnings(Venue::Cvpr)[0].contains("No such file"));
}

#[test]
fn letters_that_join_are_shaped_and_stand_from_right_to_left() {
    let fonts = fonts(&["Arabic.ttf", "Devanagari.ttf"]);
    let runs = fonts.lay("ab عربي 12");
    let texts: Vec<(&str, bool)> = runs.iter().map(|r| (r.text.trim(), r.shaped)).collect();
    assert_eq!(texts, [("ab", false), ("12", false), ("عربي", true)], "{runs:?}");
    let arabic = &runs[2];
    // From left to right the last letter comes first, and none has the shape that it has alone.
    assert!(arabic.glyphs.windows(2).all(|g| g[0].cluster >= g[1].cluster), "{arabic:?}");
    let alone = |c: char| fonts.face(1).glyph_index(c).unwrap().0;
    assert!(arabic.glyphs.iter().any(|g| !"عربي".chars().any(|c| alone(c) == g.id)), "{arabic:?}");
    // The sign of i stands before the letter that it is said after; a half letter joins the next one.
    let hindi = &fonts.lay("हिन्दी")[0];
    assert!(hindi.shaped && hindi.font == 2 && hindi.glyphs.len() < 6, "{hindi:?}");
    let sign = fonts.face(2).glyph_index('\u{93f}').unwrap().0;
    let letter = fonts.face(2).glyph_index('ह').unwrap().0;
    let place = |id: u16| hindi.glyphs.iter().position(|g| g.id == id);
    assert!(place(letter) > Some(0) || place(sign) == Some(0), "{hindi:?}");
    // An accent of its own comes over its letter: no wider than the letter.
    assert_eq!(fonts.width("e\u{301}", 10.0), fonts.width("\u{e9}", 10.0));
    let plot = named("عربي").with_fonts(fonts);
    let svg = String::from_utf8(plot.draw(Venue::Cvpr, Format::Svg).unwrap()).unwrap();
    assert!(svg.contains("aria-label=\"عربي\""));
    assert!(plot.draw(Venue::Cvpr, Format::Pdf).unwrap().starts_with(b"%PDF"));
}

#[test]
fn what_is_no_font_is_refused_by_name() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("font.ttf");
    std::fs::write(&file, "no font").unwrap();
    let refused = |path: PathBuf| Fonts::open(&[path]).unwrap_err().to_string();
    let message = refused(file.clone());
    assert!(message.contains("no TrueType or OpenType font") && message.ends_with("font.ttf"), "{message}");
    assert!(refused(root.path().join("none.ttf")).contains("No such file"));
    let message = refused(PathBuf::from(format!("{}#3", fixture("Han.otf").display())));
    assert!(message.contains("it holds 1 fonts"), "{message}");
    // A font that may not be embedded: the bits of its licence.
    let mut bytes = std::fs::read(fixture("Arabic.ttf")).unwrap();
    let at = bytes.windows(4).position(|w| w == b"OS/2").unwrap();
    let table = u32::from_be_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
    bytes[table + 8..table + 10].copy_from_slice(&[0, 2]);
    std::fs::write(&file, bytes).unwrap();
    assert!(refused(file).contains("forbid embedding"));
}

#[test]
fn controls_are_spaces_and_what_is_not_seen_takes_no_room() {
    let page = Page::new(Venue::Cvpr);
    let canvas = page.canvas((100.0, 100.0));
    assert_eq!(canvas.width("a\nb", 10.0), canvas.width("a b", 10.0));
    assert_eq!(canvas.width("a\u{200b}b\u{feff}", 10.0), canvas.width("ab", 10.0));
    assert!((canvas.width("iiii", 10.0) - 4.0 * 2.22).abs() < 0.05);
    assert_eq!(page.fonts.boxed("a\u{4e2d}b"), ("a\u{25a1}b".to_owned(), vec!['\u{4e2d}']));
}
