//! Names in the room that there is, as figures show them: no two that are not the same look alike.

use covft_analyses::names::{readable, shorten};
use egui::Context;
use egui::cache::{ComputerMut, FrameCache};
use std::sync::Arc;

/// Widths of letters from here on (those of East Asia, emoji) are those of two others.
const WIDE: char = '\u{1100}';

#[derive(Default)]
struct Short;

impl ComputerMut<(&[String], usize), Arc<Vec<String>>> for Short {
    fn compute(&mut self, (names, room): (&[String], usize)) -> Arc<Vec<String>> {
        let width = |text: &str| text.chars().map(|c| if c < WIDE { 1 } else { 2 }).sum::<usize>();
        // One line a name.
        let line = |name: &String| name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        let names: Vec<String> = readable(names, &|_| false).iter().map(line).collect();
        Arc::new(shorten(&names, &|text| width(text) <= room))
    }
}

/// `names`, each in the room of `room` letters. They are kept from one frame to the next.
pub(crate) fn short_names(ctx: &Context, names: &[String], room: usize) -> Arc<Vec<String>> {
    ctx.memory_mut(|memory| memory.caches.cache::<FrameCache<Arc<Vec<String>>, Short>>().get((names, room)).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_begin_alike_stay_apart_and_empty_ones_are_said() {
        let mut names: Vec<String> =
            (0..12).map(|i| format!("task{}{i:02}{}", "m".repeat(40), "n".repeat(40))).collect();
        names.extend(["", "a b", "a  b", "new\nline"].map(str::to_owned));
        let short = short_names(&Context::default(), &names, 18);
        let apart: std::collections::BTreeSet<&String> = short.iter().collect();
        assert_eq!(apart.len(), names.len());
        assert!(short.iter().all(|s| s.chars().count() <= 18), "{short:?}");
        assert_eq!(short[12..], ["(empty)", "a b", "a <U+0020>b", "new line"]);
    }
}
