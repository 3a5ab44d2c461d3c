//! What every panel may use: work behind the window, pictures, commands, a word at the bottom.

use crate::ReadPicture;
use crate::actions::Action;
use crate::fonts::Fonts;
use crate::jobs::{Spawner, Work};
use crate::thumbs::Thumbs;
use std::path::PathBuf;

/// Shared by all panels.
#[derive(Debug)]
pub(crate) struct Tools {
    pub spawner: Spawner,
    pub thumbs: Thumbs,
    pub fonts: Fonts,
    /// Commands that panels gave; run at the end of the frame.
    pub commands: Vec<Action>,
    /// The last thing that happened.
    pub status: Option<String>,
    /// A folder that was chosen in the dialog.
    pub dialog: Work<PathBuf>,
    /// Figures that are being drawn, or rows that are being written: what to say when it is done.
    pub export: Work<String>,
}

impl Tools {
    pub(crate) fn new(spawner: Spawner, picture: ReadPicture) -> Self {
        Self {
            thumbs: Thumbs::new(spawner.clone(), picture),
            fonts: Fonts::default(),
            spawner,
            commands: Vec::new(),
            status: None,
            dialog: Work::default(),
            export: Work::default(),
        }
    }

    pub(crate) fn say(&mut self, text: impl Into<String>) {
        self.status = Some(text.into());
    }
}
