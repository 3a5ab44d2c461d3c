//! Answering: tokens one after another, with the keys and values of those before kept.

use super::covft::LayerRouting;
use super::mllm::{Mllm, MllmInput};
use crate::nn::Stream;
use crate::ops::{Ctx, IGNORE_INDEX};
use candle_core::{DType, Result, Tensor, bail};
use rand::Rng;

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Sampling {
    /// The likeliest; the lower id of equals.
    #[default]
    Greedy,
    /// Drawn from the likeliest tokens that together reach `top_p`.
    TopP {
        /// Logits are divided by it; above 0.
        temperature: f64,
        /// Share of the probability that may be drawn, in (0, 1].
        top_p: f64,
        /// Of the stream of draws.
        seed: u64,
    },
}

/// When to stop, and how to choose.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// At most so many new tokens.
    pub max_new_tokens: usize,
    /// Ids that end the answer; they are not part of it.
    pub stop: Vec<u32>,
    /// How the next token is chosen.
    pub sampling: Sampling,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Generated {
    /// New ids, without the one that ended the answer.
    pub ids: Vec<u32>,
    /// Whether a stop id ended it (and not the limit).
    pub stopped: bool,
    /// Context and routing of the image's pass through the tower.
    pub routing: Vec<LayerRouting>,
}

/// A question: an image, the prompt around it, and the text that asks for the context.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// `[1, 3, S, S]`, zeros without an image.
    pub pixels: &'a Tensor,
    /// The prompt's ids; [`IMAGE_TOKEN`](super::mllm::IMAGE_TOKEN) marks the image.
    pub input_ids: &'a [i64],
    /// The text encoder's ids, special tokens included.
    pub context_ids: &'a [u32],
}

impl Mllm {
    /// Answers one question. Records nothing.
    ///
    /// # Errors
    /// A prompt that leaves no room for an answer; sampling options out of range.
    pub fn generate(&self, question: &Question<'_>, options: &GenerateOptions) -> Result<Generated> {
        let mut chooser = Chooser::new(options.sampling)?;
        let ctx = self.computing(&Ctx::eval());
        let (prompt, routing) = self.prompt(question)?;
        let (_, used, _) = prompt.dims3()?;
        let capacity = self.max_length().min(used + options.max_new_tokens);
        if used >= capacity && options.max_new_tokens > 0 {
            bail!("the prompt fills {used} of at most {} rows, which leaves no room for an answer", self.max_length());
        }
        let mut cache = self.language.cache(capacity)?;
        let mut generated = Generated { ids: Vec::new(), stopped: false, routing };
        let mut x = prompt;
        while used + generated.ids.len() < capacity {
            let states = self.language.advance(&x, &mut cache)?;
            let last = states.narrow(1, states.dim(1)? - 1, 1)?.flatten_to(1)?.contiguous()?;
            let logits = self.language.logits(&ctx, &last)?.to_dtype(DType::F32)?.flatten_all()?;
            let id = chooser.choose(&logits.to_vec1()?);
            if options.stop.contains(&id) {
                generated.stopped = true;
                break;
            }
            generated.ids.push(id);
            x = self.language.embed(&ctx, &Tensor::new(&[[id]], question.pixels.device())?)?;
        }
        Ok(generated)
    }

    /// The prompt's rows `[1, L, D]`, image spliced in.
    fn prompt(&self, question: &Question<'_>) -> Result<(Tensor, Vec<LayerRouting>)> {
        let ctx = Ctx::eval();
        let input = MllmInput {
            pixels: question.pixels.clone(),
            input_ids: vec![question.input_ids.to_vec()],
            labels: vec![vec![IGNORE_INDEX; question.input_ids.len()]],
            context_ids: vec![question.context_ids.to_vec()],
            task_ids: None,
        };
        let vision = self.vision(&ctx, &input.pixels, &input.context_ids)?;
        let projected = self.projected(&ctx, &vision.features)?;
        Ok((self.embedded(&ctx, &projected, &self.spliced(&input)?)?, vision.routing))
    }
}

/// Chooses tokens by [`Sampling`].
struct Chooser {
    sampling: Sampling,
    stream: Stream,
}

impl Chooser {
    fn new(sampling: Sampling) -> Result<Self> {
        let seed = match sampling {
            Sampling::Greedy => 0,
            Sampling::TopP { temperature, top_p, seed } => {
                if !(temperature.is_finite() && temperature > 0.0 && top_p > 0.0 && top_p <= 1.0) {
                    bail!("sampling needs a temperature above 0 and top_p in (0, 1], not {temperature} and {top_p}");
                }
                seed
            }
        };
        Ok(Self { sampling, stream: Stream::new(seed, "generate") })
    }

    fn choose(&mut self, logits: &[f32]) -> u32 {
        match self.sampling {
            Sampling::Greedy => likeliest(logits) as u32,
            Sampling::TopP { temperature, top_p, .. } => {
                let draw = self.stream.rng().random::<f64>();
                top_p_choice(logits, temperature, top_p, draw) as u32
            }
        }
    }
}

/// The highest logit, the lower index of equals.
fn likeliest(logits: &[f32]) -> usize {
    logits.iter().enumerate().fold(0, |best, (i, l)| if *l > logits[best] { i } else { best })
}

/// Indices by falling logit, the lower index of equals first.
fn ranked(logits: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
    order
}

/// The token at `draw` in [0, 1) of the cumulative distribution over the fewest likeliest tokens that reach `top_p`.
fn top_p_choice(logits: &[f32], temperature: f64, top_p: f64, draw: f64) -> usize {
    let order = ranked(logits);
    let Some(best) = order.first().map(|i| f64::from(logits[*i])) else { return 0 };
    let weights: Vec<f64> = order.iter().map(|i| ((f64::from(logits[*i]) - best) / temperature).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut kept = 0.0;
    let mut count = 0;
    while count < weights.len() && kept < top_p * total {
        kept += weights[count];
        count += 1;
    }
    let mut left = draw * kept;
    for (index, weight) in order[..count].iter().zip(&weights) {
        left -= weight;
        if left < 0.0 {
            return *index;
        }
    }
    order[count.saturating_sub(1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_p_keeps_the_likeliest_and_draws_by_share() {
        // Probabilities 0.5, 0.25, 0.125, 0.125 at indices 1, 0, 2, 3.
        let logits = [0.25f32.ln(), 0.5f32.ln(), 0.125f32.ln(), 0.125f32.ln()];
        let at = |top_p, draw| top_p_choice(&logits, 1.0, top_p, draw);
        assert_eq!((at(0.5, 0.0), at(0.5, 0.99)), (1, 1));
        assert_eq!((at(0.7, 0.6), at(0.7, 0.7), at(0.7, 0.99)), (1, 0, 0));
        assert_eq!((at(1.0, 0.76), at(1.0, 0.9)), (2, 3));
        // A low temperature leaves only the best.
        assert_eq!(top_p_choice(&logits, 0.01, 1.0, 0.999), 1);
    }

    #[test]
    fn options_out_of_range_are_refused() {
        for (temperature, top_p) in [(0.0, 0.9), (1.0, 0.0), (1.0, 1.1), (f64::NAN, 0.9)] {
            assert!(Chooser::new(Sampling::TopP { temperature, top_p, seed: 0 }).is_err());
        }
        assert_eq!(Chooser::new(Sampling::Greedy).unwrap().choose(&[0.0, 2.0, 2.0]), 1);
    }
}
