//! Names of clusters: the words that their questions have more often than the others'.

use std::collections::BTreeMap;

/// A word and how sure it is that it is over-represented.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// In lower case.
    pub word: String,
    /// Weighted log-odds in standard deviations.
    pub z: f64,
    /// Texts of the group that have it.
    pub texts: usize,
}

/// The different words of a text in lower case: runs of letters and digits of at least two characters (of one, where the
/// script does without spaces).
pub fn words(text: &str) -> std::collections::BTreeSet<String> {
    let long = |w: &&str| w.chars().nth(1).is_some() || !w.is_ascii();
    let split = text.split(|c: char| !c.is_alphanumeric() && c != '\'');
    split.map(|w| w.trim_matches('\'')).filter(|w| !w.is_empty()).filter(long).map(str::to_lowercase).collect()
}

/// Texts that a word must be in within its group to name it.
const LEAST: usize = 3;

/// For each group the words over-represented in its texts against all other texts, surest first: log-odds with an informative
/// Dirichlet prior from all texts (Monroe, Colaresi and Quinn 2008, equations 16, 20, 22), by the number of texts that have a
/// word; only those above 1.96 deviations.
///
/// # Panics
/// Texts and groups differ in number, or a group is too large.
#[must_use]
pub fn over_represented(texts: &[&str], group: &[usize], groups: usize) -> Vec<Vec<Word>> {
    assert_eq!(texts.len(), group.len(), "a group a text");
    let mut counts: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut totals = vec![0_usize; groups];
    for (text, group) in texts.iter().zip(group) {
        for word in words(text) {
            counts.entry(word).or_insert_with(|| vec![0; groups])[*group] += 1;
            totals[*group] += 1;
        }
    }
    let all = totals.iter().sum::<usize>() as f64;
    let mut found: Vec<Vec<Word>> = vec![Vec::new(); groups];
    // The prior weighs as much as one text of mean length in ten.
    let prior_total = (all * 0.1).max(1.0);
    for (word, by_group) in &counts {
        let everywhere = by_group.iter().sum::<usize>() as f64;
        let prior = prior_total * everywhere / all;
        for (g, own) in by_group.iter().enumerate().filter(|(_, own)| **own >= LEAST) {
            let (here, there) = (*own as f64 + prior, everywhere - *own as f64 + prior);
            let (n_here, n_there) = (totals[g] as f64 + prior_total, all - totals[g] as f64 + prior_total);
            let odds = |part: f64, whole: f64| (part / (whole - part).max(f64::MIN_POSITIVE)).ln();
            let z = (odds(here, n_here) - odds(there, n_there)) / (1.0 / here + 1.0 / there).sqrt();
            if z > 1.96 {
                found[g].push(Word { word: word.clone(), z, texts: *own });
            }
        }
    }
    for group in &mut found {
        group.sort_by(|a, b| b.z.total_cmp(&a.z).then_with(|| a.word.cmp(&b.word)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_text() {
        let found: Vec<String> = words("How many Dogs, and how many of the dog's?").into_iter().collect();
        assert_eq!(found, ["and", "dog's", "dogs", "how", "many", "of", "the"]);
    }

    #[test]
    fn what_sets_a_group_apart_names_it() {
        let texts: Vec<String> = (0..60)
            .map(|i| {
                if i % 2 == 0 {
                    format!("how many cats are in picture {i}")
                } else {
                    format!("what colour is picture {i}")
                }
            })
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let group: Vec<usize> = (0..60).map(|i| i % 2).collect();
        let found = over_represented(&texts, &group, 3);
        let names = |g: usize| found[g].iter().map(|w| w.word.as_str()).collect::<Vec<_>>();
        assert_eq!(names(0), ["are", "cats", "how", "in", "many"]);
        assert_eq!(names(1), ["colour", "is", "what"]);
        assert!(names(2).is_empty());
        assert_eq!(found[0][0].texts, 30);
        // In every text, so that it tells nothing.
        assert!(!found[0].iter().any(|w| w.word == "picture"));
    }
}
