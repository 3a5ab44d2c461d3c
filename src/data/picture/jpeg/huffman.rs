//! Huffman codes and the bits of a scan.

/// Bits that a code is looked up by.
const LOOK: u32 = 8;

/// A Huffman table.
#[derive(Clone, Debug)]
pub(super) struct Codes {
    /// Length and value of the codes of up to 8 bits by their first bits; a length of 0 for longer ones.
    quick: Vec<(u8, u8)>,
    /// Largest code of every length, negative where there is none.
    largest: [i32; 18],
    /// Place of a length's values, less its smallest code.
    offset: [i32; 18],
    values: [u8; 256],
    /// Whether the codes fit their lengths.
    sound: bool,
    largest_value: u8,
}

impl Codes {
    /// From the number of codes of each length 1..=16 and their values in order.
    pub(super) fn new(counts: &[u8], in_order: &[u8]) -> Self {
        let mut values = [0; 256];
        values[..in_order.len()].copy_from_slice(in_order);
        let largest_value = in_order.iter().copied().max().unwrap_or(0);
        let mut table =
            Self { quick: vec![(0, 0); 256], largest: [-1; 18], offset: [0; 18], values, sound: true, largest_value };
        let (mut code, mut place) = (0_i32, 0_i32);
        for (length, &count) in (1_u32..).zip(counts) {
            let count = i32::from(count);
            if count > 0 {
                table.offset[length as usize] = place - code;
                // A code of ones alone is never used.
                table.sound &= code + count < 1 << length;
                for i in (0..count).filter(|_| length <= LOOK) {
                    let start = ((code + i) as usize) << (LOOK - length);
                    let end = (start + (1 << (LOOK - length))).min(256);
                    let value = values[(place + i) as usize & 255];
                    table.quick[start.min(256)..end].fill((length as u8, value));
                }
                code += count;
                place += count;
                table.largest[length as usize] = code - 1;
            }
            code <<= 1;
        }
        table.largest[17] = i32::MAX;
        table
    }

    /// Whether a scan can be read with the table: its codes fit, and so do the lengths that a DC table holds.
    pub(super) fn fits(&self, is_dc: bool) -> bool {
        self.sound && !(is_dc && self.largest_value > 15)
    }
}

/// Reads the bits of a scan up to the next marker, and zeros behind it.
#[derive(Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    pub at: usize,
    pub marker: Option<u8>,
    held: u64,
    count: u32,
    /// More bits were wanted than there are before the marker.
    pub ran_out: bool,
    /// The file ends before a marker does: nothing more can be said.
    pub cut: bool,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, marker: None, held: 0, count: 0, ran_out: false, cut: false }
    }

    /// Forgets what is left of a byte.
    pub(super) fn align(&mut self) {
        (self.held, self.count) = (0, 0);
    }

    /// Fills up to 57 bits. libjpeg waits for more bytes where a file ends before it has them, needed or not.
    fn fill(&mut self) {
        while self.count <= 56 && self.marker.is_none() {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(&byte) = rest.first() else {
                self.cut = true;
                return;
            };
            if byte == 0xFF {
                let Some(fill) = rest.iter().position(|&b| b != 0xFF) else {
                    self.cut = true;
                    return;
                };
                self.at += fill + 1;
                if rest[fill] != 0 {
                    self.marker = Some(rest[fill]);
                    return;
                }
            } else {
                self.at += 1;
            }
            self.held = (self.held << 8) | u64::from(byte);
            self.count += 8;
        }
    }

    /// Makes sure of `n` bits, with zeros where the data end.
    fn want(&mut self, n: u32) {
        if self.count >= n {
            return;
        }
        self.fill();
        if self.count < n {
            self.ran_out = true;
            let more = 57 - self.count;
            self.held <<= more;
            self.count = 57;
        }
    }

    fn peek(&self, n: u32) -> u32 {
        ((self.held >> (self.count - n)) & ((1 << n) - 1)) as u32
    }

    /// The next `n` bits.
    pub(super) fn take(&mut self, n: u8) -> i32 {
        let n = u32::from(n);
        self.want(n);
        let bits = self.peek(n);
        self.count -= n;
        bits as i32
    }

    /// The next `n` bits as a number that may be negative.
    pub(super) fn signed(&mut self, n: u8) -> i32 {
        if n == 0 {
            return 0;
        }
        let bits = self.take(n);
        if bits < 1 << (n - 1) { bits - (1 << n) + 1 } else { bits }
    }

    /// The value of the next code; 0 where no code is as long.
    pub(super) fn value(&mut self, codes: &Codes) -> u8 {
        if self.count < LOOK {
            self.fill();
        }
        let mut length = 1;
        if self.count >= LOOK {
            let (found, value) = codes.quick[self.peek(LOOK) as usize];
            if found > 0 {
                self.count -= u32::from(found);
                return value;
            }
            length = 9;
        }
        let mut code = self.take(length);
        while code > codes.largest[usize::from(length)] {
            code = (code << 1) | self.take(1);
            length += 1;
        }
        if length > 16 {
            return 0;
        }
        codes.values[(code + codes.offset[usize::from(length)]) as usize & 255]
    }
}

impl Bits<'_> {
    /// Moves behind the next marker and returns it; `None` at the end of the file.
    pub(super) fn skip_to_marker(&mut self) -> Option<u8> {
        loop {
            let from = self.bytes.get(self.at..)?;
            let start = from.iter().position(|&b| b == 0xFF)?;
            let fill = from[start..].iter().position(|&b| b != 0xFF)?;
            self.at += start + fill + 1;
            if from[start + fill] != 0 {
                return Some(from[start + fill]);
            }
        }
    }
}
