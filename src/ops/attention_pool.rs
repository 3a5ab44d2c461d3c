//! Attention of one query a sample over tokens to which one vector of the sample is joined:
//! `softmax(s q_h . k_nh) v_nh` with `k_n = K [x_n; e] + b_k`, `v_n = V [x_n; e] + b_v`.

use super::attention::{self, AttentionSpec};
use super::ctx::Ctx;
use super::device;
use super::graph::{self, anchored, fits, host};
use super::linear;
use super::precision::add_bias;
use super::segment::is_tracked;
use super::watch::{self, Watch};
use super::weight::{GradSlot, Weight, lend};
use crate::kernels::{self, PoolFactors, PoolShape, Pooled};
use candle_core::{Device, Result, Tensor, bail};
use std::sync::Arc;

/// The weights of an attention pooling.
#[derive(Clone, Copy, Debug)]
pub struct PoolWeights<'w> {
    /// `[C, D + E]`.
    pub keys: &'w Weight,
    /// `[C, D + E]`.
    pub values: &'w Weight,
    /// `[3 C]`: of the query (which is not added here), the keys and the values.
    pub bias: &'w Weight,
    /// Heads.
    pub heads: usize,
}

/// `query [B, C]`, `tokens [B, N, D]`, `joined [B, E]`; returns `[B, C]`.
///
/// The fused form makes neither keys nor values: a score is `(K_h^T q_h) . [x_n; e]` but for what is the same for all tokens
/// of a sample, and the result is `V_h [sum_n p_n x_n; e] + b_v`. That costs one N-th. The bias of the keys and what of `K`
/// meets `e` move all scores of a sample alike: their gradients, which are rounding errors where keys are made, are zero.
pub fn attention_pool(
    ctx: &Ctx,
    query: &Tensor,
    tokens: &Tensor,
    joined: &Tensor,
    weights: &PoolWeights<'_>,
) -> Result<Tensor> {
    let shape = shape(query, tokens, joined, weights)?;
    let [keys, values, bias] = [weights.keys, weights.values, weights.bias].map(Weight::tensor);
    let operands = [query, tokens, joined, keys, values, bias];
    if operands.iter().any(|x| x.elem_count() == 0) {
        bail!("attention-pool: nothing to attend to or with, {shape:?}");
    }
    if !fits(&operands) {
        return device::attention_pool::attention_pool(ctx, [query, tokens, joined], weights, shape);
    }
    let [query, tokens, joined] = [query.contiguous()?, tokens.contiguous()?, joined.contiguous()?];
    let c = shape.context;
    let (result, pooled) = lend([&query, &tokens, &joined, keys, values, bias], |[q, x, e, k, v, bias]| {
        kernels::attention_pool(q, x, e, [k, v, &bias[2 * c..]], shape)
    })?;
    let slot = |weight| ctx.slot(weight).cloned();
    let back = Back {
        kept: [query.detach(), tokens.detach(), joined.detach()],
        tracked: [&query, &tokens, &joined].map(is_tracked),
        weights: [weights.keys.clone(), weights.values.clone()],
        slots: [slot(weights.keys), slot(weights.values), slot(weights.bias)],
        watched: [weights.keys, weights.values, weights.bias].map(|weight| Watch::of(ctx, weight)),
        shape,
    };
    let dims = query.dims().to_vec();
    let query = anchored(ctx, &query, back.is_wanted())?;
    graph::record("attention-pool", [&query, &tokens, &joined], result, &dims, move |_, grad| back.run(&pooled, grad))
}

fn shape(query: &Tensor, tokens: &Tensor, joined: &Tensor, weights: &PoolWeights<'_>) -> Result<PoolShape> {
    let ((b, c), (samples, n, d), (of_joined, e)) = (query.dims2()?, tokens.dims3()?, joined.dims2()?);
    let &PoolWeights { keys, values, bias, heads } = weights;
    let fits = samples == b
        && of_joined == b
        && heads > 0
        && c.is_multiple_of(heads)
        && [keys, values].iter().all(|w| w.dims() == [c, d + e])
        && bias.dims() == [3 * c];
    if !fits {
        bail!(
            "attention-pool: {heads} heads, query {:?}, tokens {:?}, joined {:?} for {} {:?}, {} {:?}, {} {:?}",
            query.dims(),
            tokens.dims(),
            joined.dims(),
            keys.name(),
            keys.dims(),
            values.name(),
            values.dims(),
            bias.name(),
            bias.dims()
        );
    }
    Ok(PoolShape { samples: b, tokens: n, width: d, joined: e, context: c, heads })
}

/// The definition, in plain tensor operations: keys and values of every token. Takes query, tokens and what is joined to them.
pub(crate) fn composed(ctx: &Ctx, operands: [&Tensor; 3], weights: &PoolWeights<'_>) -> Result<Tensor> {
    with_keys(ctx, operands, weights, (linear::composed, attention::composed))
}

/// A linear layer and an attention.
type Forms = (
    fn(&Ctx, &Tensor, &Weight, Option<&Weight>) -> Result<Tensor>,
    fn(&Tensor, &Tensor, &Tensor, &AttentionSpec) -> Result<Tensor>,
);

/// By the definition, in either form of the operations.
fn with_keys(
    ctx: &Ctx,
    [query, tokens, joined]: [&Tensor; 3],
    weights: &PoolWeights<'_>,
    (linear, attention): Forms,
) -> Result<Tensor> {
    let ((b, n, _), (_, c), e) = (tokens.dims3()?, query.dims2()?, joined.dim(1)?);
    let every_token = joined.unsqueeze(1)?.broadcast_as((b, n, e))?.contiguous()?;
    let all = Tensor::cat(&[tokens, &every_token], 2)?.contiguous()?;
    let bias = ctx.operand(weights.bias)?;
    let project = |weight: &Weight, part: usize| {
        let y = add_bias(&linear(ctx, &all, weight, None)?, &bias.narrow(0, part * c, c)?)?;
        watch::observe_bias(ctx, y, weights.bias, part * c)
    };
    let (k, v) = (project(weights.keys, 1)?, project(weights.values, 2)?);
    attention(&query.unsqueeze(1)?, &k, &v, &AttentionSpec::bidirectional(weights.heads))?.squeeze(1)
}

/// What the backward pass needs.
struct Back {
    /// Query, tokens and what is joined to them.
    kept: [Tensor; 3],
    tracked: [bool; 3],
    /// Of keys and values.
    weights: [Weight; 2],
    /// Of keys, values and bias.
    slots: [Option<Arc<GradSlot>>; 3],
    watched: [Option<Watch>; 3],
    shape: PoolShape,
}

impl Back {
    fn is_wanted(&self) -> bool {
        self.slots.iter().any(Option::is_some) || self.watched.iter().any(Option::is_some)
    }

    fn run(&self, pooled: &Pooled, grad: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let ([query, tokens, joined], [keys, values], shape) = (&self.kept, &self.weights, self.shape);
        let found = lend(
            [query, tokens, joined, keys.tensor(), values.tensor(), grad],
            |[query, tokens, joined, keys, values, grad]| {
                let found = kernels::attention_pool_backward(grad, tokens, [keys, values], pooled, shape);
                self.weight(0, &PoolFactors::keys(query, &found, shape))?;
                self.weight(1, &PoolFactors::values(grad, joined, pooled, shape))?;
                self.bias(grad);
                Ok::<_, candle_core::Error>(found)
            },
        )??;
        let [of_query, of_tokens, of_joined] = self.tracked;
        Ok([
            of_query.then(|| host(found.query, query.dims())).transpose()?,
            of_tokens.then(|| host(found.tokens, tokens.dims())).transpose()?,
            of_joined.then(|| host(found.joined, joined.dims())).transpose()?,
        ])
    }

    /// The gradient of the keys' or the values' weight.
    fn weight(&self, which: usize, factors: &PoolFactors<'_>) -> Result<()> {
        if let Some(watch) = &self.watched[which] {
            let PoolShape { samples, width, joined, context, heads, .. } = self.shape;
            let [input, output_grad] = factors.rows();
            let input = Tensor::from_vec(input, (samples * heads, width + joined), &Device::Cpu)?;
            let output_grad = Tensor::from_vec(output_grad, (samples * heads, context), &Device::Cpu)?;
            watch.linear_tensors(&input, &output_grad, samples)?;
        }
        if let Some(slot) = &self.slots[which] {
            let n = self.weights[which].tensor().elem_count();
            slot.accumulate_host(n, |dw, add| factors.weight_gradient(dw, add));
        }
        Ok(())
    }

    /// The biases of keys and values; the query's is not added here.
    fn bias(&self, grad: &[f32]) {
        let (c, samples) = (self.shape.context, self.shape.samples);
        if let Some(watch) = &self.watched[2] {
            watch.vectors(c, &vec![0.0; grad.len()], samples);
            watch.vectors(2 * c, grad, samples);
        }
        if let Some(slot) = &self.slots[2] {
            slot.accumulate_host(3 * c, |sum, add| {
                if !add {
                    sum.fill(0.0);
                }
                kernels::column_sums_into(&mut sum[2 * c..], grad, true);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::path::{Path, on_path};
    use super::super::testing::{Case, random, without_kernels};
    use super::super::{BackwardObserver, LayerId, LinearBackward, VectorBackward};
    use super::*;
    use std::sync::Mutex;

    fn pool(heads: usize) -> impl Fn(&[Weight]) -> PoolWeights<'_> {
        move |w| PoolWeights { keys: &w[0], values: &w[1], bias: &w[2], heads }
    }

    fn case([b, n, d, e, c]: [usize; 5]) -> Case {
        Case {
            inputs: vec![vec![b, c], vec![b, n, d], vec![b, e]],
            weights: vec![vec![c, d + e], vec![c, d + e], vec![3 * c]],
            fused: |ctx, x, w| attention_pool(ctx, &x[0], &x[1], &x[2], &pool(2)(w)),
            composed: |ctx, x, w| composed(ctx, [&x[0], &x[1], &x[2]], &pool(2)(w)),
        }
    }

    #[test]
    fn small() {
        without_kernels(|| {
            case([2, 5, 3, 4, 6]).check();
            case([1, 1, 2, 1, 2]).check();
        });
    }

    #[test]
    fn large() {
        without_kernels(|| case([5, 83, 96, 70, 64]).check_large());
    }

    #[test]
    fn what_moves_all_scores_alike_has_no_gradient() {
        what_has_no_gradient();
        on_path(Path::Device, what_has_no_gradient);
    }

    fn what_has_no_gradient() {
        let (b, n, d, e, c) = (3, 7, 5, 4, 6);
        let weights = [(vec![c, d + e], 1), (vec![c, d + e], 2), (vec![3 * c], 3)]
            .map(|(dims, seed)| Weight::trainable("w", &random(&dims, seed)).unwrap());
        let ctx = Ctx::train(&Device::Cpu).unwrap();
        let run = || {
            let (q, x, t) = (random(&[b, c], 4), random(&[b, n, d], 5), random(&[b, e], 6));
            let y = attention_pool(&ctx, &q, &x, &t, &pool(2)(&weights)).unwrap();
            (y * random(&[b, c], 7)).unwrap().sum_all().unwrap().backward().unwrap();
        };
        run();
        let gradient = |i: usize| {
            let slot = weights[i].slot().unwrap().tensor(weights[i].dims()).unwrap().unwrap();
            slot.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let (once, bias) = (gradient(0), gradient(2));
        assert!(once.chunks(d + e).all(|row| row[d..] == [0.0; 4] && row[..d].iter().all(|g| *g != 0.0)));
        assert!(bias[..2 * c].iter().all(|g| *g == 0.0) && bias[2 * c..].iter().all(|g| *g != 0.0));
        // A second micro-batch adds.
        run();
        for (i, once) in [(0, once), (2, bias)] {
            assert!(gradient(i).iter().zip(&once).all(|(twice, once)| (twice - 2.0 * once).abs() < 1e-5));
        }
    }

    /// Gradients of single samples, by weight: what the observer's factors multiply to, and its vectors.
    #[derive(Default)]
    struct Recorder(Mutex<Vec<(String, usize, usize, Vec<f32>)>>);

    impl BackwardObserver for Recorder {
        fn linear(&self, seen: &LinearBackward<'_>) {
            let rows = seen.input.len() / seen.d_in / seen.samples;
            let mut dw = vec![0.0; seen.samples * seen.d_out * seen.d_in];
            for (r, (x, g)) in seen.input.chunks(seen.d_in).zip(seen.output_grad.chunks(seen.d_out)).enumerate() {
                for (o, g) in g.iter().enumerate() {
                    let at = (r / rows * seen.d_out + o) * seen.d_in;
                    dw[at..][..seen.d_in].iter_mut().zip(x).for_each(|(sum, x)| *sum += g * x);
                }
            }
            self.0.lock().unwrap().push((seen.weight.to_owned(), 0, seen.samples, dw));
        }

        fn vectors(&self, seen: &VectorBackward<'_>) {
            let row = (seen.weight.to_owned(), seen.offset, seen.samples, seen.gradients.to_vec());
            self.0.lock().unwrap().push(row);
        }
    }

    #[test]
    fn the_observer_sees_the_same_gradients_of_samples_as_where_keys_are_made() {
        let (b, n, d, e, c) = (3, 7, 5, 4, 6);
        let weights = [("k", vec![c, d + e], 1), ("v", vec![c, d + e], 2), ("b", vec![3 * c], 3)]
            .map(|(name, dims, seed)| Weight::trainable(name, &random(&dims, seed)).unwrap());
        let seen = |pools: bool| {
            let recorder = Arc::new(Recorder::default());
            let ctx = Ctx::train(&Device::Cpu).unwrap().with_observer(recorder.clone());
            let ctx = ctx.at(LayerId::Block(2), "cve");
            let (q, x, t) = (random(&[b, c], 4), random(&[b, n, d], 5), random(&[b, e], 6));
            let w = pool(2)(&weights);
            // Of the definition an observer sees the operations that are not composed.
            let forms: Forms = (linear::linear, attention::attention);
            let y = if pools { attention_pool(&ctx, &q, &x, &t, &w) } else { with_keys(&ctx, [&q, &x, &t], &w, forms) };
            (y.unwrap() * random(&[b, c], 7)).unwrap().sum_all().unwrap().backward().unwrap();
            let mut rows = recorder.0.lock().unwrap().clone();
            rows.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
            rows
        };
        let (on_host, in_tensors) = (seen(true), on_path(Path::Device, || seen(true)));
        let want = seen(false);
        assert!(on_host.len() == 4 && in_tensors.len() == 4);
        for ((name, offset, samples, got), (also, at, of, want)) in
            on_host.iter().chain(&in_tensors).zip(want.iter().cycle())
        {
            assert_eq!((name, offset, samples, got.len()), (also, at, of, want.len()));
            assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-5), "{name} {got:?} {want:?}");
        }
    }

    #[test]
    fn wrong_shapes_are_errors() {
        let weights = [vec![6, 9], vec![6, 9], vec![18]].map(|dims| Weight::frozen("w", random(&dims, 1)));
        let ctx = Ctx::eval();
        let run = |q: &[usize], x: &[usize], t: &[usize], heads: usize| {
            attention_pool(&ctx, &random(q, 1), &random(x, 2), &random(t, 3), &pool(heads)(&weights))
        };
        assert!(run(&[2, 6], &[2, 3, 5], &[2, 4], 2).is_ok());
        assert!(run(&[2, 6], &[2, 3, 5], &[2, 4], 4).is_err());
        assert!(run(&[2, 6], &[2, 3, 5], &[1, 4], 2).is_err());
        assert!(run(&[2, 6], &[2, 3, 4], &[2, 4], 2).is_err());
    }
}
