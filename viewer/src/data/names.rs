//! Names by number, so that a million rows hold numbers.

use std::collections::HashMap;
use std::sync::Arc;

/// Each name once, numbered in the order of its first use.
#[derive(Debug, Default)]
pub(crate) struct Names {
    list: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl Names {
    pub(crate) fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.list.len() as u32;
        let name: Arc<str> = name.into();
        self.list.push(Arc::clone(&name));
        self.numbers.insert(name, number);
        number
    }

    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    pub(crate) fn name(&self, number: u32) -> &str {
        self.list.get(number as usize).map_or("", |name| name)
    }

    /// All names, by number.
    pub(crate) fn list(&self) -> Vec<String> {
        self.list.iter().map(ToString::to_string).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }
}
