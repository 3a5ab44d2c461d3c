//! Components and clusters, found from some of the samples where there are many, and the others placed among them.

use super::data::{ContextData, clusters_of};
use super::error::Result;
use crate::cluster::{Clusters, distinct};
use crate::reduce::Pca;
use linfa::DatasetBase;
use linfa::traits::Fit;
use ndarray::{Array2, ArrayView2, Axis};
use std::collections::BTreeMap;

/// The samples that components and clusters are found from.
pub struct Fitted<'a> {
    data: &'a ContextData,
    /// Their indices, where they are not all.
    rows: Option<Vec<usize>>,
    /// Their vectors, likewise.
    drawn: Option<Array2<f32>>,
    /// Different vectors among them: no more clusters can be told apart.
    pub distinct: usize,
}

impl<'a> Fitted<'a> {
    /// At most `most` of `data`, even over tasks; all if `None`.
    #[must_use]
    pub fn of(data: &'a ContextData, most: Option<usize>) -> Self {
        let most = most.filter(|most| *most < data.samples.len());
        let rows = most.map(|most| stratified(&data.tasks().1, most));
        let drawn = rows.as_ref().map(|rows| data.vectors.select(Axis(0), rows));
        let mut fitted = Self { data, rows, drawn, distinct: 0 };
        fitted.distinct = distinct(fitted.vectors());
        fitted
    }

    /// Their indices among the samples of the data `[M]`.
    #[must_use]
    pub fn rows(&self) -> Vec<usize> {
        self.rows.clone().unwrap_or_else(|| (0..self.data.samples.len()).collect())
    }

    /// Their vectors `[M, C]`.
    #[must_use]
    pub fn vectors(&self) -> ArrayView2<'_, f32> {
        self.drawn.as_ref().map_or(self.data.vectors.view(), ndarray::ArrayBase::view)
    }

    /// Principal components: `most`, or as many as the data can have.
    ///
    /// # Errors
    /// The vectors have no numbers.
    pub fn pca(&self, most: usize) -> Result<Pca> {
        let x = self.vectors();
        let possible = x.ncols().min(x.nrows().saturating_sub(1)).max(1);
        Ok(Pca::params(most.clamp(1, possible)).fit(&DatasetBase::from(x))?)
    }

    /// k-means in the original space, numbered from the largest cluster on: `clusters` of them, or one a distinct vector
    /// where there are fewer.
    ///
    /// # Errors
    /// No cluster is asked for.
    pub fn clusters(&self, clusters: usize, restarts: usize, seed: u64) -> Result<Clusters> {
        clusters_of(self.vectors(), clusters.min(self.distinct), restarts, seed)
    }

    /// That there are fewer clusters than asked for, and why.
    #[must_use]
    pub fn fewer(&self, asked: usize, found: usize) -> Option<String> {
        let vectors = if self.distinct == 1 { "vector" } else { "vectors" };
        let clusters = if found == 1 { "cluster" } else { "clusters" };
        let why = || format!("{found} {clusters}, not {asked}: there are only {} distinct {vectors}", self.distinct);
        (found < asked).then(why)
    }
}

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
