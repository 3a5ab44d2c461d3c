//! A figure as a list of shapes in points (1/72 in) from the top left corner: what SVG, PDF and PNG are written from.

use super::color::INK;
use super::fonts::Fonts;
use super::page::Page;
use crate::names;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use unicode_segmentation::UnicodeSegmentation;

/// A point in pt from the top left corner.
pub(super) type Point = (f64, f64);

/// A colour: red, green, blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rgb(pub u8, pub u8, pub u8);

impl Rgb {
    /// `part` of the way to `other`.
    pub(super) fn mix(self, other: Self, part: f64) -> Self {
        let part = part.clamp(0.0, 1.0);
        let one = |a: u8, b: u8| f64::from(b).mul_add(part, f64::from(a) * (1.0 - part)).round() as u8;
        Self(one(self.0, other.0), one(self.1, other.1), one(self.2, other.2))
    }
}

/// Lengths of strokes and gaps, in line widths; empty for a solid line.
pub(super) type Dash = &'static [f64];

/// A picture, row by row from the top.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pixels {
    pub width: usize,
    pub height: usize,
    /// Red, green, blue, alpha: 4 bytes a pixel.
    pub rgba: Vec<u8>,
}

impl Pixels {
    pub(super) fn opaque(&self) -> bool {
        self.rgba.chunks_exact(4).all(|p| p[3] == u8::MAX)
    }
}

/// A shape.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// A line through points, round joins, butt ends; the dash in pt.
    Line { points: Vec<Point>, color: Rgb, width: f64, dash: Vec<f64> },
    /// A filled polygon.
    Polygon { points: Vec<Point>, color: Rgb },
    /// A filled rectangle.
    Rect { from: Point, to: Point, color: Rgb },
    /// A filled disc.
    Disc { at: Point, radius: f64, color: Rgb },
    /// Text whose baseline begins at `at`; upwards if `up`.
    Text { text: String, at: Point, size: f64, color: Rgb, up: bool },
    /// A picture over a rectangle; smoothed or with hard edges.
    Image { from: Point, to: Point, pixels: Arc<Pixels>, smooth: bool },
}

/// Which part of a text lies at its point, across.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Across {
    Left,
    Center,
    Right,
}

/// Which part of a text lies at its point, along the height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Along {
    Top,
    Middle,
    Bottom,
}

/// The shape of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Disc,
    Square,
    Triangle,
    Diamond,
    Down,
    Plus,
    Cross,
    Star,
    Bar,
    Hexagon,
    /// Smaller than all others: what has no mark of its own.
    Dot,
}

impl Shape {
    pub(super) const ALL: [Self; 10] = [
        Self::Disc,
        Self::Square,
        Self::Triangle,
        Self::Diamond,
        Self::Plus,
        Self::Down,
        Self::Cross,
        Self::Star,
        Self::Hexagon,
        Self::Bar,
    ];

    /// Corners around the origin for a mark as large as a disc of radius 1; none for the disc itself.
    pub(super) fn corners(self) -> Vec<Point> {
        let turned = |n: usize, start: f64, radius: f64| {
            let corner = |i: usize| {
                let angle = std::f64::consts::TAU.mul_add(i as f64 / n as f64, start);
                (radius * angle.cos(), radius * angle.sin())
            };
            (0..n).map(corner).collect::<Vec<_>>()
        };
        let up = -std::f64::consts::FRAC_PI_2;
        match self {
            Self::Disc => Vec::new(),
            Self::Dot => turned(8, 0.0, 0.5),
            Self::Square => vec![(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
            Self::Triangle => turned(3, up, 1.3),
            Self::Down => turned(3, -up, 1.3),
            Self::Diamond => turned(4, up, 1.25),
            Self::Hexagon => turned(6, 0.0, 1.1),
            Self::Star => {
                let outer = turned(5, up, 1.4);
                let inner = turned(5, up + std::f64::consts::PI / 5.0, 0.6);
                outer.into_iter().zip(inner).flat_map(|(o, i)| [o, i]).collect()
            }
            Self::Plus | Self::Cross => {
                let (long, thin) = (1.2, 0.4);
                let plus = [
                    (-thin, -long),
                    (thin, -long),
                    (thin, -thin),
                    (long, -thin),
                    (long, thin),
                    (thin, thin),
                    (thin, long),
                    (-thin, long),
                    (-thin, thin),
                    (-long, thin),
                    (-long, -thin),
                    (-thin, -thin),
                ];
                let slant = std::f64::consts::FRAC_1_SQRT_2;
                let turn = |(x, y): Point| ((x - y) * slant, (x + y) * slant);
                if self == Self::Cross { plus.map(turn).to_vec() } else { plus.to_vec() }
            }
            Self::Bar => vec![(-1.3, -0.5), (1.3, -0.5), (1.3, 0.5), (-1.3, 0.5)],
        }
    }
}

/// A finished drawing.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    /// Width and height in pt.
    pub size: Point,
    pub items: Vec<Item>,
    pub fonts: Arc<Fonts>,
    pub missing: Missing,
}

/// What no font has.
#[derive(Clone, Debug, Default)]
pub(super) struct Missing {
    /// In the order in which they came.
    pub characters: Vec<char>,
    pub labels: BTreeSet<String>,
}

impl Missing {
    fn note(&mut self, label: &str, characters: impl IntoIterator<Item = char>) {
        for c in characters {
            self.labels.insert(label.to_owned());
            if !self.characters.contains(&c) {
                self.characters.push(c);
            }
        }
    }
}

/// Where a figure is drawn.
#[derive(Debug)]
pub(super) struct Canvas {
    items: Vec<Item>,
    /// Size of ordinary text in pt.
    pub small: f64,
    /// Size of axis titles in pt.
    pub title: f64,
    /// Size of the area in pt.
    pub size: Point,
    /// What it is drawn for.
    pub page: Page,
    missing: RefCell<Missing>,
}

impl Canvas {
    pub(super) fn new(page: &Page, size: Point) -> Self {
        let (small, title) = (page.venue.small(), page.venue.font_size());
        Self { items: Vec::new(), small, title, size, page: page.clone(), missing: RefCell::default() }
    }

    pub(super) fn finish(self) -> Scene {
        Scene { size: self.size, items: self.items, fonts: self.page.fonts, missing: self.missing.into_inner() }
    }

    /// A line through `points`, `width` pt thick. What is not finite breaks it; a point alone between breaks is a disc.
    pub(super) fn line(&mut self, points: &[Point], color: Rgb, width: f64) {
        self.dashed(points, color, width, &[]);
    }

    /// The same with a dash.
    pub(super) fn dashed(&mut self, points: &[Point], color: Rgb, width: f64, dash: Dash) {
        for part in points.split(|p| !(p.0.is_finite() && p.1.is_finite())).filter(|p| !p.is_empty()) {
            if let [at] = part {
                self.mark(Shape::Disc, *at, (0.9 * width).max(0.7), color);
                continue;
            }
            let dash = dash.iter().map(|d| d * width.max(0.8)).collect();
            self.items.push(Item::Line { points: part.to_vec(), color, width, dash });
        }
    }

    /// A filled rectangle.
    pub(super) fn rect(&mut self, from: Point, to: Point, color: Rgb) {
        self.items.push(Item::Rect { from, to, color });
    }

    /// The outline of a rectangle.
    pub(super) fn outline(&mut self, from: Point, to: Point, color: Rgb, width: f64) {
        self.line(&[from, (to.0, from.1), to, (from.0, to.1), from, (to.0, from.1)], color, width);
    }

    /// A filled polygon.
    pub(super) fn polygon(&mut self, points: Vec<Point>, color: Rgb) {
        self.items.push(Item::Polygon { points, color });
    }

    /// A mark about as large as a disc of `radius` pt.
    pub(super) fn mark(&mut self, shape: Shape, at: Point, radius: f64, color: Rgb) {
        if shape == Shape::Disc {
            self.items.push(Item::Disc { at, radius, color });
        } else {
            let corner = |(x, y): Point| (radius.mul_add(x, at.0), radius.mul_add(y, at.1));
            self.polygon(shape.corners().into_iter().map(corner).collect(), color);
        }
    }

    /// A picture.
    pub(super) fn image(&mut self, from: Point, to: Point, pixels: Arc<Pixels>, smooth: bool) {
        self.items.push(Item::Image { from, to, pixels, smooth });
    }

    /// Text of `size` pt anchored at `at`.
    pub(super) fn text(&mut self, text: &str, at: Point, size: f64, anchor: (Across, Along), color: Rgb) {
        let width = self.width(text, size);
        let left = match anchor.0 {
            Across::Left => at.0,
            Across::Center => at.0 - width / 2.0,
            Across::Right => at.0 - width,
        };
        self.push_text(text, (left, at.1 + baseline(anchor.1, size)), size, color, false);
    }

    /// Text that reads upwards, centred at `at`; cut where it is longer than the figure is high.
    pub(super) fn upwards(&mut self, text: &str, at: Point, size: f64, color: Rgb) {
        let text = self.fit(text, size, self.size.1);
        let half = self.width(&text, size) / 2.0;
        let middle = if half > at.1 { half } else { at.1.min(self.size.1.max(half) - half) };
        self.upwards_from(&text, (at.0, middle + half), size, color);
    }

    /// Text that reads upwards from `at`.
    pub(super) fn upwards_from(&mut self, text: &str, at: Point, size: f64, color: Rgb) {
        self.push_text(text, (at.0 + baseline(Along::Middle, size), at.1), size, color, true);
    }

    /// Words below all else, for which the area grows.
    pub(super) fn below(&mut self, words: &str) {
        for line in self.wrap(words, self.small, self.size.0 - 8.0, 2) {
            let at = (4.0, self.size.1 + self.small * 0.1);
            self.size.1 += self.small * 1.2;
            self.text(&line, at, self.small, (Across::Left, Along::Top), INK);
        }
    }

    /// Names as they are shown in `room` pt: cut where they do not differ, no two alike.
    pub(super) fn names(&self, names: &[String], size: f64, room: f64) -> Vec<String> {
        self.short(&self.readable(names), size, room)
    }

    /// Names as they are shown where there is room.
    pub(super) fn readable(&self, names: &[String]) -> Vec<String> {
        let lacks = |c: char| !self.page.fonts.has(c);
        let readable = names::readable(names, &lacks);
        // What is spelled is not seen to be missing when it is drawn.
        for (name, _) in names.iter().zip(&readable).filter(|(_, r)| r.contains("<U+")) {
            self.missing.borrow_mut().note(name, name.chars().filter(|c| lacks(*c)));
        }
        readable
    }

    /// Texts, each in `room` pt, no two alike.
    pub(super) fn short(&self, texts: &[String], size: f64, room: f64) -> Vec<String> {
        let texts: Vec<String> = texts.iter().map(|t| Fonts::clean(t)).collect();
        names::shorten(&texts, &|text| self.width(text, size) <= room)
    }

    fn push_text(&mut self, text: &str, at: Point, size: f64, color: Rgb, up: bool) {
        let (text, missing) = self.page.fonts.boxed(&Fonts::clean(text));
        if !text.trim().is_empty() {
            self.missing.borrow_mut().note(&text, missing);
            self.items.push(Item::Text { text, at, size, color, up });
        }
    }

    /// Width of `text` in pt.
    pub(super) fn width(&self, text: &str, size: f64) -> f64 {
        self.page.fonts.width(&Fonts::clean(text), size)
    }

    /// The beginning of `text` that fits into `room` pt, with an ellipsis where something is left out.
    pub(super) fn fit(&self, text: &str, size: f64, room: f64) -> String {
        let text = Fonts::clean(text);
        if self.width(&text, size) <= room {
            return text;
        }
        let mut kept: Vec<&str> = text.graphemes(true).collect();
        // More than that many letters are never looked at: none is thinner than a tenth of its height.
        kept.truncate((room.max(0.0) / size * 10.0) as usize + 1);
        while !kept.is_empty() {
            kept.pop();
            let shorter = kept.concat().trim_end().to_owned() + "\u{2026}";
            if self.width(&shorter, size) <= room {
                return shorter;
            }
        }
        String::new()
    }

    /// `text` in lines of at most `room` pt and at most `lines` lines; the last ends in an ellipsis if something is left.
    pub(super) fn wrap(&self, text: &str, size: f64, room: f64, lines: usize) -> Vec<String> {
        let text = Fonts::clean(text);
        let mut words = text.split_whitespace().collect::<std::collections::VecDeque<_>>();
        let mut done = Vec::new();
        while !words.is_empty() && done.len() < lines {
            if done.len() + 1 == lines {
                done.push(self.fit(&words.make_contiguous().join(" "), size, room));
                break;
            }
            let mut line = words.pop_front().unwrap_or_default().to_owned();
            while let Some(next) = words.front() {
                let longer = format!("{line} {next}");
                if self.width(&longer, size) > room {
                    break;
                }
                line = longer;
                words.pop_front();
            }
            done.push(self.fit(&line, size, room));
        }
        done
    }
}

/// How far below the anchor the baseline lies: the font's capitals are 0.73 em high, its descenders 0.21.
fn baseline(along: Along, size: f64) -> f64 {
    size * match along {
        Along::Top => 0.76,
        Along::Middle => 0.35,
        Along::Bottom => -0.21,
    }
}
