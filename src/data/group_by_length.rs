//! LLaVA's `group_by_modality_length`: samples of like length share a batch, samples with and without images do not.

use super::permutation::Permutation;

/// One epoch's order of `lengths.len()` samples. `lengths[i]` is the number of words, negative without an image; a
/// megabatch is `chunks * batch` samples (`chunks` = ranks times accumulation).
///
/// Within each modality the samples are shuffled, cut into megabatches, each sorted from long to short and dealt into
/// `chunks` batches of like total length. Full megabatches of both are then shuffled together; what is left over of each
/// comes last, sorted likewise. A set of one modality is only grouped by length.
pub(super) fn order(lengths: &[i32], batch: usize, chunks: usize, seed: u64, epoch: u64) -> Vec<u32> {
    let by = |wanted: bool| -> Vec<u32> {
        (0..lengths.len() as u32).filter(|&i| (lengths[i as usize] > 0) == wanted).collect()
    };
    let stream = |part: u64| epoch * 3 + part;
    let with = grouped(&by(true), lengths, batch, chunks, (seed, stream(0)));
    let without = grouped(&by(false), lengths, batch, chunks, (seed, stream(1)));
    if with.is_empty() || without.is_empty() {
        return [with, without].concat();
    }
    let size = batch * chunks;
    let (full_with, rest_with) = with.split_at(with.len() / size * size);
    let (full_without, rest_without) = without.split_at(without.len() / size * size);
    let megabatches: Vec<&[u32]> = full_with.chunks(size).chain(full_without.chunks(size)).collect();
    let mut out = Vec::with_capacity(lengths.len());
    if let Some(shuffle) = Permutation::new(megabatches.len() as u64, seed, stream(2)) {
        for i in 0..megabatches.len() as u64 {
            out.extend_from_slice(megabatches[shuffle.get(i) as usize]);
        }
    }
    let mut rest = [rest_with, rest_without].concat();
    rest.sort_unstable();
    out.extend(rest);
    out
}

/// Shuffles one modality, then sorts and deals every megabatch.
fn grouped(members: &[u32], lengths: &[i32], batch: usize, chunks: usize, key: (u64, u64)) -> Vec<u32> {
    let Some(shuffle) = Permutation::new(members.len() as u64, key.0, key.1) else { return Vec::new() };
    let shuffled: Vec<u32> = (0..members.len() as u64).map(|i| members[shuffle.get(i) as usize]).collect();
    let length = |i: u32| lengths[i as usize].unsigned_abs();
    let mut out = Vec::with_capacity(shuffled.len());
    for megabatch in shuffled.chunks(batch * chunks) {
        let mut sorted = megabatch.to_vec();
        sorted.sort_by_key(|&i| std::cmp::Reverse(length(i)));
        out.extend(deal(&sorted, length, chunks).into_iter().flatten());
    }
    out
}

/// Deals a megabatch, longest first, each sample to the chunk with the least words that is not full.
fn deal(sorted: &[u32], length: impl Fn(u32) -> u32, chunks: usize) -> Vec<Vec<u32>> {
    if !sorted.len().is_multiple_of(chunks) {
        return (0..chunks).map(|c| sorted.iter().copied().skip(c).step_by(chunks).collect()).collect();
    }
    let room = sorted.len() / chunks;
    let mut out = vec![Vec::with_capacity(room); chunks];
    let mut words = vec![0_u64; chunks];
    for &i in sorted {
        let open = (0..chunks).filter(|&c| out[c].len() < room);
        let shortest = open.min_by_key(|&c| words[c]).expect("room for every sample");
        out[shortest].push(i);
        words[shortest] += u64::from(length(i));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths() -> Vec<i32> {
        (0..107).map(|i: i32| ((i * 37) % 50 + 1) * if i % 4 == 3 { -1 } else { 1 }).collect()
    }

    #[test]
    fn every_sample_once_and_full_megabatches_are_of_one_modality() {
        let lengths = lengths();
        let mut changes = 0;
        for seed in 0..3 {
            let order = order(&lengths, 4, 2, seed, 0);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..107).collect::<Vec<_>>());
            // 81 with an image are 10 megabatches of 8 and 1 more, 26 without are 3 and 2 more.
            let kinds: Vec<i32> =
                order.chunks(8).take(13).map(|m| m.iter().map(|&i| lengths[i as usize].signum()).sum()).collect();
            assert!(kinds.iter().all(|k| k.abs() == 8), "{kinds:?}");
            assert_eq!((kinds.iter().filter(|k| **k == 8).count(), order.len() - 104), (10, 3));
            changes += kinds.windows(2).filter(|w| w[0] != w[1]).count();
        }
        assert!(changes > 6, "megabatches of both kinds are shuffled together: {changes}");
    }

    #[test]
    fn a_megabatch_is_dealt_into_batches_of_like_length() {
        let lengths: Vec<i32> = (0..64).map(|i| (i * 29) % 100 + 1).collect();
        let order = order(&lengths, 4, 4, 1, 0);
        for megabatch in order.chunks(16) {
            let words: Vec<i32> = megabatch.chunks(4).map(|b| b.iter().map(|&i| lengths[i as usize]).sum()).collect();
            let longest = megabatch.iter().map(|&i| lengths[i as usize]).max().unwrap();
            assert!(words.iter().max().unwrap() - words.iter().min().unwrap() <= longest, "{words:?}");
            assert_eq!(lengths[megabatch[0] as usize], longest);
        }
    }

    #[test]
    fn dealing_by_hand() {
        let words = [9, 7, 6, 5, 2, 1];
        assert_eq!(deal(&[0, 1, 2, 3, 4, 5], |i| words[i as usize], 2), [vec![0, 3, 5], vec![1, 2, 4]]);
        assert_eq!(deal(&[0, 1, 2, 3, 4], |i| words[i as usize], 2), [vec![0, 2, 4], vec![1, 3]]);
    }

    #[test]
    fn seeds_and_epochs_differ_and_repeat() {
        let lengths = lengths();
        let of = |seed, epoch| order(&lengths, 4, 2, seed, epoch);
        assert_eq!(of(1, 0), of(1, 0));
        assert_ne!(of(1, 0), of(1, 1));
        assert_ne!(of(1, 0), of(2, 0));
    }
}
