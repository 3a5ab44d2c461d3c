//! Palettes, whole.

/// Every index its own grey.
pub(super) fn greys() -> [[u8; 3]; 256] {
    std::array::from_fn(|i| [i as u8; 3])
}

/// The colours of all indices: those that are not stored are black, or their own grey where all that are stored are
/// that.
pub(super) fn filled(stored: impl Iterator<Item = [u8; 3]> + Clone) -> [[u8; 3]; 256] {
    if stored.clone().zip(greys()).all(|(colour, grey)| colour == grey) {
        return greys();
    }
    let mut palette = [[0; 3]; 256];
    palette.iter_mut().zip(stored).for_each(|(colour, stored)| *colour = stored);
    palette
}
