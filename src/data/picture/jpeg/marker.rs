//! The segments of a JPEG, walked one by one from the start: a marker inside a segment (the end of an EXIF thumbnail)
//! is none of the file's.

use super::huffman::Codes;

/// Order in which a block's coefficients are stored; further places, which only damage leads to, are the last one.
pub(super) const ZIGZAG: [u8; 80] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63,
];

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// The header of a scan; its data follow.
    Scan,
    /// The end of the file.
    End,
    /// Anything else, taken note of.
    Other,
}

/// A component of the frame.
#[derive(Clone, Debug)]
pub(super) struct Component {
    pub id: u8,
    /// Samples across and down in a unit of the frame.
    pub sampling: (usize, usize),
    pub table_number: usize,
    /// The quantisation table, as it was when the first scan showed the component.
    pub table: Option<[u16; 64]>,
    /// Samples across and down that belong to the picture.
    pub samples: (usize, usize),
    /// Blocks across and down that hold them.
    pub blocks: (usize, usize),
    /// Blocks across and down that are stored: whole units.
    pub stored: (usize, usize),
    /// Bits still to come of every coefficient, in stored order; negative before its first scan.
    pub missing_bits: [i8; 64],
}

/// The frame header.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub width: usize,
    pub height: usize,
    pub progressive: bool,
    pub components: Vec<Component>,
    /// Largest sampling factors.
    pub most: (usize, usize),
}

impl Frame {
    /// Whether libjpeg would guess coefficients that no scan brought: a guess is no picture to train on.
    pub(super) fn is_unfinished(&self) -> bool {
        let known = self.components.iter().all(|c| c.missing_bits[0] >= 0);
        known && self.components.iter().any(|c| c.missing_bits[1..10].iter().any(|&b| b != 0))
    }
}

/// The header of a scan.
#[derive(Clone, Debug, Default)]
pub(super) struct Scan {
    /// Components by number, each with its tables for DC and AC.
    pub parts: Vec<(usize, usize, usize)>,
    /// First and last coefficient.
    pub band: (usize, usize),
    /// Bits known before, bits to come after.
    pub high: u8,
    pub low: u8,
}

/// Walks a file.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
    /// A marker that was met inside a scan.
    pub pending: Option<u8>,
    pub frame: Option<Frame>,
    pub scan: Scan,
    pub has_scan: bool,
    pub has_several_scans: bool,
    pub restart_interval: usize,
    pub tables: [Option<[u16; 64]>; 4],
    pub dc: [Option<Codes>; 4],
    pub ac: [Option<Codes>; 4],
    pub jfif: bool,
    pub adobe: Option<u8>,
    pub exif: Vec<u8>,
    pub xmp: Option<Vec<u8>>,
}

const CUT: &str = "the file is cut off";

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, String> {
        if !bytes.starts_with(&[0xFF, 0xD8]) {
            return Err("it does not start as a JPEG does".to_owned());
        }
        Ok(Self {
            bytes,
            at: 2,
            pending: None,
            frame: None,
            scan: Scan::default(),
            has_scan: false,
            has_several_scans: false,
            restart_interval: 0,
            tables: [None; 4],
            dc: [None, None, None, None],
            ac: [None, None, None, None],
            jfif: false,
            adobe: None,
            exif: Vec::new(),
            xmp: None,
        })
    }

    /// Moves behind the next marker and returns it. What lies before it is skipped.
    pub(super) fn marker(&mut self) -> Result<u8, String> {
        if let Some(marker) = self.pending.take() {
            return Ok(marker);
        }
        loop {
            let from = self.bytes.get(self.at..).unwrap_or_default();
            let Some(start) = from.iter().position(|&b| b == 0xFF) else { return Err(CUT.to_owned()) };
            let Some(fill) = from[start..].iter().position(|&b| b != 0xFF) else { return Err(CUT.to_owned()) };
            self.at += start + fill + 1;
            if from[start + fill] != 0 {
                return Ok(from[start + fill]);
            }
        }
    }

    /// Whether another marker is there.
    pub(super) fn has_marker(&self) -> bool {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let is_marker = |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xFF);
        self.pending.is_some() || rest.windows(2).any(is_marker)
    }

    /// The content of a segment, behind its length.
    fn content(&mut self, may_be_short: bool) -> Result<&'a [u8], String> {
        let &[high, low] = self.bytes.get(self.at..self.at + 2).ok_or(CUT)? else { return Err(CUT.to_owned()) };
        let stored = usize::from(u16::from_be_bytes([high, low]));
        if stored < 2 && !may_be_short {
            return Err("a segment is damaged".to_owned());
        }
        let length = stored.max(2);
        let content = self.bytes.get(self.at + 2..self.at + length).ok_or(CUT)?;
        self.at += length;
        Ok(content)
    }

    /// Reads the next segment.
    pub(super) fn next(&mut self) -> Result<Segment, String> {
        let marker = self.marker()?;
        match marker {
            0xD9 => return Ok(Segment::End),
            0xD0..=0xD7 => return Ok(Segment::Other),
            0xD8 => return Err("a second picture begins inside it".to_owned()),
            0x01..=0xBF => return Err(format!("it has a marker that no JPEG has (FF{marker:02X})")),
            _ => {}
        }
        let content = self.content(matches!(marker, 0xE0..=0xEF | 0xFE))?;
        match marker {
            0xC0..=0xC2 => self.start_frame(content, marker == 0xC2)?,
            0xC4 => self.codes(content)?,
            0xC9 | 0xCA | 0xCC => {
                return Err("its arithmetic coding is not read here; save it with Huffman coding".to_owned());
            }
            0xC3 | 0xC5..=0xC8 | 0xCB | 0xCD..=0xCF => {
                return Err(format!("its kind of coding is not read here (FF{marker:02X}); save it as baseline JPEG"));
            }
            0xDB => self.quantisation(content)?,
            0xDD => {
                let &[high, low] = content else { return Err("its restart interval is damaged".to_owned()) };
                self.restart_interval = usize::from(u16::from_be_bytes([high, low]));
            }
            0xDA => {
                self.start_scan(content)?;
                self.has_scan = true;
                return Ok(Segment::Scan);
            }
            // What stands behind the first scan's head is read by nobody.
            0xE0..=0xEF if !self.has_scan => self.note(marker, content),
            0xE0..=0xEF | 0xDC | 0xFE => {}
            _ => return Err(format!("it has a marker that no JPEG has (FF{marker:02X})")),
        }
        Ok(Segment::Other)
    }

    /// Takes note of what the applications' segments say.
    fn note(&mut self, marker: u8, content: &[u8]) {
        match marker {
            0xE0 if content.starts_with(b"JFIF\0") && content.len() >= 14 => self.jfif = true,
            0xEE if content.starts_with(b"Adobe") && content.len() >= 12 => self.adobe = Some(content[11]),
            0xE1 => {
                if let Some(exif) = content.strip_prefix(b"Exif\0\0") {
                    self.exif.extend(exif);
                } else if let Some(xmp) = content.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0") {
                    self.xmp = Some(xmp.to_vec());
                }
            }
            _ => {}
        }
    }

    fn quantisation(&mut self, mut content: &[u8]) -> Result<(), String> {
        let damaged = || "a quantisation table is damaged".to_owned();
        while let Some((&head, rest)) = content.split_first() {
            let wide = head >> 4 != 0;
            let slot = self.tables.get_mut(usize::from(head & 15)).ok_or_else(damaged)?;
            let size = if wide { 128 } else { 64 };
            let values = rest.get(..size).ok_or_else(damaged)?;
            let mut table = [0; 64];
            for (i, &place) in ZIGZAG[..64].iter().enumerate() {
                table[usize::from(place)] =
                    if wide { u16::from_be_bytes([values[2 * i], values[2 * i + 1]]) } else { u16::from(values[i]) };
            }
            *slot = Some(table);
            content = &rest[size..];
        }
        Ok(())
    }

    fn codes(&mut self, mut content: &[u8]) -> Result<(), String> {
        let damaged = || "a Huffman table is damaged".to_owned();
        while content.len() > 16 {
            let (head, counts) = (content[0], &content[1..17]);
            let total: usize = counts.iter().map(|&n| usize::from(n)).sum();
            let values = content.get(17..17 + total).filter(|v| v.len() <= 256).ok_or_else(damaged)?;
            let tables = if head & 0x10 == 0 { &mut self.dc } else { &mut self.ac };
            let slot = tables.get_mut(usize::from(head & !0x10)).ok_or_else(damaged)?;
            *slot = Some(Codes::new(counts, values));
            content = &content[17 + total..];
        }
        if content.is_empty() { Ok(()) } else { Err(damaged()) }
    }

    fn start_frame(&mut self, content: &[u8], progressive: bool) -> Result<(), String> {
        let damaged = || "its frame header is damaged".to_owned();
        if self.frame.is_some() {
            return Err("it has two frame headers".to_owned());
        }
        let &[bits, h1, h0, w1, w0, count, ref parts @ ..] = content else { return Err(damaged()) };
        let (height, width) = (usize::from(u16::from_be_bytes([h1, h0])), usize::from(u16::from_be_bytes([w1, w0])));
        if bits != 8 {
            return Err(format!("it has {bits} bits a sample; only 8 are read"));
        }
        if !matches!(count, 1 | 3 | 4) {
            return Err(format!("it has {count} components; 1, 3 or 4 are read"));
        }
        if parts.len() != usize::from(count) * 3 {
            return Err(damaged());
        }
        if width == 0 || height == 0 {
            return Err("it has no pixels".to_owned());
        }
        if width.max(height) > 65_500 {
            return Err(format!("it says {width} x {height} pixels; a side has at most 65,500"));
        }
        let sampling: Vec<(usize, usize)> =
            parts.chunks(3).map(|p| (usize::from(p[1] >> 4), usize::from(p[1] & 15))).collect();
        if sampling.iter().any(|&(h, v)| !(1..=4).contains(&h) || !(1..=4).contains(&v)) {
            return Err(damaged());
        }
        let most = sampling.iter().fold((1, 1), |m, s| (m.0.max(s.0), m.1.max(s.1)));
        let units = (width.div_ceil(most.0 * 8), height.div_ceil(most.1 * 8));
        let component = |(part, &(h, v)): (&[u8], &(usize, usize))| {
            let samples = ((width * h).div_ceil(most.0), (height * v).div_ceil(most.1));
            Component {
                id: part[0],
                sampling: (h, v),
                table_number: usize::from(part[2]),
                table: None,
                samples,
                blocks: ((width * h).div_ceil(most.0 * 8), (height * v).div_ceil(most.1 * 8)),
                stored: (units.0 * h, units.1 * v),
                missing_bits: [-1; 64],
            }
        };
        let components = parts.chunks(3).zip(&sampling).map(component).collect();
        self.frame = Some(Frame { width, height, progressive, components, most });
        Ok(())
    }

    fn start_scan(&mut self, content: &[u8]) -> Result<(), String> {
        let damaged = || "a scan header is damaged".to_owned();
        let frame = self.frame.as_mut().ok_or_else(|| "a scan comes before the frame header".to_owned())?;
        let (&count, rest) = content.split_first().ok_or_else(damaged)?;
        let count = usize::from(count);
        if !(1..=4).contains(&count) || rest.len() != count * 2 + 3 {
            return Err(damaged());
        }
        let (parts, settings) = rest.split_at(count * 2);
        let mut taken = [false; 4];
        let mut scan = Scan { high: settings[2] >> 4, low: settings[2] & 15, ..Scan::default() };
        scan.band = (usize::from(settings[0]), usize::from(settings[1]));
        for (slot, part) in parts.chunks(2).enumerate() {
            let free = |i: &usize| !taken[*i];
            let mut named = (0..frame.components.len()).filter(|&i| frame.components[i].id == part[0]);
            let number = named.find(free).ok_or_else(damaged)?;
            if scan.parts.iter().any(|&(n, _, _)| n == number) {
                return Err(damaged());
            }
            // Filled by place of the scan, as libjpeg does.
            taken[slot] = true;
            scan.parts.push((number, usize::from(part[1] >> 4), usize::from(part[1] & 15)));
        }
        for &(number, _, _) in &scan.parts {
            let component = &mut frame.components[number];
            if component.table.is_none() {
                let table = self.tables.get(component.table_number).copied().flatten();
                component.table = Some(table.ok_or_else(|| "a quantisation table is missing".to_owned())?);
            }
        }
        if !self.has_several_scans {
            self.has_several_scans = frame.progressive || scan.parts.len() < frame.components.len();
        }
        self.scan = scan;
        Ok(())
    }
}
