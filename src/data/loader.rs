//! Worker threads that prepare batches ahead, in order.

use super::batch::Batch;
use super::dataset::Dataset;
use super::error::{DataError, Result};
use super::sampler::Sampler;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

/// Yields the micro-batches of a range in order. Worker `w` of `W` prepares every `W`-th one into a channel of its own,
/// so the order, and the memory, do not depend on which is faster. Dropping the loader ends the workers.
#[derive(Debug)]
pub struct Loader {
    channels: Vec<Receiver<Result<Batch>>>,
    threads: Vec<JoinHandle<()>>,
    start: u64,
    next: u64,
    end: u64,
}

impl Loader {
    /// Starts `workers` threads that prepare the micro-batches `range` of `sampler`, each at most `prefetch` ahead.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        dataset: &Dataset,
        sampler: &Arc<Sampler>,
        range: Range<u64>,
        workers: usize,
        prefetch: usize,
    ) -> Result<Self> {
        let workers = workers.max(1);
        let Range { start, end } = range;
        let mut loader = Self { channels: Vec::new(), threads: Vec::new(), start, next: start, end };
        for worker in 0..workers as u64 {
            let (send, receive) = sync_channel(prefetch.max(1));
            let (set, sampler) = (dataset.clone(), Arc::clone(sampler));
            let numbers = (start + worker..end).step_by(workers);
            let work = move || {
                for number in numbers {
                    let (at, places) = sampler.micro_batch(number);
                    let batch = set.batch(&places, at);
                    let failed = batch.is_err();
                    // A closed channel means that nobody wants more.
                    if send.send(batch).is_err() || failed {
                        return;
                    }
                }
            };
            let thread = std::thread::Builder::new().name(format!("loader-{worker}")).spawn(work);
            loader.channels.push(receive);
            loader.threads.push(thread.map_err(DataError::io("start a loader thread for", dataset.path()))?);
        }
        Ok(loader)
    }
}

impl Iterator for Loader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let turn = (self.next - self.start) % self.channels.len() as u64;
        let batch = self.channels[turn as usize].recv().unwrap_or(Err(DataError::Worker { batch: self.next }));
        self.next = if batch.is_err() { self.end } else { self.next + 1 };
        Some(batch)
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // Workers blocked on a full channel wake up when it closes.
        self.channels.clear();
        for thread in self.threads.drain(..) {
            // A worker that panicked has already said why; there is nobody to tell here.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::sampler::Order;
    use crate::data::testing::{scenes_dataset, temporary_dataset};

    fn batches(dataset: &Dataset, workers: usize, range: Range<u64>) -> Vec<Result<Batch>> {
        let sampler = Arc::new(Sampler::new(dataset.len(), 3, 2, 7, Order::Shuffled));
        Loader::start(dataset, &sampler, range, workers, 2).unwrap().collect()
    }

    #[test]
    fn one_two_and_four_workers_give_the_same_batches() {
        let dataset = scenes_dataset(4, 0);
        let one: Vec<_> = batches(&dataset, 1, 3..20).into_iter().map(Result::unwrap).collect();
        assert_eq!(one.len(), 17);
        assert_eq!((one[0].at.step, one[0].at.micro), (1, 1));
        for workers in [2, 4] {
            let more: Vec<_> = batches(&dataset, workers, 3..20).into_iter().map(Result::unwrap).collect();
            assert!(one == more, "{workers} workers give other batches");
        }
    }

    #[test]
    fn an_error_comes_in_its_turn_names_sample_and_file_and_ends_the_loader() {
        let json = r#"[{"id": "good", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
            {"id": "bad", "image": "no.png", "conversations": [{"from": "human", "value": "<image>\na"}, {"from": "gpt", "value": "b"}]}]"#;
        let (dir, dataset) = temporary_dataset(json, 4);
        let sampler = Arc::new(Sampler::sequential(2, 1));
        for workers in [1, 2, 4] {
            let mut loader = Loader::start(&dataset, &sampler, 0..100, workers, 2).unwrap();
            assert_eq!(&*loader.next().unwrap().unwrap().samples[0].id, "good");
            let error = loader.next().unwrap().unwrap_err().to_string();
            let path = dir.path().join("no.png");
            assert!(error.starts_with("sample \"bad\": the image is missing (mend the file"), "{error}");
            assert!(error.ends_with(&*path.to_string_lossy()), "{error}");
            assert!(loader.next().is_none());
        }
    }

    #[test]
    fn dropping_a_loader_ends_its_threads() {
        let dataset = scenes_dataset(2, 0);
        let sampler = Arc::new(Sampler::new(dataset.len(), 1, 1, 0, Order::Shuffled));
        let mut loader = Loader::start(&dataset, &sampler, 0..u64::MAX, 3, 1).unwrap();
        assert!(loader.next().unwrap().is_ok());
        drop(loader);
        // The workers held the sampler; joined, they hold it no more.
        assert_eq!(Arc::strong_count(&sampler), 1);
    }
}
