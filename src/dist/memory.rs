//! Members on the host: all pass through the first one, which adds in the order of the members.

use super::Collective;
use crate::kernels;
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// The first member's end.
#[derive(Debug)]
struct First(Vec<(Receiver<Vec<f32>>, SyncSender<Arc<[f32]>>)>);

/// Another member's.
#[derive(Debug)]
struct Other {
    member: usize,
    to_first: SyncSender<Vec<f32>>,
    from_first: Receiver<Arc<[f32]>>,
}

pub(super) fn join(members: usize) -> Vec<Box<dyn Collective>> {
    let (mut first, mut others): (_, Vec<Box<dyn Collective>>) = (Vec::new(), Vec::new());
    for member in 1..members {
        let ((to_first, from_other), (to_other, from_first)) = (sync_channel(1), sync_channel(1));
        first.push((from_other, to_other));
        others.push(Box::new(Other { member, to_first, from_first }));
    }
    others.insert(0, Box::new(First(first)));
    others
}

/// A closed channel instead of a wait that never ends.
fn gone<E>(_: E) -> candle_core::Error {
    candle_core::Error::Msg("another member of the team is gone".into())
}

fn elsewhere<T>(tensors: &[T]) -> Result<()> {
    if tensors.is_empty() { Ok(()) } else { bail!("what lies outside the host does not go through memory") }
}

impl First {
    /// What member `number + 1` gives for `len` numbers.
    fn of(&self, number: usize, len: usize) -> Result<Vec<f32>> {
        let Some((from, _)) = self.0.get(number) else { bail!("there is no member {}", number + 1) };
        let theirs = from.recv().map_err(gone)?;
        if theirs.len() != len {
            bail!("member {} has {} numbers where the first has {len}", number + 1, theirs.len());
        }
        Ok(theirs)
    }

    fn give(&self, numbers: &[f32]) -> Result<()> {
        let numbers: Arc<[f32]> = Arc::from(numbers);
        self.0.iter().try_for_each(|(_, to)| to.send(Arc::clone(&numbers)).map_err(gone))
    }
}

impl Collective for First {
    fn sum_host(&self, numbers: &mut [f32]) -> Result<()> {
        for number in 0..self.0.len() {
            let theirs = self.of(number, numbers.len())?;
            kernels::accumulate(numbers, &theirs, true);
        }
        self.give(numbers)
    }

    fn sum_there(&self, tensors: &[Tensor]) -> Result<()> {
        elsewhere(tensors)
    }

    fn spread_host(&self, numbers: &mut [f32], from: usize) -> Result<()> {
        if let Some(number) = from.checked_sub(1) {
            numbers.copy_from_slice(&self.of(number, numbers.len())?);
        }
        self.give(numbers)
    }

    fn spread_there(&self, tensors: &[(Tensor, usize)]) -> Result<()> {
        elsewhere(tensors)
    }
}

impl Other {
    fn take(&self, numbers: &mut [f32]) -> Result<()> {
        let theirs = self.from_first.recv().map_err(gone)?;
        if theirs.len() != numbers.len() {
            bail!("the first member has {} numbers where member {} has {}", theirs.len(), self.member, numbers.len());
        }
        numbers.copy_from_slice(&theirs);
        Ok(())
    }
}

impl Collective for Other {
    fn sum_host(&self, numbers: &mut [f32]) -> Result<()> {
        self.to_first.send(numbers.to_vec()).map_err(gone)?;
        self.take(numbers)
    }

    fn sum_there(&self, tensors: &[Tensor]) -> Result<()> {
        elsewhere(tensors)
    }

    fn spread_host(&self, numbers: &mut [f32], from: usize) -> Result<()> {
        if from == self.member {
            self.to_first.send(numbers.to_vec()).map_err(gone)?;
        }
        self.take(numbers)
    }

    fn spread_there(&self, tensors: &[(Tensor, usize)]) -> Result<()> {
        elsewhere(tensors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// What each member has after `work` with its end and its numbers.
    fn each<const N: usize>(own: [[f32; 2]; N], work: impl Fn(&dyn Collective, &mut [f32]) + Sync) -> Vec<[f32; 2]> {
        let work = &work;
        thread::scope(|scope| {
            let start = |(end, mut numbers): (Box<dyn Collective>, [f32; 2])| {
                scope.spawn(move || {
                    work(end.as_ref(), &mut numbers);
                    numbers
                })
            };
            let members: Vec<_> = join(N).into_iter().zip(own).map(start).collect();
            members.into_iter().map(|member| member.join().unwrap()).collect()
        })
    }

    #[test]
    fn every_member_gets_the_sum_in_the_members_order() {
        // In another order both ones would survive.
        let own = [[1e8, 1.0], [1.0, 2.0], [-1e8, 3.0], [1.0, 4.0]];
        let sums = each(own, |end, numbers| end.sum_host(numbers).unwrap());
        assert_eq!(sums, [[1.0, 10.0]; 4]);
    }

    #[test]
    fn every_member_gets_what_one_has() {
        let own = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]];
        for from in 0..3 {
            assert_eq!(each(own, |end, numbers| end.spread_host(numbers, from).unwrap()), [own[from]; 3]);
        }
    }

    #[test]
    fn a_member_that_is_gone_is_an_error_and_no_endless_wait() {
        let mut ends = join(3);
        drop(ends.remove(1));
        let error = ends[0].sum_host(&mut [1.0]).unwrap_err().to_string();
        assert!(error.contains("gone"), "{error}");
        drop(ends.remove(0));
        assert!(ends[0].sum_host(&mut [1.0]).is_err());
        let mut ends = join(2);
        let other = ends.remove(1);
        thread::scope(|scope| {
            let sums = scope.spawn(move || other.sum_host(&mut [1.0, 2.0]).is_err());
            let error = ends[0].sum_host(&mut [1.0]).unwrap_err().to_string();
            assert!(error.contains("member 1 has 2 numbers where the first has 1"), "{error}");
            drop(ends);
            assert!(sums.join().unwrap());
        });
    }
}
