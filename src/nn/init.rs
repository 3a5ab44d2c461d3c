//! Random initialisation with PyTorch's distributions, from a counter-based stream of our own: the same seed and name
//! give the same numbers on every device and in every order of construction.

use candle_core::{Device, Result, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// How a tensor that no checkpoint holds begins.
#[derive(Clone, Debug, PartialEq)]
pub enum Init {
    /// It must be in the checkpoint.
    Required,
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// Uniform in `[-bound, bound]`.
    Uniform(f64),
    /// Normal with this standard deviation.
    Normal(f64),
    /// A copy of another tensor of the same source (an expert of its layer's FFN), or of what that tensor would be
    /// initialised with.
    CopyOf(String, Box<Self>),
}

impl Init {
    /// `nn.Linear`'s weight and bias: uniform with bound `1 / sqrt(fan_in)` (`kaiming_uniform(a = sqrt 5)`).
    #[must_use]
    pub fn linear(fan_in: usize) -> Self {
        Self::Uniform(1.0 / (fan_in as f64).sqrt())
    }

    /// `xavier_uniform_`: bound `sqrt(6 / (fan_in + fan_out))`.
    #[must_use]
    pub fn xavier(fan_in: usize, fan_out: usize) -> Self {
        Self::Uniform((6.0 / (fan_in + fan_out) as f64).sqrt())
    }
}

/// A seeded stream of numbers for one named tensor.
#[derive(Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of `name` under `seed`.
    #[must_use]
    pub fn new(seed: u64, name: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        hash.update(name.as_bytes());
        Self(ChaCha8Rng::from_seed(hash.finalize().into()))
    }

    /// Uniform in `[-bound, bound)`.
    pub fn uniform(&mut self, n: usize, bound: f64) -> Vec<f32> {
        (0..n).map(|_| (self.0.random::<f64>().mul_add(2.0 * bound, -bound)) as f32).collect()
    }

    /// Normal with mean 0 (Box-Muller).
    pub fn normal(&mut self, n: usize, deviation: f64) -> Vec<f32> {
        (0..n)
            .map(|_| {
                let radius = (-2.0 * (1.0 - self.0.random::<f64>()).ln()).sqrt();
                let angle = std::f64::consts::TAU * self.0.random::<f64>();
                (deviation * radius * angle.cos()) as f32
            })
            .collect()
    }

    /// The generator itself, for shuffles and sampling.
    pub fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.0
    }
}

impl Init {
    /// Draws the tensor; `None` for [`Init::Required`] and [`Init::CopyOf`], which need a source.
    pub(super) fn draw(&self, seed: u64, name: &str, dims: &[usize]) -> Result<Option<Tensor>> {
        let n = dims.iter().product();
        let values = match self {
            Self::Required | Self::CopyOf(..) => return Ok(None),
            Self::Zeros => vec![0.0; n],
            Self::Ones => vec![1.0; n],
            Self::Uniform(bound) => Stream::new(seed, name).uniform(n, *bound),
            Self::Normal(deviation) => Stream::new(seed, name).normal(n, *deviation),
        };
        Tensor::from_vec(values, dims, &Device::Cpu).map(Some)
    }
}
