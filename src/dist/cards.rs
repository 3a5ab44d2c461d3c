//! Members on cards, joined by NCCL.

use super::Collective;
use crate::kernels::cuda::{Communicator, communicators};
use candle_core::{Device, Result, Tensor, bail};

pub(super) fn join(devices: &[Device]) -> Result<Vec<Box<dyn Collective>>> {
    let ends = communicators(devices)?;
    Ok(ends.into_iter().map(|end| -> Box<dyn Collective> { Box::new(end) }).collect())
}

impl Collective for Communicator {
    fn sum_host(&self, _: &mut [f32]) -> Result<()> {
        bail!("numbers on the host cannot be summed over cards")
    }

    fn sum_there(&self, tensors: &[Tensor]) -> Result<()> {
        self.sum(tensors)
    }

    fn spread_host(&self, _: &mut [f32], _: usize) -> Result<()> {
        bail!("numbers on the host do not go from card to card")
    }

    fn spread_there(&self, tensors: &[(Tensor, usize)]) -> Result<()> {
        self.spread(tensors)
    }
}
