//! Everything that can be done, with its key: the list of keys, the command list and the keyboard read this one table.

use egui::{Context, Key, KeyboardShortcut, Modifiers};

/// A view in the middle of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum View {
    Clusters,
    Mixture,
    Routing,
    Conflict,
    Drift,
    Loss,
    Samples,
}

impl View {
    pub(crate) const ALL: [Self; 7] =
        [Self::Clusters, Self::Mixture, Self::Routing, Self::Conflict, Self::Drift, Self::Loss, Self::Samples];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Clusters => "Clusters",
            Self::Mixture => "Clusters by task",
            Self::Routing => "Routing",
            Self::Conflict => "Conflict",
            Self::Drift => "Drift",
            Self::Loss => "Loss",
            Self::Samples => "Samples",
        }
    }
}

/// A side of the window, which can be folded away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    /// At the left.
    Runs,
    /// At the right.
    Selection,
    /// At the bottom.
    Steps,
}

/// How the pointer works in the cluster view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tool {
    #[default]
    Move,
    Rectangle,
    Lasso,
}

/// Something that can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Open,
    Keys,
    Commands,
    Find,
    Undo,
    Redo,
    SelectShown,
    SelectFound,
    Invert,
    Clear,
    Neighbors,
    Use(Tool),
    Fit,
    ZoomIn,
    ZoomOut,
    Density,
    StepBack,
    StepOn,
    First,
    Latest,
    Play,
    Again,
    Cancel,
    ExportFigure,
    ExportRows,
    Keep,
    Contrast,
    Theme,
    ResetLayout,
    Fold(Side),
    Larger,
    Smaller,
    UsualSize,
    Show(View),
}

const NONE: Modifiers = Modifiers::NONE;
const CTRL: Modifiers = Modifiers::COMMAND;
const CTRL_SHIFT: Modifiers = Modifiers { shift: true, ..Modifiers::COMMAND };

/// All actions: what they do, and their key.
pub(crate) const ALL: [(Action, &str, Option<(Modifiers, Key)>); 44] = [
    (Action::Open, "Open a folder of runs", Some((CTRL, Key::O))),
    (Action::Keys, "List of keys", Some((NONE, Key::F1))),
    (Action::Commands, "Find a command", Some((CTRL, Key::K))),
    (Action::Find, "Search the samples", Some((CTRL, Key::F))),
    (Action::Undo, "Undo the selection", Some((CTRL, Key::Z))),
    (Action::Redo, "Redo the selection", Some((CTRL_SHIFT, Key::Z))),
    (Action::SelectShown, "Select everything that is shown", Some((CTRL, Key::A))),
    (Action::SelectFound, "Select what the search finds", Some((CTRL, Key::Enter))),
    (Action::Invert, "Invert the selection", Some((CTRL, Key::I))),
    (Action::Clear, "Select nothing", Some((NONE, Key::Escape))),
    (Action::Neighbors, "Select the nearest neighbors of the sample", Some((NONE, Key::N))),
    (Action::Use(Tool::Move), "Clusters: move with the pointer", Some((NONE, Key::V))),
    (Action::Use(Tool::Rectangle), "Clusters: select a rectangle", Some((NONE, Key::R))),
    (Action::Use(Tool::Lasso), "Clusters: select with a lasso", Some((NONE, Key::L))),
    (Action::Fit, "Clusters: show all points", Some((NONE, Key::Num0))),
    (Action::ZoomIn, "Clusters: nearer", Some((NONE, Key::Equals))),
    (Action::ZoomOut, "Clusters: farther", Some((NONE, Key::Minus))),
    (Action::Density, "Clusters: points or density", Some((NONE, Key::D))),
    (Action::StepBack, "One step back", Some((NONE, Key::Comma))),
    (Action::StepOn, "One step on", Some((NONE, Key::Period))),
    (Action::First, "First step", Some((NONE, Key::Home))),
    (Action::Latest, "Latest step", Some((NONE, Key::End))),
    (Action::Play, "Play the steps, or stop", Some((NONE, Key::P))),
    (Action::Again, "Find components and clusters again", Some((NONE, Key::F5))),
    (Action::Cancel, "Cancel the work in the background", Some((CTRL, Key::Period))),
    (Action::ExportFigure, "Export the figures of this view", Some((CTRL, Key::E))),
    (Action::ExportRows, "Export the selected rows", Some((CTRL_SHIFT, Key::E))),
    (Action::Keep, "Save the analysis, to be repeated without the window", Some((CTRL, Key::S))),
    (Action::Theme, "Next theme: system, light, dark", Some((NONE, Key::F9))),
    (Action::Contrast, "High contrast", Some((NONE, Key::F8))),
    (Action::ResetLayout, "Reset the layout", Some((CTRL_SHIFT, Key::L))),
    (Action::Fold(Side::Runs), "Show or hide the runs", Some((CTRL, Key::B))),
    (Action::Fold(Side::Selection), "Show or hide the selection", Some((CTRL, Key::J))),
    (Action::Fold(Side::Steps), "Show or hide the steps", Some((CTRL, Key::T))),
    (Action::Larger, "Interface: larger", Some((CTRL, Key::Plus))),
    (Action::Smaller, "Interface: smaller", Some((CTRL, Key::Minus))),
    (Action::UsualSize, "Interface: the usual size", Some((CTRL, Key::Num0))),
    (Action::Show(View::Clusters), "Show the clusters", Some((CTRL, Key::Num1))),
    (Action::Show(View::Mixture), "Show clusters by task", Some((CTRL, Key::Num2))),
    (Action::Show(View::Routing), "Show routing", Some((CTRL, Key::Num3))),
    (Action::Show(View::Conflict), "Show conflict", Some((CTRL, Key::Num4))),
    (Action::Show(View::Drift), "Show drift", Some((CTRL, Key::Num5))),
    (Action::Show(View::Loss), "Show losses", Some((CTRL, Key::Num6))),
    (Action::Show(View::Samples), "Show the table of samples", Some((CTRL, Key::Num7))),
];

impl Action {
    /// What it does, in words.
    pub(crate) fn words(self) -> &'static str {
        ALL.iter().find(|(a, _, _)| *a == self).map_or("", |(_, words, _)| words)
    }

    fn shortcut(self) -> Option<KeyboardShortcut> {
        let (_, _, key) = ALL.iter().find(|(a, _, _)| *a == self)?;
        key.map(|(modifiers, key)| KeyboardShortcut::new(modifiers, key))
    }

    /// Its key, in words.
    pub(crate) fn key(self, ctx: &Context) -> String {
        self.shortcut().map_or_else(String::new, |s| ctx.format_shortcut(&s))
    }

    /// Words and key, for hints.
    pub(crate) fn hint(self, ctx: &Context) -> String {
        format!("{} ({})", self.words(), self.key(ctx))
    }
}

/// The actions whose keys were pressed. Plain letters are left to a text field that has the focus.
pub(crate) fn pressed(ctx: &Context) -> Vec<Action> {
    let typing = ctx.egui_wants_keyboard_input();
    let mut found = Vec::new();
    ctx.input_mut(|input| {
        // More modifiers first: egui ignores surplus shifts.
        for shifted in [true, false] {
            for (action, _, key) in ALL {
                let Some((modifiers, key)) = key else { continue };
                let free = modifiers.command || (Key::F1..=Key::F12).contains(&key) || !typing;
                let field = matches!(action, Action::Undo | Action::Redo | Action::SelectShown);
                if modifiers.shift == shifted && free && !(typing && field) && input.consume_key(modifiers, key) {
                    found.push(action);
                }
            }
        }
        // The key of plus without shift.
        if input.consume_key(CTRL, Key::Equals) {
            found.push(Action::Larger);
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_does_two_things() {
        for (i, (a, words, key)) in ALL.iter().enumerate() {
            assert!(!words.is_empty());
            for (b, other, again) in &ALL[i + 1..] {
                assert!(a != b && words != other && (key.is_none() || key != again), "{words} and {other}");
            }
        }
        assert!(View::ALL.iter().all(|v| ALL.iter().any(|(a, _, _)| *a == Action::Show(*v))));
    }
}
