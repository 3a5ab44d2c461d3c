//! BERT, the text encoder whose vector asks for the context (Devlin et al. 2019; `BertModel` of Hugging Face).
//!
//! Post-norm blocks, exact GELU, learned positions, no dropout: the encoder is frozen in the published method and its
//! vector must be the same in training and evaluation.

use super::shapes::TextShape;
use crate::config::model::Pool;
use crate::nn::{Init, LayerNorm, Linear, ParamBuilder};
use crate::ops::{self, AttentionSpec, Ctx, Weight};
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

/// Standard deviation that BERT and LLaMA draw their matrices with.
pub(super) const INITIALIZER_RANGE: f64 = 0.02;

/// A linear layer drawn as BERT and LLaMA draw theirs: normal weights, zero bias.
pub(super) fn normal_linear(pb: &ParamBuilder<'_>, d_in: usize, d_out: usize, bias: bool) -> Result<Linear> {
    let weight = pb.get(&[d_out, d_in], "weight", Init::Normal(INITIALIZER_RANGE))?;
    let bias = if bias { Some(pb.get(&[d_out], "bias", Init::Zeros)?) } else { None };
    Ok(Linear { weight, bias })
}

/// The encoder.
#[derive(Clone, Debug)]
pub struct Bert {
    words: Weight,
    positions: Weight,
    types: Weight,
    norm: LayerNorm,
    blocks: Vec<Block>,
    pool: Pool,
    shape: TextShape,
}

#[derive(Clone, Debug)]
struct Block {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_out: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    norm: LayerNorm,
}

impl Bert {
    /// Keys as in `BertModel` below the builder's prefix. The pooler is kept for the checkpoint's sake where the source
    /// has one; nothing reads it.
    pub fn new(pb: &ParamBuilder<'_>, shape: &TextShape, pool: Pool) -> Result<Self> {
        let d = shape.width;
        let table = |rows: usize, name: &str| {
            pb.pp("embeddings").pp(name).get(&[rows, d], "weight", Init::Normal(INITIALIZER_RANGE))
        };
        let words = table(shape.vocabulary, "word_embeddings")?;
        let positions = table(shape.positions, "position_embeddings")?;
        let types = table(shape.types, "token_type_embeddings")?;
        let norm = LayerNorm::new(&pb.pp("embeddings.LayerNorm"), d, shape.eps)?;
        let layers = pb.pp("encoder.layer");
        let blocks = (0..shape.layers).map(|i| Block::new(&layers.pp(i), shape)).collect::<Result<_>>()?;
        let pooler = pb.pp("pooler.dense").unreached();
        if pooler.contains("weight")? {
            normal_linear(&pooler, d, d, true)?;
        }
        Ok(Self { words, positions, types, norm, blocks, pool, shape: shape.clone() })
    }

    /// Width of the vector.
    #[must_use]
    pub fn width(&self) -> usize {
        self.shape.width
    }

    /// Longest text in tokens, special tokens included.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.shape.positions
    }

    /// One vector a text, `[B, C]`: the first token's state or the mean over the text's tokens.
    pub fn vector(&self, ctx: &Ctx, ids: &[Vec<u32>]) -> Result<Tensor> {
        let (states, lengths) = self.states(ctx, ids)?;
        let (b, t, d) = states.dims3()?;
        match self.pool {
            Pool::Cls => {
                let first: Vec<u32> = (0..b as u32).map(|i| i * t as u32).collect();
                ops::gather_rows(&states.reshape((b * t, d))?, &first)
            }
            Pool::Mean => {
                let mut share = vec![0f32; b * t];
                for (row, n) in share.chunks_mut(t).zip(lengths.iter()) {
                    row[..*n].fill(1.0 / *n as f32);
                }
                let share = Tensor::from_vec(share, (b, 1, t), states.device())?.to_dtype(states.dtype())?;
                ops::matmul(&share, &states)?.squeeze(1)
            }
        }
    }

    /// The last block's output `[B, T, C]`, right padded, and the valid tokens of each text.
    ///
    /// A text longer than the position table keeps its beginning and its last token, as the published tokenizers
    /// truncate.
    pub fn states(&self, ctx: &Ctx, ids: &[Vec<u32>]) -> Result<(Tensor, Arc<[usize]>)> {
        let (tokens, lengths, t) = self.pad(ids)?;
        let (b, device) = (ids.len(), self.words.tensor().device());
        let tokens = Tensor::from_vec(tokens, (b, t), device)?;
        let places = Tensor::from_vec((0..b * t).map(|i| (i % t) as u32).collect(), (b, t), device)?;
        let kinds = Tensor::zeros((b, t), candle_core::DType::U32, device)?;
        let words = ops::embedding(ctx, &tokens, &self.words)?;
        let x =
            ((words + ops::embedding(ctx, &kinds, &self.types)?)? + ops::embedding(ctx, &places, &self.positions)?)?;
        let mut x = self.norm.forward(ctx, &x)?;
        let spec = AttentionSpec { lengths: Some(lengths.clone()), ..AttentionSpec::bidirectional(self.shape.heads) };
        for block in &self.blocks {
            x = block.forward(ctx, &x, &spec)?;
        }
        Ok((x, lengths))
    }

    fn pad(&self, ids: &[Vec<u32>]) -> Result<(Vec<u32>, Arc<[usize]>, usize)> {
        let limit = self.shape.positions;
        let lengths: Arc<[usize]> = ids.iter().map(|text| text.len().min(limit)).collect();
        let Some(t) = lengths.iter().copied().max() else { bail!("the text encoder was given no text") };
        if lengths.contains(&0) {
            bail!("the text encoder was given a text without tokens: special tokens are part of every text");
        }
        let mut tokens = vec![0u32; ids.len() * t];
        for (row, text) in tokens.chunks_mut(t).zip(ids) {
            let n = text.len().min(limit);
            row[..n].copy_from_slice(&text[..n]);
            row[n - 1] = text[text.len() - 1];
        }
        Ok((tokens, lengths, t))
    }
}

impl Block {
    fn new(pb: &ParamBuilder<'_>, shape: &TextShape) -> Result<Self> {
        let (d, ffn) = (shape.width, shape.ffn);
        let own = pb.pp("attention.self");
        let out = pb.pp("attention.output");
        Ok(Self {
            query: normal_linear(&own.pp("query"), d, d, true)?,
            key: normal_linear(&own.pp("key"), d, d, true)?,
            value: normal_linear(&own.pp("value"), d, d, true)?,
            attention_out: normal_linear(&out.pp("dense"), d, d, true)?,
            attention_norm: LayerNorm::new(&out.pp("LayerNorm"), d, shape.eps)?,
            up: normal_linear(&pb.pp("intermediate.dense"), d, ffn, true)?,
            down: normal_linear(&pb.pp("output.dense"), ffn, d, true)?,
            norm: LayerNorm::new(&pb.pp("output.LayerNorm"), d, shape.eps)?,
        })
    }

    fn forward(&self, ctx: &Ctx, x: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
        let (q, k, v) = (self.query.forward(ctx, x)?, self.key.forward(ctx, x)?, self.value.forward(ctx, x)?);
        let attended = self.attention_out.forward(ctx, &ops::attention(&q, &k, &v, spec)?)?;
        let x = self.attention_norm.forward(ctx, &(x + attended)?)?;
        let inner = ops::gelu_erf(&self.up.forward(ctx, &x)?)?;
        self.norm.forward(ctx, &(&x + self.down.forward(ctx, &inner)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::TextConfig;
    use crate::models::test_support::{Fixture, close};
    use crate::nn::{MapSource, ParamStore, Part};
    use candle_core::Device;

    fn build(pool: Pool, rename: impl Fn(&str) -> String) -> (Bert, ParamStore) {
        let weights = Some(Fixture::path("bert"));
        let config = TextConfig { weights, tokenizer: None, pool, sizes: None };
        let shape = TextShape::resolve(&config, None).unwrap();
        let tensors = Fixture::load("bert/model.safetensors").0;
        let source = MapSource { tensors: tensors.into_iter().map(|(k, v)| (rename(&k), v)).collect() };
        let pb = ParamBuilder::new(&source, &|_, _| false, 0, &Device::Cpu).part(Part::Text);
        (Bert::new(&pb, &shape, pool).unwrap(), pb.finish())
    }

    fn texts() -> Vec<Vec<u32>> {
        let meta = std::fs::read_to_string(Fixture::path("expected/meta.json")).unwrap();
        let meta: serde_json::Value = serde_json::from_str(&meta).unwrap();
        let rows = |key: &str| serde_json::from_value::<Vec<Vec<u32>>>(meta[key].clone()).unwrap();
        let cut = |(ids, mask): (Vec<u32>, Vec<u32>)| ids[..mask.iter().sum::<u32>() as usize].to_vec();
        rows("bert_input_ids").into_iter().zip(rows("bert_attention_mask")).map(cut).collect()
    }

    #[test]
    fn the_class_vector_equals_the_published_encoder() {
        let (bert, store) = build(Pool::Cls, str::to_owned);
        let expected = Fixture::load("expected/context_moe_layernorm.safetensors");
        let vector = bert.vector(&Ctx::eval(), &texts()).unwrap();
        close(&vector, &expected.get("bert_cls"), 1e-5, "bert_cls");
        assert!(store.get("pooler.dense.weight").is_some_and(|p| !p.role.reached));
        // A text's vector does not depend on what it is batched with.
        let alone = bert.vector(&Ctx::eval(), &texts()[..1]).unwrap();
        close(&alone, &expected.get("bert_cls").narrow(0, 0, 1).unwrap(), 1e-5, "alone");
    }

    #[test]
    fn the_mean_is_over_valid_tokens() {
        let (bert, _) = build(Pool::Mean, str::to_owned);
        let texts = texts();
        let (states, lengths) = bert.states(&Ctx::eval(), &texts).unwrap();
        let mean = bert.vector(&Ctx::eval(), &texts).unwrap();
        for (b, n) in lengths.iter().enumerate() {
            let by_hand = states.get(b).unwrap().narrow(0, 0, *n).unwrap().mean(0).unwrap();
            close(&mean.get(b).unwrap(), &by_hand, 1e-5, "mean");
        }
    }

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_last_token() {
        let (bert, _) = build(Pool::Cls, str::to_owned);
        let long: Vec<u32> = (0..100).collect();
        let cut: Vec<u32> = (0..63).chain([99]).collect();
        let vector = |ids: Vec<u32>| bert.vector(&Ctx::eval(), &[ids]).unwrap();
        close(&vector(long), &vector(cut), 0.0, "truncated");
        assert!(bert.vector(&Ctx::eval(), &[vec![]]).is_err());
    }
}
