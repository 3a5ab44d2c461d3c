//! Long lists: a field that leaves only the names with some letters.

use super::thousands;
use egui::{TextEdit, Ui};

/// Lists up to this long need no field.
const LONG: usize = 20;

/// What is typed into the field of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter(String);

impl Filter {
    /// The field, over a list of `all` names of which `shown` are left, where the list is long.
    pub(crate) fn show(&mut self, ui: &mut Ui, what: &str, shown: usize, all: usize) {
        if all <= LONG {
            self.0.clear();
            return;
        }
        ui.horizontal_wrapped(|ui| {
            let label = ui.label(format!("Only {what} with"));
            ui.add(TextEdit::singleline(&mut self.0).desired_width(110.0)).labelled_by(label.id);
            ui.weak(format!("{} of {} {what}", thousands(shown), thousands(all)));
        });
    }

    /// Whether a name is left.
    pub(crate) fn has(&self, name: &str) -> bool {
        let wanted = self.0.trim().to_lowercase();
        wanted.is_empty() || name.to_lowercase().contains(&wanted)
    }

    /// The places of the names that are left.
    pub(crate) fn of(&self, names: &[String]) -> Vec<usize> {
        (0..names.len()).filter(|i| self.has(&names[*i])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_the_letters_are_left() {
        let names = ["task_001", "Task_010", "other"].map(str::to_owned);
        assert_eq!(Filter::default().of(&names), [0, 1, 2]);
        assert_eq!(Filter(" TASK_0 ".into()).of(&names), [0, 1]);
    }
}
