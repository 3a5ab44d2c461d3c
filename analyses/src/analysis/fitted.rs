//! Which of many samples components and clusters are found from.

use std::collections::BTreeMap;

/// Up to about `most` of the samples, whose groups (tasks) are `groups`: as many of each group as is its share (at least
/// one), evenly spaced over its samples, never the first ones. All of them where there are no more. Rising indices.
#[must_use]
pub fn stratified<G: Ord + Copy>(groups: &[G], most: usize) -> Vec<usize> {
    if groups.len() <= most {
        return (0..groups.len()).collect();
    }
    let mut by_group: BTreeMap<G, Vec<usize>> = BTreeMap::new();
    groups.iter().enumerate().for_each(|(i, group)| by_group.entry(*group).or_default().push(i));
    let mut chosen = Vec::with_capacity(most);
    for members in by_group.values() {
        let quota = (members.len() * most / groups.len()).max(1);
        chosen.extend((0..quota).map(|i| members[(2 * i + 1) * members.len() / (2 * quota)]));
    }
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_even_over_groups_and_over_their_order() {
        let tasks: Vec<u32> = (0..1000).map(|i| u32::from(i >= 900)).collect();
        let chosen = stratified(&tasks, 100);
        let second = chosen.iter().filter(|i| **i >= 900).count();
        assert_eq!((chosen.len(), second), (100, 10));
        assert!(chosen[0] < 20 && chosen[89] > 880, "never the first ones");
        assert_eq!(stratified(&tasks, 1000).len(), 1000);
        let rare: Vec<usize> = (0..1000).map(|i| usize::from(i == 7)).collect();
        assert!(stratified(&rare, 10).contains(&7), "a rare group is there");
    }
}
