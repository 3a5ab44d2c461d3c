//! Letters that the built-in fonts lack: a font of the system is looked for behind the window when such a text is drawn.

mod library;
mod scripts;

use crate::jobs::{Spawner, Work};
use egui::{Context, FallbackRequest, FontData, FontFamily, FontInsert, FontPriority, FontProvider, InsertFontFamily};
use library::{Face, Library};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What no font had so far, filled while text is laid out.
type Wanted = Arc<Mutex<BTreeSet<char>>>;

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes down what the installed fonts lack; reading font files would hold up the frame.
struct Notice(Wanted);

impl FontProvider for Notice {
    fn font_for(&self, request: &FallbackRequest<'_>) -> Option<FontInsert> {
        lock(&self.0).extend(request.cluster.chars().next());
        None
    }
}

/// What was found for some letters.
#[derive(Debug)]
struct Found {
    faces: Vec<Face>,
    /// Letters that no font has.
    missing: BTreeSet<char>,
}

/// The fonts of the system.
#[derive(Debug, Default)]
pub(crate) struct Fonts {
    wanted: Wanted,
    /// Read at the first need.
    library: Arc<Mutex<Library>>,
    /// Letters that were looked for.
    sought: BTreeSet<char>,
    work: Work<Found>,
    noticed: bool,
    missing: BTreeSet<char>,
    /// Scripts of which it was read that they are missing.
    read: BTreeSet<&'static str>,
}

impl Fonts {
    /// Those of some folders in place of the system's.
    #[cfg(test)]
    pub(crate) fn of_folders(folders: Vec<std::path::PathBuf>) -> Self {
        Self { library: Arc::new(Mutex::new(Library::of_folders(folders))), ..Self::default() }
    }

    /// Looks for what text in this window lacked so far, and installs what was found.
    pub(crate) fn refresh(&mut self, ctx: &Context, spawner: &Spawner) {
        if !std::mem::replace(&mut self.noticed, true) {
            // What came before this is asked again by the fonts themselves.
            ctx.set_font_providers(vec![Arc::new(Notice(Arc::clone(&self.wanted)))]);
        }
        self.receive(ctx);
        if self.work.busy() {
            return;
        }
        let wanted: BTreeSet<char> = lock(&self.wanted).iter().copied().filter(|c| scripts::is_drawn(*c)).collect();
        let news: BTreeSet<char> = wanted.difference(&self.sought).copied().collect();
        if news.is_empty() {
            return;
        }
        self.sought.extend(&news);
        let library = Arc::clone(&self.library);
        self.work.start(spawner, move |_| {
            let (faces, missing) = lock(&library).find(&news);
            Some(Found { faces, missing })
        });
        self.receive(ctx);
    }

    fn receive(&mut self, ctx: &Context) {
        let Some(found) = self.work.poll() else { return };
        self.missing.extend(found.missing);
        for Face { name, bytes, index } in found.faces {
            let family = |family| InsertFontFamily { family, priority: FontPriority::Lowest };
            let families = vec![family(FontFamily::Proportional), family(FontFamily::Monospace)];
            let data = FontData { index, ..FontData::from_owned(bytes) };
            ctx.add_font(FontInsert::new(&name, data, families));
        }
        ctx.request_repaint();
    }

    /// Takes it that what is missing was read: each script is said once.
    pub(crate) fn read(&mut self) {
        self.read.extend(self.missing.iter().map(|letter| scripts::of(*letter).0));
    }

    /// What cannot be drawn, a line for each script.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut by_script: BTreeMap<(&str, &str), Vec<char>> = BTreeMap::new();
        for letter in self.missing.iter().filter(|letter| !self.read.contains(scripts::of(**letter).0)) {
            by_script.entry(scripts::of(*letter)).or_default().push(*letter);
        }
        let words = |((script, font), letters): (&(&str, &str), &Vec<char>)| {
            let some =
                letters.iter().take(4).map(|c| format!("U+{:04X}", u32::from(*c))).collect::<Vec<_>>().join(", ");
            let more = if letters.len() > 4 { ", ..." } else { "" };
            format!(
                "No font on this system has {} letters of {script} that are here ({some}{more}), so boxes stand for them; \
                 install e.g. {font} and start again",
                letters.len()
            )
        };
        by_script.iter().map(words).collect()
    }
}
