//! How large a picture may be. Checked from the header, before anything is allocated.

/// Most pixels of a picture: where Pillow refuses one, too.
pub const MAX_PIXELS: u64 = 2 * 89_478_485;
/// Longest side of a picture.
pub const MAX_SIDE: u64 = 1 << 20;

/// The size, if it is within the limits.
pub(super) fn checked(width: u64, height: u64) -> Result<(u32, u32), String> {
    if width == 0 || height == 0 {
        return Err("it has no pixels".to_owned());
    }
    let problem = |limit: String| Err(format!("its header says {width} x {height} pixels; {limit}; make it smaller"));
    if width.max(height) > MAX_SIDE {
        return problem(format!("a side has at most {MAX_SIDE}"));
    }
    if width * height > MAX_PIXELS {
        return problem(format!("a picture has at most {MAX_PIXELS}"));
    }
    Ok((width as u32, height as u32))
}
