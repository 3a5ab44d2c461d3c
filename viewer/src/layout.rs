//! The tiles in the middle of the window: state of the program, not of a run.

use crate::actions::{Side, View};
use crate::tokens;
use egui::Vec2;
use egui_tiles::{Container, Linear, LinearDir, Tile, TileId, Tiles, Tree};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The tiles as they are written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Saved {
    View(View),
    Tabs { children: Vec<Self>, active: usize },
    Row { children: Vec<Self>, shares: Vec<f32> },
    Column { children: Vec<Self>, shares: Vec<f32> },
}

/// Everything of the window that is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct File {
    tiles: Saved,
    contrast: bool,
    theme: String,
    #[serde(default)]
    sides: BTreeMap<Side, bool>,
    #[serde(default)]
    zoom: Option<f32>,
}

/// The tiles.
#[derive(Debug)]
pub(crate) struct Layout {
    pub tree: Tree<View>,
    pub contrast: bool,
    pub theme: egui::ThemePreference,
    /// Sides that were shown or hidden; the others are shown where there is room.
    sides: BTreeMap<Side, bool>,
    /// Size of the interface; 1 is the usual.
    pub zoom: f32,
    written: Option<File>,
    file: Option<PathBuf>,
}

/// The table below the other views; in a low window a tab as they are.
fn usual(low: bool) -> Saved {
    let view = |v| Saved::View(v);
    if low {
        return Saved::Tabs { children: View::ALL.map(view).to_vec(), active: 0 };
    }
    let above =
        [View::Clusters, View::Mixture, View::Routing, View::Conflict, View::Drift, View::Loss].map(view).to_vec();
    Saved::Column {
        children: vec![Saved::Tabs { children: above, active: 0 }, view(View::Samples)],
        shares: vec![0.7, 0.3],
    }
}

fn build(saved: &Saved, tiles: &mut Tiles<View>, seen: &mut BTreeSet<View>) -> Option<TileId> {
    let linear = |dir, children: &[Saved], shares: &[f32], tiles: &mut Tiles<View>, seen: &mut BTreeSet<View>| {
        let built: Vec<(TileId, f32)> = children
            .iter()
            .zip(shares.iter().copied().chain(std::iter::repeat(1.0)))
            .filter_map(|(c, share)| Some((build(c, tiles, seen)?, share)))
            .collect();
        let mut linear = Linear::new(dir, built.iter().map(|b| b.0).collect());
        built.iter().filter(|b| b.1.is_finite() && b.1 > 0.0).for_each(|b| linear.shares.set_share(b.0, b.1));
        (!built.is_empty()).then(|| tiles.insert_container(linear))
    };
    match saved {
        // A file that was edited may name a view twice.
        Saved::View(view) => seen.insert(*view).then(|| tiles.insert_pane(*view)),
        Saved::Row { children, shares } => linear(LinearDir::Horizontal, children, shares, tiles, seen),
        Saved::Column { children, shares } => linear(LinearDir::Vertical, children, shares, tiles, seen),
        Saved::Tabs { children, active } => {
            let built: Vec<TileId> = children.iter().filter_map(|c| build(c, tiles, seen)).collect();
            let mut tabs = egui_tiles::Tabs::new(built.clone());
            if let Some(active) = built.get(*active) {
                tabs.set_active(*active);
            }
            (!built.is_empty()).then(|| tiles.insert_container(Container::Tabs(tabs)))
        }
    }
}

fn tree(saved: &Saved) -> Tree<View> {
    let mut tiles = Tiles::default();
    let id = egui::Id::unique("views");
    match build(saved, &mut tiles, &mut BTreeSet::new()) {
        Some(root) => Tree::new(id, root, tiles),
        None => Tree::empty(id),
    }
}

fn describe(tiles: &Tiles<View>, id: TileId) -> Option<Saved> {
    let all = |ids: &[TileId]| ids.iter().filter_map(|c| describe(tiles, *c)).collect::<Vec<_>>();
    Some(match tiles.get(id).filter(|_| tiles.is_visible(id))? {
        Tile::Pane(view) => Saved::View(*view),
        Tile::Container(Container::Tabs(tabs)) => {
            let shown: Vec<TileId> = tabs.children.iter().copied().filter(|c| tiles.is_visible(*c)).collect();
            let active = shown.iter().position(|c| tabs.active == Some(*c)).unwrap_or(0);
            Saved::Tabs { children: all(&shown), active }
        }
        Tile::Container(Container::Linear(linear)) => {
            let shown: Vec<TileId> = linear.children.iter().copied().filter(|c| tiles.is_visible(*c)).collect();
            let share = |id: &TileId| linear.shares.iter().find(|(c, _)| *c == id).map_or(1.0, |(_, s)| *s);
            let (shares, children) = (shown.iter().map(share).collect(), all(&shown));
            match linear.dir {
                LinearDir::Horizontal => Saved::Row { children, shares },
                LinearDir::Vertical => Saved::Column { children, shares },
            }
        }
        Tile::Container(Container::Grid(grid)) => {
            Saved::Tabs { children: all(&grid.children().copied().collect::<Vec<_>>()), active: 0 }
        }
    })
}

impl Saved {
    /// The same with the first tab in front, and without the tab that a lone view has.
    fn unopened(self) -> Self {
        let all = |children: Vec<Self>| children.into_iter().map(Self::unopened).collect();
        match self {
            Self::Tabs { mut children, .. } if children.len() == 1 => children.remove(0).unopened(),
            Self::View(view) => Self::View(view),
            Self::Tabs { children, .. } => Self::Tabs { children: all(children), active: 0 },
            Self::Row { children, shares } => Self::Row { children: all(children), shares },
            Self::Column { children, shares } => Self::Column { children: all(children), shares },
        }
    }
}

/// Sizes of the interface.
const ZOOMS: [f32; 10] = [0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 1.75, 2.0];

const THEMES: [(egui::ThemePreference, &str); 3] = [
    (egui::ThemePreference::System, "system"),
    (egui::ThemePreference::Light, "light"),
    (egui::ThemePreference::Dark, "dark"),
];

impl Layout {
    /// The layout that `file` remembers, or the usual one. A file that is not valid is passed over.
    pub(crate) fn open(file: Option<PathBuf>) -> Self {
        let read = |path: &Path| serde_json::from_slice::<File>(&std::fs::read(path).ok()?).ok();
        let written = file.as_deref().and_then(read);
        let tiles = written.as_ref().map_or_else(|| usual(false), |w| w.tiles.clone());
        let named = |w: &File| THEMES.iter().find(|(_, name)| *name == w.theme).map(|(theme, _)| *theme);
        let theme = written.as_ref().and_then(named).unwrap_or(egui::ThemePreference::System);
        let zoom = written.as_ref().and_then(|w| w.zoom).filter(|z| ZOOMS.contains(z)).unwrap_or(1.0);
        let sides = written.as_ref().map_or_else(BTreeMap::new, |w| w.sides.clone());
        let contrast = written.as_ref().is_some_and(|w| w.contrast);
        Self { tree: tree(&tiles), contrast, theme, sides, zoom, written, file }
    }

    /// Where the layout is remembered on this system, if anywhere.
    pub(crate) fn place() -> Option<PathBuf> {
        let home = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let folder = home("XDG_STATE_HOME")
            .or_else(|| Some(home("HOME").or_else(|| home("USERPROFILE"))?.join(".local/state")))?;
        Some(folder.join("covft-probe").join("explorer.json"))
    }

    fn now(&self) -> File {
        let tiles = self.tree.root().and_then(|root| describe(&self.tree.tiles, root)).unwrap_or_else(|| usual(false));
        let theme = THEMES.iter().find(|(theme, _)| *theme == self.theme).map_or("system", |(_, name)| name);
        let (contrast, theme, sides) = (self.contrast, theme.to_owned(), self.sides.clone());
        File { tiles, contrast, theme, sides, zoom: Some(self.zoom) }
    }

    /// Writes it down if it changed. Failing to is not worth a word: nothing of an analysis is lost.
    pub(crate) fn save(&mut self) {
        let now = self.now();
        if self.written.as_ref() == Some(&now) {
            return;
        }
        if let (Some(file), Ok(text)) = (&self.file, serde_json::to_vec_pretty(&now)) {
            let folder = file.parent().map(std::fs::create_dir_all);
            drop(folder.map(|made| made.and_then(|()| std::fs::write(file, text))));
        }
        self.written = Some(now);
    }

    pub(crate) fn reset(&mut self) {
        self.tree = tree(&usual(false));
        self.sides.clear();
    }

    /// Puts the table below the other views or beside them as a tab, as the window is high or low, unless tiles were moved.
    pub(crate) fn fit(&mut self, window: Vec2) {
        let low = window.y < tokens::LOW;
        let now = self.tree.root().and_then(|root| describe(&self.tree.tiles, root)).map(Saved::unopened);
        if now == Some(usual(!low)) {
            let seen = self.seen();
            self.tree = tree(&usual(low));
            seen.iter().rev().for_each(|view| self.bring(*view));
        }
    }

    /// Whether a side is shown in such a window.
    pub(crate) fn shows(&self, side: Side, window: Vec2) -> bool {
        let chosen = self.sides.get(&side).copied();
        match side {
            Side::Runs => chosen.unwrap_or(window.x >= tokens::WIDE_FOR_RUNS),
            Side::Selection => {
                let room = window.x >= tokens::LEFT + tokens::RIGHT + tokens::LEAST_VIEW.x;
                chosen.unwrap_or(window.x >= tokens::WIDE_FOR_ALL) && (room || !self.shows(Side::Runs, window))
            }
            Side::Steps => chosen.unwrap_or(true),
        }
    }

    /// Shows or hides a side; another one gives way where there is no room for both.
    pub(crate) fn fold(&mut self, side: Side, window: Vec2) {
        let shown = !self.shows(side, window);
        self.sides.insert(side, shown);
        if shown && side == Side::Selection && !self.shows(side, window) {
            self.sides.insert(Side::Runs, false);
        }
    }

    /// The next larger or smaller interface.
    pub(crate) fn rescale(&mut self, larger: bool) {
        let mut next = ZOOMS.iter().copied().filter(|z| if larger { *z > self.zoom } else { *z < self.zoom });
        self.zoom = (if larger { next.next() } else { next.next_back() }).unwrap_or(self.zoom);
    }

    /// Whether a view has a tile that is not hidden.
    pub(crate) fn has(&self, view: View) -> bool {
        self.tree.tiles.find_pane(&view).is_some_and(|id| self.tree.tiles.is_visible(id))
    }

    /// Hides a view, or shows it again.
    pub(crate) fn set(&mut self, view: View, shown: bool) {
        match self.tree.tiles.find_pane(&view) {
            Some(id) => self.tree.tiles.set_visible(id, shown),
            None if shown => {
                // It was closed in an earlier session: it comes back as a tab of the first tabs.
                let pane = self.tree.tiles.insert_pane(view);
                let tabs = self.tree.tiles.iter().find(|(_, t)| matches!(t, Tile::Container(Container::Tabs(_))));
                match tabs.map(|(id, _)| *id).or_else(|| self.tree.root()) {
                    Some(id) => self.tree.move_tile_to_container(pane, id, usize::MAX, false),
                    None => self.tree = tree(&Saved::View(view)),
                }
            }
            None => {}
        }
    }

    /// Shows a view and brings it to the front.
    pub(crate) fn bring(&mut self, view: View) {
        self.set(view, true);
        self.tree.make_active(|_, tile| matches!(tile, Tile::Pane(v) if *v == view));
    }

    /// The views that can be seen now.
    pub(crate) fn seen(&self) -> BTreeSet<View> {
        let panes = self.tree.active_tiles().into_iter().filter_map(|id| self.tree.tiles.get_pane(&id).copied());
        panes.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_remembered_and_bad_files_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deeper").join("explorer.json");
        let mut layout = Layout::open(Some(file.clone()));
        assert!(View::ALL.iter().all(|v| layout.has(*v)));
        layout.set(View::Drift, false);
        layout.bring(View::Routing);
        layout.contrast = true;
        layout.theme = egui::ThemePreference::Dark;
        let window = Vec2::new(800.0, 600.0);
        layout.fold(Side::Selection, window);
        layout.rescale(true);
        layout.save();
        let mut again = Layout::open(Some(file.clone()));
        assert_eq!(again.now(), layout.now());
        assert!(again.contrast && !again.has(View::Drift) && again.has(View::Loss));
        assert!(again.shows(Side::Selection, window) && (again.zoom - 1.1).abs() < 1e-6);
        again.bring(View::Drift);
        assert!(again.has(View::Drift));
        again.reset();
        assert!(View::ALL.iter().all(|v| again.has(*v)));
        std::fs::write(&file, "{").unwrap();
        assert!(View::ALL.iter().all(|v| Layout::open(Some(file.clone())).has(*v)));
        std::fs::write(&file, r#"{"tiles": {"view": "loss"}, "contrast": true, "theme": "dark"}"#).unwrap();
        let older = Layout::open(Some(file));
        assert!(older.contrast && older.zoom == 1.0 && older.has(View::Loss), "a file of before sides and sizes");
        let twice = Saved::Tabs { children: vec![Saved::View(View::Loss), Saved::View(View::Loss)], active: 7 };
        assert_eq!(tree(&twice).tiles.len(), 2);
    }

    #[test]
    fn sides_give_way_in_a_narrow_window_and_the_table_is_a_tab_in_a_low_one() {
        let (small, large) = (Vec2::new(800.0, 600.0), Vec2::new(1400.0, 900.0));
        let mut layout = Layout::open(None);
        assert!([Side::Runs, Side::Selection, Side::Steps].iter().all(|s| layout.shows(*s, large)));
        assert!(!layout.shows(Side::Runs, small) && !layout.shows(Side::Selection, small));
        layout.fold(Side::Runs, small);
        assert!(layout.shows(Side::Runs, small));
        layout.fold(Side::Selection, small);
        assert!(layout.shows(Side::Selection, small) && !layout.shows(Side::Runs, small), "no room for both");
        layout.bring(View::Drift);
        layout.fit(small);
        assert!(layout.seen().contains(&View::Drift) && layout.seen().len() == 1);
        layout.fit(large);
        assert_eq!(layout.seen(), BTreeSet::from([View::Drift, View::Samples]));
        layout.set(View::Loss, false);
        layout.fit(small);
        assert!(layout.seen().contains(&View::Samples), "tiles that were changed stay as they are");
    }
}
