//! What is selected, and what was before.

use super::bits::Bits;

/// Steps back that are kept.
const HISTORY: usize = 64;

/// How a gesture changes the selection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Combine {
    #[default]
    Replace,
    Add,
    Subtract,
}

impl Combine {
    /// Shift adds, control (or command, or alt) takes away.
    pub(crate) fn of(modifiers: egui::Modifiers) -> Self {
        if modifiers.shift {
            Self::Add
        } else if modifiers.command || modifiers.ctrl || modifiers.alt {
            Self::Subtract
        } else {
            Self::Replace
        }
    }
}

/// The selected samples of a run, with undo.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    now: Bits,
    before: Vec<Bits>,
    after: Vec<Bits>,
    changes: u64,
}

impl Selection {
    pub(crate) fn now(&self) -> &Bits {
        &self.now
    }

    /// Grows with every change.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// One gesture, one step of undo; nothing if it changes nothing.
    pub(crate) fn apply(&mut self, samples: &Bits, how: Combine) {
        let next = match how {
            Combine::Replace => samples.clone(),
            Combine::Add => self.now.or(samples),
            Combine::Subtract => self.now.minus(samples),
        };
        self.set(next);
    }

    /// Everything of `all` that was not selected.
    pub(crate) fn invert(&mut self, all: &Bits) {
        self.set(all.minus(&self.now));
    }

    fn set(&mut self, next: Bits) {
        if next == self.now {
            return;
        }
        self.before.push(std::mem::replace(&mut self.now, next));
        if self.before.len() > HISTORY {
            self.before.remove(0);
        }
        self.after.clear();
        self.changes += 1;
    }

    pub(crate) fn can_undo(&self) -> bool {
        !self.before.is_empty()
    }

    pub(crate) fn can_redo(&self) -> bool {
        !self.after.is_empty()
    }

    pub(crate) fn undo(&mut self) {
        if let Some(before) = self.before.pop() {
            self.after.push(std::mem::replace(&mut self.now, before));
            self.changes += 1;
        }
    }

    pub(crate) fn redo(&mut self) {
        if let Some(after) = self.after.pop() {
            self.before.push(std::mem::replace(&mut self.now, after));
            self.changes += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(s: &Selection) -> Vec<u32> {
        s.now().iter().collect()
    }

    #[test]
    fn gestures_and_undo() {
        let mut s = Selection::default();
        s.apply(&Bits::of([1, 2]), Combine::Replace);
        s.apply(&Bits::of([3]), Combine::Add);
        s.apply(&Bits::of([1]), Combine::Subtract);
        assert_eq!(list(&s), [2, 3]);
        s.invert(&Bits::of(0..5));
        assert_eq!(list(&s), [0, 1, 4]);
        let changes = s.changes();
        s.apply(&Bits::of([0, 1, 4]), Combine::Replace);
        assert_eq!(s.changes(), changes, "nothing changed");
        s.undo();
        s.undo();
        assert_eq!(list(&s), [1, 2, 3]);
        s.redo();
        assert_eq!(list(&s), [2, 3]);
        s.apply(&Bits::default(), Combine::Replace);
        assert!(!s.can_redo() && s.can_undo());
        (0..200).for_each(|i| s.apply(&Bits::of([i]), Combine::Replace));
        assert_eq!(s.before.len(), HISTORY);
    }

    #[test]
    fn modifiers() {
        use egui::Modifiers;
        assert_eq!(Combine::of(Modifiers::SHIFT), Combine::Add);
        assert_eq!(Combine::of(Modifiers::CTRL), Combine::Subtract);
        assert_eq!(Combine::of(Modifiers::NONE), Combine::Replace);
    }
}
