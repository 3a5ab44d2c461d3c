//! Every operation in both forms at small sizes, for `benches/step.rs`, which cannot reach the composed forms itself.

use super::{
    AttentionSpec, Ctx, RopeTable, RowSource, Weight, activation, attention, attention_pool, cross_entropy, embedding,
    linear, mixture, norm, patch, rope, rows,
};
use candle_core::{Device, Result, Tensor, Var};
use std::sync::Arc;

/// An operation of activations and weights.
type Form = Box<dyn Fn(&Ctx, &[Tensor], &[Weight]) -> Result<Tensor>>;

/// Which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The kernels.
    Fused,
    /// Plain tensor operations.
    Composed,
}

/// An operation with something to work on.
pub struct Case {
    /// Name.
    pub name: &'static str,
    inputs: Vec<Tensor>,
    weights: Vec<Weight>,
    fused: Form,
    composed: Form,
}

impl Case {
    fn new(
        name: &'static str,
        inputs: &[&[usize]],
        weights: &[&[usize]],
        fused: impl Fn(&Ctx, &[Tensor], &[Weight]) -> Result<Tensor> + 'static,
        composed: impl Fn(&Ctx, &[Tensor], &[Weight]) -> Result<Tensor> + 'static,
    ) -> Result<Self> {
        let inputs = inputs.iter().map(|dims| Ok(Var::from_tensor(&waves(dims)?)?.into_inner()));
        let weights = weights.iter().map(|dims| Weight::trainable("w", &waves(dims)?));
        Ok(Self {
            name,
            inputs: inputs.collect::<Result<_>>()?,
            weights: weights.collect::<Result<_>>()?,
            fused: Box::new(fused),
            composed: Box::new(composed),
        })
    }

    fn form(&self, kind: Kind) -> &Form {
        match kind {
            Kind::Fused => &self.fused,
            Kind::Composed => &self.composed,
        }
    }

    /// Forward, nothing recorded.
    ///
    /// # Errors
    /// A tensor operation that fails.
    pub fn forward(&self, kind: Kind) -> Result<Tensor> {
        let inputs: Vec<Tensor> = self.inputs.iter().map(Tensor::detach).collect();
        self.form(kind)(&Ctx::eval(), &inputs, &self.weights)
    }

    /// Forward and backward, all inputs and weights tracked.
    ///
    /// # Errors
    /// A tensor operation that fails.
    pub fn both(&self, kind: Kind) -> Result<()> {
        let ctx = Ctx::train(&Device::Cpu)?;
        self.form(kind)(&ctx, &self.inputs, &self.weights)?.sum_all()?.backward()?;
        self.weights.iter().filter_map(Weight::slot).for_each(|slot| slot.clear());
        Ok(())
    }
}

fn waves(dims: &[usize]) -> Result<Tensor> {
    let n: usize = dims.iter().product();
    Tensor::from_vec((0..n).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<f32>>(), dims, &Device::Cpu)
}

/// Samples, tokens, width and hidden width of the built-in recipe's encoder at batch 8.
const SIZES: (usize, usize, usize, usize) = (8, 65, 128, 512);

/// All of them.
///
/// # Errors
/// Memory that is not there.
pub fn all() -> Result<Vec<Case>> {
    let mut cases = dense()?;
    cases.extend(pointwise()?);
    cases.extend(moved()?);
    Ok(cases)
}

fn pool(w: &[Weight]) -> attention_pool::PoolWeights<'_> {
    attention_pool::PoolWeights { keys: &w[0], values: &w[1], bias: &w[2], heads: 4 }
}

fn dense() -> Result<Vec<Case>> {
    let (b, n, d, h) = SIZES;
    let x: &[usize] = &[b, n, d];
    let spec = AttentionSpec::bidirectional(4);
    let causal = AttentionSpec { causal: true, ..spec.clone() };
    let (spec, causal) = ([spec.clone(), spec], [causal.clone(), causal]);
    let labels: Vec<i64> = (0..b * 48).map(|i| (i * 37 % 1024) as i64).collect();
    let again = labels.clone();
    Ok(vec![
        Case::new(
            "linear",
            &[x],
            &[&[h, d], &[h]],
            |ctx, x, w| linear::linear(ctx, &x[0], &w[0], Some(&w[1])),
            |ctx, x, w| linear::composed(ctx, &x[0], &w[0], Some(&w[1])),
        )?,
        Case::new(
            "attention-pool",
            &[&[b, d], x, &[b, d]],
            &[&[d, 2 * d], &[d, 2 * d], &[3 * d]],
            |ctx, x, w| attention_pool::attention_pool(ctx, &x[0], &x[1], &x[2], &pool(w)),
            |ctx, x, w| attention_pool::composed(ctx, [&x[0], &x[1], &x[2]], &pool(w)),
        )?,
        Case::new(
            "linear-add",
            &[&[b, n, h], x],
            &[&[d, h], &[d]],
            |ctx, x, w| linear::linear_add(ctx, &x[0], &w[0], Some(&w[1]), &x[1]),
            |ctx, x, w| linear::composed(ctx, &x[0], &w[0], Some(&w[1]))? + &x[1],
        )?,
        {
            let [a, c] = spec;
            Case::new(
                "attention",
                &[x, x, x],
                &[],
                move |_, x, _| attention::attention(&x[0], &x[1], &x[2], &a),
                move |_, x, _| attention::composed(&x[0], &x[1], &x[2], &c),
            )?
        },
        {
            let [a, c] = causal;
            Case::new(
                "attention-causal",
                &[x, x, x],
                &[],
                move |_, x, _| attention::attention(&x[0], &x[1], &x[2], &a),
                move |_, x, _| attention::composed(&x[0], &x[1], &x[2], &c),
            )?
        },
        Case::new(
            "mixture",
            &[x, x, x, x, &[b, 4]],
            &[],
            |_, x, _| mixture::mixture(&x[..4], &x[4]),
            |_, x, _| mixture::composed(&x[..4], &x[4]),
        )?,
        Case::new(
            "cross-entropy",
            &[&[b * 48, 1024]],
            &[],
            move |_, x, _| Ok(cross_entropy::cross_entropy(&x[0], &labels)?.sum),
            move |_, x, _| Ok(cross_entropy::composed(&x[0], &again)?.sum),
        )?,
    ])
}

fn pointwise() -> Result<Vec<Case>> {
    let (b, n, d, h) = SIZES;
    let (x, wide): (&[usize], &[usize]) = (&[b, n, d], &[b, n, h]);
    let table = Arc::new(RopeTable::new(1e4, 32, n, candle_core::DType::F32, &Device::Cpu)?);
    let again = table.clone();
    Ok(vec![
        Case::new(
            "layer-norm",
            &[x],
            &[&[d], &[d]],
            |ctx, x, w| norm::layer_norm(ctx, &x[0], &w[0], &w[1], 1e-5),
            |ctx, x, w| norm::composed_layer_norm(ctx, &x[0], &w[0], &w[1], 1e-5),
        )?,
        Case::new(
            "rms-norm",
            &[x],
            &[&[d]],
            |ctx, x, w| norm::rms_norm(ctx, &x[0], &w[0], 1e-5),
            |ctx, x, w| norm::composed_rms_norm(ctx, &x[0], &w[0], 1e-5),
        )?,
        Case::new(
            "quick-gelu",
            &[wide],
            &[],
            |_, x, _| activation::quick_gelu(&x[0]),
            |_, x, _| activation::composed::quick_gelu(&x[0]),
        )?,
        Case::new(
            "gelu-erf",
            &[wide],
            &[],
            |_, x, _| activation::gelu_erf(&x[0]),
            |_, x, _| activation::composed::gelu_erf(&x[0]),
        )?,
        Case::new(
            "gelu-tanh",
            &[wide],
            &[],
            |_, x, _| activation::gelu_tanh(&x[0]),
            |_, x, _| activation::composed::gelu_tanh(&x[0]),
        )?,
        Case::new(
            "silu-mul",
            &[wide, wide],
            &[],
            |_, x, _| activation::silu_mul(&x[0], &x[1]),
            |_, x, _| activation::composed::silu_mul(&x[0], &x[1]),
        )?,
        Case::new(
            "rope",
            &[x],
            &[],
            move |_, x, _| rope::rope(&x[0], 4, &table, 0),
            move |_, x, _| rope::composed(&x[0], 4, &again, 0),
        )?,
    ])
}

fn moved() -> Result<Vec<Case>> {
    let (b, n, d, _) = SIZES;
    let x: &[usize] = &[b, n, d];
    let ids =
        Tensor::from_vec((0..b * 48).map(|i| (i * 37 % 1024) as u32).collect::<Vec<u32>>(), (b, 48), &Device::Cpu)?;
    let same = ids.clone();
    let picked: Vec<u32> = (0..(b * n) as u32).filter(|i| i % 2 == 0).collect();
    let again = picked.clone();
    let plan: Arc<[RowSource]> = (0..(b * n * 2) as u32)
        .map(|i| if i % 2 == 0 { RowSource::Text(i / 2) } else { RowSource::Image(i / 2) })
        .collect();
    let other = plan.clone();
    Ok(vec![
        Case::new(
            "embedding",
            &[],
            &[&[1024, d]],
            move |ctx, _, w| embedding::embedding(ctx, &ids, &w[0]),
            move |ctx, _, w| embedding::composed(ctx, &same, &w[0]),
        )?,
        Case::new(
            "unfold-patches",
            &[&[b, 3, 64, 64]],
            &[],
            |_, x, _| patch::unfold_patches(&x[0], 8),
            |_, x, _| patch::composed(&x[0], 8),
        )?,
        Case::new(
            "add-rows",
            &[x],
            &[&[n, d]],
            |ctx, x, w| rows::add_rows(ctx, &x[0], &w[0]),
            |ctx, x, w| rows::composed::add_rows(ctx, &x[0], &w[0]),
        )?,
        Case::new(
            "scale-channels",
            &[x],
            &[&[d]],
            |ctx, x, w| rows::scale_channels(ctx, &x[0], &w[0]),
            |ctx, x, w| rows::composed::scale_channels(ctx, &x[0], &w[0]),
        )?,
        Case::new(
            "insert-rows",
            &[x],
            &[&[8, d]],
            |ctx, x, w| rows::insert_rows(ctx, &x[0], &w[0], 1),
            |ctx, x, w| rows::composed::insert_rows(ctx, &x[0], &w[0], 1),
        )?,
        Case::new(
            "remove-rows",
            &[x],
            &[],
            |_, x, _| rows::remove_rows(&x[0], 0, 1),
            |_, x, _| rows::composed::remove_rows(&x[0], 0, 1),
        )?,
        Case::new(
            "gather-rows",
            &[&[b * n, d]],
            &[],
            move |_, x, _| rows::gather_rows(&x[0], &picked),
            move |_, x, _| rows::composed::gather_rows(&x[0], &again),
        )?,
        Case::new(
            "splice-rows",
            &[x, x],
            &[],
            move |_, x, _| rows::splice_rows(&x[0], &x[1], &plan, b),
            move |_, x, _| rows::composed::splice_rows(&x[0], &x[1], &other, b),
        )?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_every_case_run_and_agree() {
        for case in all().unwrap() {
            let [a, b] = [Kind::Fused, Kind::Composed].map(|kind| {
                case.both(kind).unwrap();
                case.forward(kind).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
            });
            let most = b.iter().fold(1.0f32, |m, v| m.max(v.abs()));
            assert_eq!(a.len(), b.len(), "{}", case.name);
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4 * most), "{}", case.name);
        }
    }
}
