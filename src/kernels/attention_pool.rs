//! Attention of one query a sample, over tokens that each have the same vector `e` joined to them, without keys and values
//! of single tokens.
//!
//! A head's scores are `q_h . (K_h [x_n; e] + b) = (K_h^T q_h) . x_n + const`, and a constant leaves the softmax as it is; its
//! result is `V_h [sum_n p_n x_n; e] + b`, since the `p_n` sum to 1. So one vector a head asks the tokens, and one leaves
//! them.

use super::attention::{dot_row, scale_row, scores_row, softmax_row};
use super::dispatch::level;
use super::matmul::{Matrix, matmul_into, matmul_strided};
use rayon::prelude::*;

/// Sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolShape {
    /// Samples B.
    pub samples: usize,
    /// Tokens N of a sample.
    pub tokens: usize,
    /// Width D of a token.
    pub width: usize,
    /// Width E of what is joined to every token.
    pub joined: usize,
    /// Width C of queries and results.
    pub context: usize,
    /// Heads H.
    pub heads: usize,
}

impl PoolShape {
    fn head(&self) -> usize {
        self.context / self.heads
    }

    /// What scores are multiplied by.
    pub(crate) fn scale(&self) -> f32 {
        (1.0 / (self.head() as f64).sqrt()) as f32
    }

    /// Head `h` of `[B, C]`: `[B, C / H]`.
    fn columns<'a>(&self, of: &'a [f32], h: usize) -> Matrix<'a> {
        Matrix::strided(&of[h * self.head()..], self.samples, self.head(), self.context)
    }

    /// A head's part of a weight `[C, D + E]` that meets the tokens: `[C / H, D]`.
    fn of_tokens<'a>(&self, weight: &'a [f32], h: usize) -> Matrix<'a> {
        let wide = self.width + self.joined;
        Matrix::strided(&weight[h * self.head() * wide..], self.head(), self.width, wide)
    }

    /// What meets the joined vector: `[C, E]`.
    fn of_joined<'a>(&self, weight: &'a [f32]) -> Matrix<'a> {
        let wide = self.width + self.joined;
        Matrix::strided(&weight[self.width.min(weight.len())..], self.context, self.joined, wide)
    }

    /// Vector of head `h` of every sample, of `[B, H, D]`: `[B, D]`.
    fn by_sample<'a>(&self, of: &'a [f32], h: usize) -> Matrix<'a> {
        Matrix::strided(&of[h * self.width..], self.samples, self.width, self.heads * self.width)
    }

    /// Vectors of all heads of sample `b`, of `[H, B, D]`: `[H, D]`.
    fn by_head<'a>(&self, of: &'a [f32], b: usize) -> Matrix<'a> {
        Matrix::strided(&of[b * self.width..], self.heads, self.width, self.samples * self.width)
    }

    fn tokens_of<'a>(&self, tokens: &'a [f32], b: usize) -> Matrix<'a> {
        let size = self.tokens * self.width;
        Matrix::new(&tokens[b * size..(b + 1) * size], self.tokens, self.width)
    }

    fn check(&self, query: &[f32], tokens: &[f32], joined: &[f32], weights: [&[f32]; 2]) {
        let &Self { samples, tokens: n, width, joined: e, context, heads } = self;
        assert!(heads > 0 && context.is_multiple_of(heads) && samples * n * width * context > 0, "{self:?}");
        assert!(query.len() == samples * context && tokens.len() == samples * n * width, "{self:?}");
        assert!(joined.len() == samples * e, "{self:?}");
        assert!(weights.iter().all(|w| w.len() == context * (width + e)), "{self:?}");
    }
}

/// What the backward pass needs of the forward pass.
#[derive(Clone, Debug)]
pub struct Pooled {
    /// `K_h^T q_h [H, B, D]`.
    asked: Vec<f32>,
    /// Probabilities `[B, H, N]`.
    p: Vec<f32>,
    /// `sum_n p_n x_n [B, H, D]`.
    means: Vec<f32>,
}

/// `query [B, C]`, `tokens [B, N, D]`, `joined [B, E]`, `keys`, `values [C, D + E]`, `bias [C]` of the values; returns `[B, C]` and
/// what is kept.
///
/// # Panics
/// If the lengths do not fit.
#[must_use]
pub fn attention_pool(
    query: &[f32],
    tokens: &[f32],
    joined: &[f32],
    [keys, values, bias]: [&[f32]; 3],
    shape: PoolShape,
) -> (Vec<f32>, Pooled) {
    shape.check(query, tokens, joined, [keys, values]);
    let PoolShape { samples, tokens: n, width, joined: e, context, heads } = shape;
    let (level, scale) = (level(), shape.scale());
    let mut asked = vec![0.0; heads * samples * width];
    asked.par_chunks_mut(samples * width).enumerate().for_each(|(h, asked)| {
        matmul_strided(asked, width, shape.columns(query, h), shape.of_tokens(keys, h), false);
    });
    let mut p = vec![0.0; samples * heads * n];
    let mut means = vec![0.0; samples * heads * width];
    p.par_chunks_mut(heads * n).zip(means.par_chunks_mut(heads * width)).enumerate().for_each(|(b, (p, means))| {
        let x = shape.tokens_of(tokens, b);
        matmul_strided(p, n, shape.by_head(&asked, b), x.t(), false);
        for row in p.chunks_exact_mut(n) {
            let (_, sum) = softmax_row(level, row, n, scale);
            scale_row(level, row, sum.recip());
        }
        matmul_strided(means, width, Matrix::new(p, heads, n), x, false);
    });
    let mut result = bias.repeat(samples);
    for h in 0..heads {
        let of_head = &mut result[h * shape.head()..];
        matmul_strided(of_head, context, shape.by_sample(&means, h), shape.of_tokens(values, h).t(), true);
    }
    matmul_into(&mut result, Matrix::new(joined, samples, e), shape.of_joined(values).t(), true);
    (result, Pooled { asked, p, means })
}

/// Gradients of the operands, and what those of the weights are made of.
#[derive(Clone, Debug)]
pub struct PoolGradients {
    /// `[B, C]`.
    pub query: Vec<f32>,
    /// `[B, N, D]`.
    pub tokens: Vec<f32>,
    /// `[B, E]`.
    pub joined: Vec<f32>,
    /// Of the vectors that ask the tokens, `[B, H, D]`.
    asked: Vec<f32>,
}

/// `grad [B, C]` is the gradient of the result.
///
/// # Panics
/// If the lengths do not fit.
#[must_use]
pub fn attention_pool_backward(
    grad: &[f32],
    tokens: &[f32],
    [keys, values]: [&[f32]; 2],
    pooled: &Pooled,
    shape: PoolShape,
) -> PoolGradients {
    let PoolShape { samples, tokens: n, width, joined: e, context, heads } = shape;
    assert!(grad.len() == samples * context && tokens.len() == samples * n * width, "{shape:?}");
    let (level, scale) = (level(), shape.scale());
    let mut d_means = vec![0.0; heads * samples * width];
    d_means.par_chunks_mut(samples * width).enumerate().for_each(|(h, d_means)| {
        matmul_strided(d_means, width, shape.columns(grad, h), shape.of_tokens(values, h), false);
    });
    let mut d_tokens = vec![0.0; samples * n * width];
    let mut d_asked = vec![0.0; samples * heads * width];
    let of_samples = d_tokens.par_chunks_mut(n * width).zip(d_asked.par_chunks_mut(heads * width));
    of_samples.enumerate().for_each(|(b, (d_tokens, d_asked))| {
        let (x, d_means) = (shape.tokens_of(tokens, b), shape.by_head(&d_means, b));
        let p = &pooled.p[b * heads * n..(b + 1) * heads * n];
        let mut d_scores = vec![0.0; heads * n];
        matmul_strided(&mut d_scores, n, d_means, x.t(), false);
        for (p, d) in p.chunks_exact(n).zip(d_scores.chunks_exact_mut(n)) {
            let delta = dot_row(level, p, d);
            scores_row(level, p, d, delta, scale);
        }
        matmul_strided(d_tokens, width, Matrix::new(p, heads, n).t(), d_means, false);
        let d_scores = Matrix::new(&d_scores, heads, n);
        matmul_strided(d_tokens, width, d_scores.t(), shape.by_head(&pooled.asked, b), true);
        matmul_strided(d_asked, width, d_scores, x, false);
    });
    let mut query = vec![0.0; samples * context];
    for h in 0..heads {
        let of_head = &mut query[h * shape.head()..];
        matmul_strided(of_head, context, shape.by_sample(&d_asked, h), shape.of_tokens(keys, h).t(), false);
    }
    let mut joined = vec![0.0; samples * e];
    matmul_into(&mut joined, Matrix::new(grad, samples, context), shape.of_joined(values), false);
    PoolGradients { query, tokens: d_tokens, joined, asked: d_asked }
}

/// Both factors of a weight's gradient: it is the sum over samples and heads of `rows_h` (a head's part of `[B, C]`) times
/// `[vector_h; joined]`.
#[derive(Clone, Copy, Debug)]
pub struct PoolFactors<'a> {
    /// `[B, C]`.
    rows: &'a [f32],
    /// `[B, H, D]`.
    vectors: &'a [f32],
    /// `[B, E]`; `None` for zeros.
    joined: Option<&'a [f32]>,
    shape: PoolShape,
}

impl<'a> PoolFactors<'a> {
    /// Those of the keys. What is joined to the tokens has no part in them: it moves all scores of a sample alike.
    #[must_use]
    pub fn keys(query: &'a [f32], gradients: &'a PoolGradients, shape: PoolShape) -> Self {
        Self { rows: query, vectors: &gradients.asked, joined: None, shape }
    }

    /// Those of the values.
    #[must_use]
    pub fn values(grad: &'a [f32], joined: &'a [f32], pooled: &'a Pooled, shape: PoolShape) -> Self {
        Self { rows: grad, vectors: &pooled.means, joined: Some(joined), shape }
    }

    /// Writes the gradient `[C, D + E]`, or adds it if `add`.
    pub fn weight_gradient(&self, dw: &mut [f32], add: bool) {
        let (shape, wide) = (self.shape, self.shape.width + self.shape.joined);
        dw.par_chunks_mut(shape.head() * wide).enumerate().for_each(|(h, dw)| {
            let rows = shape.columns(self.rows, h).t();
            matmul_strided(dw, wide, rows, shape.by_sample(self.vectors, h), add);
            match self.joined {
                _ if shape.joined == 0 => {}
                Some(joined) => {
                    let joined = Matrix::new(joined, shape.samples, shape.joined);
                    matmul_strided(&mut dw[shape.width..], wide, rows, joined, add);
                }
                None if add => {}
                None => dw.chunks_exact_mut(wide).for_each(|row| row[shape.width..].fill(0.0)),
            }
        });
    }

    /// The factors as those of a linear layer with a row for each head: inputs `[B, H, D + E]` and gradients of its outputs
    /// `[B, H, C]`, which are zero but for the head's own part.
    #[must_use]
    pub fn rows(&self) -> [Vec<f32>; 2] {
        let PoolShape { samples, width, joined: e, context, heads, .. } = self.shape;
        let (head, zeros) = (self.shape.head(), vec![0.0; e]);
        let mut input = Vec::with_capacity(samples * heads * (width + e));
        let mut output = vec![0.0; samples * heads * context];
        for row in 0..samples * heads {
            let (b, h) = (row / heads, row % heads);
            input.extend_from_slice(&self.vectors[row * width..(row + 1) * width]);
            input.extend_from_slice(self.joined.map_or(&zeros, |joined| &joined[b * e..(b + 1) * e]));
            let own = &self.rows[b * context + h * head..][..head];
            output[row * context + h * head..][..head].copy_from_slice(own);
        }
        [input, output]
    }
}
