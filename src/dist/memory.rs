//! Sums on the host: the first member adds in the order of the members, the others wait for what comes back.

use super::Collective;
use crate::kernels;
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The first member's end.
#[derive(Debug)]
struct First(Vec<(Receiver<Vec<f32>>, Sender<Arc<[f32]>>)>);

/// Another member's.
#[derive(Debug)]
struct Other {
    to_first: Sender<Vec<f32>>,
    from_first: Receiver<Arc<[f32]>>,
}

pub(super) fn join(members: usize) -> Vec<Box<dyn Collective>> {
    let (mut first, mut others): (_, Vec<Box<dyn Collective>>) = (Vec::new(), Vec::new());
    for _ in 1..members {
        let ((to_first, from_other), (to_other, from_first)) = (channel(), channel());
        first.push((from_other, to_other));
        others.push(Box::new(Other { to_first, from_first }));
    }
    others.insert(0, Box::new(First(first)));
    others
}

/// A closed channel instead of a wait that never ends.
fn gone<E>(_: E) -> candle_core::Error {
    candle_core::Error::Msg("another member of the team is gone".into())
}

fn elsewhere(tensors: &[Tensor]) -> Result<()> {
    if tensors.is_empty() { Ok(()) } else { bail!("gradients outside the host cannot be summed through memory") }
}

impl Collective for First {
    fn sum_host(&self, numbers: &mut [f32]) -> Result<()> {
        for (number, (from, _)) in self.0.iter().enumerate() {
            let theirs = from.recv().map_err(gone)?;
            if theirs.len() != numbers.len() {
                bail!("member {} sums {} numbers, the first {}", number + 1, theirs.len(), numbers.len());
            }
            kernels::accumulate(numbers, &theirs, true);
        }
        let sum: Arc<[f32]> = Arc::from(&*numbers);
        self.0.iter().try_for_each(|(_, to)| to.send(Arc::clone(&sum)).map_err(gone))
    }

    fn sum_there(&self, tensors: &[Tensor]) -> Result<()> {
        elsewhere(tensors)
    }
}

impl Collective for Other {
    fn sum_host(&self, numbers: &mut [f32]) -> Result<()> {
        self.to_first.send(numbers.to_vec()).map_err(gone)?;
        let sum = self.from_first.recv().map_err(gone)?;
        numbers.copy_from_slice(&sum);
        Ok(())
    }

    fn sum_there(&self, tensors: &[Tensor]) -> Result<()> {
        elsewhere(tensors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn every_member_gets_the_sum_in_the_members_order() {
        // In another order the small numbers would survive.
        let own = [vec![1e8_f32, 1.0], vec![1.0, 2.0], vec![-1e8, 3.0], vec![1.0, 4.0]];
        let members: Vec<_> = join(own.len())
            .into_iter()
            .zip(own)
            .map(|(end, mut numbers)| {
                thread::spawn(move || {
                    end.sum_host(&mut numbers).unwrap();
                    numbers
                })
            })
            .collect();
        for member in members {
            assert_eq!(member.join().unwrap(), [1.0, 10.0]);
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
        let sums = thread::spawn(move || other.sum_host(&mut [1.0, 2.0]).is_err());
        let error = ends[0].sum_host(&mut [1.0]).unwrap_err().to_string();
        assert!(error.contains("member 1 sums 2 numbers, the first 1"), "{error}");
        drop(ends);
        assert!(sums.join().unwrap());
    }
}
