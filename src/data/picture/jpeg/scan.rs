//! One scan: coefficients from bits, sequential and progressive, with libjpeg's way of going on after damage.

use super::huffman::{Bits, Codes};
use super::marker::{Reader, Scan, ZIGZAG};

/// What every block of a scan needs.
struct State<'r, 'a> {
    bits: Bits<'a>,
    scan: &'r Scan,
    progressive: bool,
    /// The last DC value of each component of the scan.
    last: [i32; 4],
    /// Blocks that end early and are still to come.
    ended: i32,
}

/// Reads the data of the scan whose header was read last.
pub(super) fn read(reader: &mut Reader<'_>, coefficients: &mut [Vec<i16>]) -> Result<(), String> {
    let Some(frame) = &mut reader.frame else { return Err("a scan comes before the frame header".to_owned()) };
    let scan = &reader.scan;
    if frame.progressive {
        check_progression(scan)?;
        for &(number, _, _) in &scan.parts {
            frame.components[number].missing_bits[scan.band.0..=scan.band.1].fill(scan.low as i8);
        }
    }
    let tables = Tables::new(reader.dc.each_ref(), reader.ac.each_ref(), scan, frame.progressive)?;
    let bits = Bits::new(reader.bytes, reader.at);
    let mut state = State { bits, scan, progressive: frame.progressive, last: [0; 4], ended: 0 };
    let parts: Vec<_> = scan.parts.iter().map(|&(n, _, _)| (n, &frame.components[n])).collect();
    let interleaved = parts.len() > 1;
    let (across, down) = if interleaved {
        (frame.width.div_ceil(frame.most.0 * 8), frame.height.div_ceil(frame.most.1 * 8))
    } else {
        parts[0].1.blocks
    };
    if interleaved && parts.iter().map(|(_, c)| c.sampling.0 * c.sampling.1).sum::<usize>() > 10 {
        return Err("a unit of it has more than 10 blocks".to_owned());
    }
    let (mut to_go, mut next_restart) = (reader.restart_interval, 0);
    for unit in 0..across * down {
        if reader.restart_interval > 0 {
            if to_go == 0 {
                state.restart(&mut next_restart)?;
                to_go = reader.restart_interval;
            }
            to_go -= 1;
        }
        if state.bits.ran_out {
            if reader.restart_interval == 0 {
                break;
            }
            continue;
        }
        let (row, column) = (unit / across, unit % across);
        for (slot, (number, component)) in parts.iter().enumerate() {
            let (h, v) = if interleaved { component.sampling } else { (1, 1) };
            for inside in 0..h * v {
                let place = (row * v + inside / h) * component.stored.0 + column * h + inside % h;
                let block = &mut coefficients[*number][place * 64..place * 64 + 64];
                state.block(block, slot, &tables);
            }
        }
        if state.bits.cut {
            return Err("the file is cut off".to_owned());
        }
    }
    reader.at = state.bits.at;
    reader.pending = state.bits.marker;
    Ok(())
}

fn check_progression(scan: &Scan) -> Result<(), String> {
    let (first, last) = scan.band;
    let band = if first == 0 { last == 0 } else { first <= last && last < 64 && scan.parts.len() == 1 };
    let refines = scan.high == 0 || scan.low + 1 == scan.high;
    if band && refines && scan.low <= 13 { Ok(()) } else { Err("a scan header is damaged".to_owned()) }
}

/// The tables of a scan's components.
struct Tables<'r> {
    dc: Vec<Option<&'r Codes>>,
    ac: Vec<Option<&'r Codes>>,
}

impl<'r> Tables<'r> {
    fn new(
        dc: [&'r Option<Codes>; 4],
        ac: [&'r Option<Codes>; 4],
        scan: &Scan,
        progressive: bool,
    ) -> Result<Self, String> {
        let find = |tables: &[&'r Option<Codes>; 4], number: usize, is_dc: bool| -> Result<Option<&'r Codes>, String> {
            let table = tables.get(number).and_then(|t| t.as_ref());
            let table = table.ok_or_else(|| "a Huffman table is missing".to_owned())?;
            if table.fits(is_dc) { Ok(Some(table)) } else { Err("a Huffman table is damaged".to_owned()) }
        };
        let is_dc_band = scan.band.0 == 0;
        let (wants_dc, wants_ac) = (!progressive || (is_dc_band && scan.high == 0), !progressive || !is_dc_band);
        let mut found = Self { dc: Vec::new(), ac: Vec::new() };
        for &(_, d, a) in &scan.parts {
            found.dc.push(if wants_dc { find(&dc, d, true)? } else { None });
            found.ac.push(if wants_ac { find(&ac, a, false)? } else { None });
        }
        Ok(found)
    }
}

impl State<'_, '_> {
    fn block(&mut self, block: &mut [i16], slot: usize, tables: &Tables<'_>) {
        match (self.progressive, tables.dc[slot], tables.ac[slot]) {
            (false, Some(dc), Some(ac)) => self.sequential(block, slot, dc, ac),
            (true, Some(dc), _) => block[0] = (self.dc(slot, dc) << self.scan.low) as i16,
            (true, None, Some(ac)) if self.scan.high == 0 => self.first(block, ac),
            (true, None, Some(ac)) => self.refine(block, ac),
            _ => {
                if self.bits.take(1) == 1 {
                    block[0] |= 1 << self.scan.low;
                }
            }
        }
    }

    fn dc(&mut self, slot: usize, codes: &Codes) -> i32 {
        let length = self.bits.value(codes);
        let difference = self.bits.signed(length);
        self.last[slot] = self.last[slot].wrapping_add(difference);
        self.last[slot]
    }

    fn sequential(&mut self, block: &mut [i16], slot: usize, dc: &Codes, ac: &Codes) {
        block[0] = self.dc(slot, dc) as i16;
        let mut k = 1;
        while k < 64 {
            let (run, length) = split(self.bits.value(ac));
            if length > 0 {
                k += run;
                block[usize::from(ZIGZAG[k])] = self.bits.signed(length) as i16;
            } else if run == 15 {
                k += 15;
            } else {
                break;
            }
            k += 1;
        }
    }

    /// The first bits of a band.
    fn first(&mut self, block: &mut [i16], ac: &Codes) {
        if self.ended > 0 {
            self.ended -= 1;
            return;
        }
        let mut k = self.scan.band.0;
        while k <= self.scan.band.1 {
            let (run, length) = split(self.bits.value(ac));
            if length > 0 {
                k += run;
                block[usize::from(ZIGZAG[k])] = (self.bits.signed(length) << self.scan.low) as i16;
            } else if run == 15 {
                k += 15;
            } else {
                self.ended = self.run_of_ended(run) - 1;
                break;
            }
            k += 1;
        }
    }

    fn run_of_ended(&mut self, run: usize) -> i32 {
        (1 << run) + if run > 0 { self.bits.take(run as u8) } else { 0 }
    }

    /// One more bit of a band.
    fn refine(&mut self, block: &mut [i16], ac: &Codes) {
        let (first, last) = self.scan.band;
        let one = 1_i16 << self.scan.low;
        let mut k = first;
        if self.ended == 0 {
            while k <= last {
                let (mut run, length) = split(self.bits.value(ac));
                let mut fresh = 0;
                if length > 0 {
                    fresh = if self.bits.take(1) == 1 { one } else { -one };
                } else if run != 15 {
                    self.ended = self.run_of_ended(run);
                    break;
                }
                while k <= last {
                    let value = &mut block[usize::from(ZIGZAG[k])];
                    if *value != 0 {
                        correct(&mut self.bits, value, one);
                    } else if run == 0 {
                        break;
                    } else {
                        run -= 1;
                    }
                    k += 1;
                }
                if fresh != 0 {
                    block[usize::from(ZIGZAG[k])] = fresh;
                }
                k += 1;
            }
        }
        if self.ended > 0 {
            for &place in ZIGZAG.get(k..=last).unwrap_or_default() {
                let value = &mut block[usize::from(place)];
                if *value != 0 {
                    correct(&mut self.bits, value, one);
                }
            }
            self.ended -= 1;
        }
    }

    /// Takes a restart marker, or finds the way back where it is another one than it should be.
    fn restart(&mut self, next: &mut u8) -> Result<(), String> {
        self.bits.align();
        let wanted = *next;
        *next = (wanted + 1) & 7;
        if self.bits.marker.is_none() {
            self.bits.marker = Some(self.find_marker()?);
        }
        while let Some(marker) = self.bits.marker {
            let ahead = |n: u8| 0xD0 + ((wanted + n) & 7);
            if marker == ahead(0) {
                self.bits.marker = None;
            } else if marker < 0xC0 || marker == ahead(7) || marker == ahead(6) {
                self.bits.marker = Some(self.find_marker()?);
                continue;
            } else if (0xD0..=0xD7).contains(&marker) && marker != ahead(1) && marker != ahead(2) {
                self.bits.marker = None;
            }
            break;
        }
        (self.last, self.ended) = ([0; 4], 0);
        if self.bits.marker.is_none() {
            self.bits.ran_out = false;
        }
        Ok(())
    }

    fn find_marker(&mut self) -> Result<u8, String> {
        self.bits.skip_to_marker().ok_or_else(|| "the file is cut off".to_owned())
    }
}

fn correct(bits: &mut Bits<'_>, value: &mut i16, one: i16) {
    if bits.take(1) == 1 && *value & one == 0 {
        *value = value.wrapping_add(if *value >= 0 { one } else { -one });
    }
}

fn split(value: u8) -> (usize, u8) {
    (usize::from(value >> 4), value & 15)
}
