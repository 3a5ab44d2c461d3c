//! The font files of the system, and which of them have some letters.

use fontdb::{Database, FaceInfo, Style};
use skrifa::{FontRef, MetadataProvider};
use std::collections::BTreeSet;

/// A face to draw with.
pub(super) struct Face {
    pub name: String,
    /// The whole file.
    pub bytes: Vec<u8>,
    /// Number of the face in the file.
    pub index: u32,
}

impl std::fmt::Debug for Face {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Face({}, {} bytes)", self.name, self.bytes.len())
    }
}

/// The faces, listed at the first look.
#[derive(Debug, Default)]
pub(super) struct Library {
    faces: Option<Database>,
    #[cfg(test)]
    folders: Option<Vec<std::path::PathBuf>>,
}

/// How a face suits plain text beside the window's own: the least first.
fn rank(face: &FaceInfo) -> (bool, u16, bool, bool, String) {
    let name = face.families.first().map_or(String::new(), |(name, _)| name.clone());
    let upright = face.style == Style::Normal;
    // Of fonts that differ by country alone, that for simplified Chinese.
    (!upright, face.weight.0.abs_diff(400), !name.contains("Sans"), !name.ends_with("SC"), name)
}

impl Library {
    #[cfg(test)]
    pub(super) fn of_folders(folders: Vec<std::path::PathBuf>) -> Self {
        Self { folders: Some(folders), ..Self::default() }
    }

    fn listed(&mut self) -> &Database {
        #[cfg(test)]
        let folders = self.folders.clone();
        self.faces.get_or_insert_with(|| {
            let mut faces = Database::new();
            #[cfg(test)]
            if let Some(folders) = folders {
                folders.iter().for_each(|folder| faces.load_fonts_dir(folder));
                return faces;
            }
            faces.load_system_fonts();
            faces
        })
    }

    /// Faces that have `letters` together, as few as may be, and the letters that no face has.
    pub(super) fn find(&mut self, letters: &BTreeSet<char>) -> (Vec<Face>, BTreeSet<char>) {
        let library = self.listed();
        let mut order: Vec<&FaceInfo> = library.faces().collect();
        order.sort_by_cached_key(|face| rank(face));
        let has = |face: &FaceInfo, letters: &BTreeSet<char>| -> BTreeSet<char> {
            library.with_face_data(face.id, |data, index| drawable(data, index, letters)).unwrap_or_default()
        };
        let (mut left, mut faces) = (letters.clone(), Vec::new());
        let all: Vec<(&FaceInfo, BTreeSet<char>)> = order.into_iter().map(|face| (face, has(face, letters))).collect();
        while !left.is_empty() {
            let best = all.iter().rev().max_by_key(|(_, has)| has.intersection(&left).count());
            let Some((face, has)) = best.filter(|(_, has)| has.intersection(&left).next().is_some()) else { break };
            left = left.difference(has).copied().collect();
            let bytes = library.with_face_data(face.id, |data, _| data.to_vec()).unwrap_or_default();
            faces.push(Face { name: face.post_script_name.clone(), bytes, index: face.index });
        }
        (faces, left)
    }
}

/// Those of `letters` that a face has an outline for: pictures of letters are not drawn by the window.
fn drawable(data: &[u8], index: u32, letters: &BTreeSet<char>) -> BTreeSet<char> {
    let Ok(font) = FontRef::from_index(data, index) else { return BTreeSet::new() };
    let (map, outlines) = (font.charmap(), font.outline_glyphs());
    letters.iter().copied().filter(|c| map.map(*c).is_some_and(|glyph| outlines.get(glyph).is_some())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn a_face_is_found_by_its_letters_and_what_none_has_is_left() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../analyses/assets");
        let mut library = Library::of_folders(vec![folder]);
        let (faces, left) = library.find(&BTreeSet::from(['\u{05D0}', 'a', '检']));
        assert_eq!(faces.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["LiberationSans"]);
        assert!(faces[0].bytes.len() > 10_000 && left == BTreeSet::from(['检']));
        let (none, left) = Library::of_folders(Vec::new()).find(&BTreeSet::from(['a']));
        assert!(none.is_empty() && left.len() == 1);
    }
}
