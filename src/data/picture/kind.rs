//! What a file is, by its first bytes.

use serde::{Deserialize, Serialize};
use std::path::Path;

/// Kinds of picture files that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// WebP.
    Webp,
    /// GIF.
    Gif,
    /// BMP.
    Bmp,
    /// TIFF.
    Tiff,
}

/// How other kinds of files begin: bytes, their place, name.
const OTHERS: [(&[u8], usize, &str); 17] = [
    (b"ftypavif", 4, "an AVIF picture"),
    (b"ftyphei", 4, "a HEIC picture"),
    (b"ftypmif1", 4, "a HEIC picture"),
    (b"ftyp", 4, "an MPEG-4 film"),
    (b"\x00\x00\x00\x0CjP  ", 0, "a JPEG 2000 picture"),
    (b"\xFF\x4F\xFF\x51", 0, "a JPEG 2000 picture"),
    (b"\xFF\x0A", 0, "a JPEG XL picture"),
    (b"\x00\x00\x00\x0CJXL ", 0, "a JPEG XL picture"),
    (b"8BPS", 0, "a Photoshop file"),
    (b"\xC5\xD0\xD3\xC6", 0, "an EPS drawing"),
    (b"%PDF", 0, "a PDF file"),
    (b"PK\x03\x04", 0, "a ZIP archive"),
    (b"\x1F\x8B", 0, "a gzip archive"),
    (b"\x00\x00\x01\x00", 0, "an icon"),
    (b"\x93NUMPY", 0, "a NumPy array"),
    (b"RIFF", 0, "a RIFF file other than WebP"),
    (b"\x1A\x45\xDF\xA3", 0, "a Matroska or WebM film"),
];

const KNOWN: &str = "JPEG, PNG, WebP, GIF, BMP and TIFF are read";

impl Kind {
    /// The kind of a file.
    ///
    /// # Errors
    /// It is none of these: what it is instead, and what to do.
    pub fn of(bytes: &[u8]) -> Result<Self, String> {
        let starts = |prefix: &[u8]| bytes.starts_with(prefix);
        if starts(&[0xFF, 0xD8, 0xFF]) {
            return Ok(Self::Jpeg);
        }
        if starts(b"\x89PNG\r\n\x1A\n") {
            return Ok(Self::Png);
        }
        if starts(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
            return Ok(Self::Webp);
        }
        if starts(b"GIF87a") || starts(b"GIF89a") {
            return Ok(Self::Gif);
        }
        if starts(b"II\x2A\0") || starts(b"MM\0\x2A") || starts(b"II\x2B\0") || starts(b"MM\0\x2B") {
            return Ok(Self::Tiff);
        }
        if starts(b"BM") && bytes.get(6..10) == Some(&[0; 4]) {
            return Ok(Self::Bmp);
        }
        Err(instead(bytes))
    }

    /// The kind that the ending of a name stands for, where it stands for one.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match Path::new(name).extension()?.to_str()?.to_lowercase().as_str() {
            "jpg" | "jpeg" | "jpe" | "jfif" => Some(Self::Jpeg),
            "png" | "apng" => Some(Self::Png),
            "webp" => Some(Self::Webp),
            "gif" => Some(Self::Gif),
            "bmp" => Some(Self::Bmp),
            "tif" | "tiff" => Some(Self::Tiff),
            _ => None,
        }
    }

    /// Its usual name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Webp => "WebP",
            Self::Gif => "GIF",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
        }
    }
}

/// What a file is that is none of the pictures.
fn instead(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "the file is empty (0 bytes); fetch it again".to_owned();
    }
    if bytes.starts_with(b"version https://git-lfs") {
        return "a Git LFS pointer stands in place of the picture; fetch it with: git lfs pull".to_owned();
    }
    if bytes.iter().all(|&b| b == 0) {
        return format!("the file is {} zero bytes, a copy that was not finished; fetch it again", bytes.len());
    }
    let head = &bytes[..bytes.len().min(512)];
    if let Some(text) = text(head) {
        let low = text.trim_start().to_lowercase();
        if low.starts_with("<!doctype html") || low.starts_with("<html") || low.contains("<html") {
            return "a web page was saved in place of the picture; fetch it again".to_owned();
        }
        if low.contains("<svg") {
            return format!("an SVG drawing is not read; convert it ({KNOWN})");
        }
        if text.starts_with("%!PS") {
            return format!("a PostScript drawing is not read; convert it ({KNOWN})");
        }
        if text.starts_with("#define") && text.contains("_width") {
            return format!("an XBM picture is not read; convert it ({KNOWN})");
        }
        if text.starts_with("/* XPM */") {
            return format!("an XPM picture is not read; convert it ({KNOWN})");
        }
        let start: String = text.chars().take(40).collect();
        return format!("text stands in place of the picture ({start:?}); fetch it again");
    }
    let other = OTHERS.iter().find(|(magic, at, _)| bytes.get(*at..).is_some_and(|b| b.starts_with(magic)));
    if let Some((_, _, name)) = other {
        return format!("{name} is not read; convert it ({KNOWN})");
    }
    let start: Vec<String> = bytes.iter().take(4).map(|b| format!("{b:02X}")).collect();
    format!("it is no kind of picture that is known here (it begins {}); {KNOWN}", start.join(" "))
}

/// The start of a file as text, if it is some.
fn text(head: &[u8]) -> Option<&str> {
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        // A character may be cut at the end of what is looked at.
        Err(e) if head.len() - e.valid_up_to() < 4 => std::str::from_utf8(&head[..e.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    let control = valid.chars().any(|c| c.is_control() && !c.is_whitespace());
    (!control && !valid.is_empty()).then_some(valid)
}
