//! A segment gives what its operations give without it.

use super::*;
use crate::ops::testing::{device, on_kernels, random};
use crate::ops::{self, AttentionSpec, Path, Weight, on_path};
use candle_core::{DType, Device};
use std::sync::Arc;

fn weights(trains: bool) -> Vec<Weight> {
    let dims: [&[usize]; 5] = [&[8], &[8], &[16, 8], &[16], &[8, 16]];
    let made = |(i, dims): (usize, &&[usize])| {
        let value = random(dims, i as u64 + 3);
        let name = format!("w{i}");
        if trains { Weight::trainable(name, &value).unwrap() } else { Weight::frozen(name, value) }
    };
    dims.iter().enumerate().map(made).collect()
}

/// Everything that can go wrong in a block: a tensor used twice and three times, a residual, a by-product.
fn block(ctx: &Ctx, x: &Tensor, w: &[Weight]) -> Result<(Tensor, Tensor)> {
    let h = ops::layer_norm(ctx, x, &w[0], &w[1], 1e-5)?;
    let attended = ops::attention(&h, &h, &h, &AttentionSpec::bidirectional(2))?;
    let x = add(x, &attended)?;
    let unused = ops::quick_gelu(&h)?;
    let inner = ops::quick_gelu(&ops::linear(ctx, &x, &w[2], Some(&w[3]))?)?;
    Ok((ops::linear_add(ctx, &inner, &w[4], None, &x)?, unused))
}

/// Result, gradient of the input, gradients of the weights.
fn run(segmented: bool, [trains, tracked]: [bool; 2], dtype: DType) -> Vec<Option<Vec<f32>>> {
    let w = weights(trains);
    let ctx = Ctx::train(&device()).unwrap().computing_in(dtype);
    let x = random(&[2, 5, 8], 1).to_dtype(dtype).unwrap();
    let x = if tracked { Var::from_tensor(&x).unwrap().into_inner() } else { x };
    // Twice over, and an operation of the graph before and after.
    let outer = ops::quick_gelu(&x).unwrap();
    let both = |x: &Tensor| {
        let (x, _) = block(&ctx, x, &w)?;
        block(&ctx, &x, &w)
    };
    let (y, _) = if segmented { segment(&ctx, &outer, both) } else { both(&outer) }.unwrap();
    assert_eq!(y.track_op(), trains || tracked);
    let numbers = |t: &Tensor| t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let mut all = vec![Some(numbers(&y))];
    if y.track_op() {
        let cotangent = random(&[2, 5, 8], 9).to_dtype(dtype).unwrap();
        let store = (&y * cotangent).unwrap().sum_all().unwrap().backward().unwrap();
        all.push(store.get(&x).map(numbers));
        all.extend(w.iter().map(|w| w.slot().and_then(|s| s.tensor(w.dims()).unwrap()).map(|t| numbers(&t))));
    }
    all
}

#[test]
fn a_segment_changes_no_number() {
    for (trains, tracked) in [(true, true), (true, false), (false, true), (false, false)] {
        let (plain, segmented) = (run(false, [trains, tracked], DType::F32), run(true, [trains, tracked], DType::F32));
        assert_eq!(plain.len(), segmented.len());
        for (a, b) in plain.iter().zip(&segmented) {
            assert_eq!(a.is_some(), b.is_some(), "trains {trains}, tracked {tracked}");
            let (Some(a), Some(b)) = (a, b) else { continue };
            assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * a.abs().max(1.0)), "{trains} {tracked}");
        }
    }
}

#[test]
#[ignore = "runs the kernels for cards: scripts/cuda-emulate"]
fn kernels_in_a_segment_change_no_number() {
    on_kernels(|| {
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::BF16, 2e-2)] {
            let (plain, segmented) = (run(false, [true; 2], dtype), run(true, [true; 2], dtype));
            for (a, b) in plain.iter().zip(&segmented) {
                let (a, b) = (a.as_ref().unwrap(), b.as_ref().unwrap());
                let largest = a.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
                assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance * largest), "{dtype:?}");
            }
        }
    });
}

/// A node of the tape takes any number of tensors.
#[test]
fn a_mixture_in_a_segment_changes_no_number() {
    let ctx = Ctx::train(&Device::Cpu).unwrap();
    for experts in 1..=5 {
        let weights = random(&[2, experts], 5);
        let run = |segmented: bool| {
            let (x, g) = (Var::from_tensor(&random(&[2, 5, 8], 1)).unwrap(), Var::from_tensor(&weights).unwrap());
            let mixed = |x: &Tensor, scale: &dyn Fn(&Tensor, usize) -> Result<Tensor>, g: &Tensor| {
                let experts = (0..experts).map(|e| scale(x, e)).collect::<Result<Vec<_>>>()?;
                ops::mixture(&experts, g)
            };
            let plain = |x: &Tensor, e: usize| (x * (e as f64 + 0.5))?.sqr();
            let y = if segmented {
                segment(&ctx, x.as_tensor(), |x| {
                    let g = island(&[x], |_| Ok(g.as_tensor().clone()))?;
                    Ok((mixed(x, &|x, e| island(&[x], |x| plain(x[0], e)), &g)?, ()))
                })
                .unwrap()
                .0
            } else {
                mixed(x.as_tensor(), &plain, g.as_tensor()).unwrap()
            };
            let store = (&y * random(&[2, 5, 8], 9)).unwrap().sum_all().unwrap().backward().unwrap();
            let numbers = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            [numbers(&y), numbers(store.get(x.as_tensor()).unwrap())]
        };
        for (a, b) in run(false).iter().flatten().zip(run(true).iter().flatten()) {
            assert!((a - b).abs() <= 1e-5 * a.abs().max(1.0), "{experts} experts: {a} {b}");
        }
    }
}

#[test]
fn what_would_lose_a_gradient_is_an_error() {
    let (w, ctx) = (weights(true), Ctx::train(&Device::Cpu).unwrap());
    let x = random(&[2, 5, 8], 1);
    let fails = |chain: &dyn Fn(&Tensor) -> Result<Tensor>| {
        let error = segment(&ctx, &x, |x| Ok((chain(x)?, ()))).unwrap_err().to_string();
        assert!(!is_open());
        error
    };
    let normed = |x: &Tensor| ops::layer_norm(&ctx, x, &w[0], &w[1], 1e-5);
    assert!(fails(&|x| normed(&(x * 2.0)?)).contains("neither from outside the segment"));
    assert!(fails(&|_| normed(&random(&[2, 5, 8], 4))).contains("neither from outside the segment"));
    assert!(fails(&|x| normed(x)? * 2.0).contains("plain tensor operation"));
    let stranger = "an operand comes neither";
    assert!(fails(&|x| Ok(segment(&ctx, &(normed(x)? * 2.0)?, |x| Ok((normed(x)?, ())))?.0)).contains(stranger));
    let again = |ctx: &Ctx, x: &Tensor| Ok((ops::quick_gelu(x)?, ctx.is_recording()));
    assert!(fails(&|x| Ok(ops::checkpoint(&ctx, &(normed(x)? * 2.0)?, Arc::new(again))?.0)).contains(stranger));
    let (y, ()) = segment(&ctx, &x, |x| Ok((normed(x)?, ()))).unwrap();
    y.sum_all().unwrap().backward().unwrap();
    assert!(y.sum_all().unwrap().backward().unwrap_err().to_string().contains("backward twice"));
}

#[test]
fn segments_nest_and_have_islands() {
    let (w, ctx) = (weights(true), Ctx::train(&Device::Cpu).unwrap());
    let inner = |x: &Tensor| -> Result<Tensor> {
        let h = ops::layer_norm(&ctx, x, &w[0], &w[1], 1e-5)?;
        island(&[&h], |h| (h[0] * 2.0)?.sqr())
    };
    let run = |deep: bool| {
        w.iter().for_each(|w| w.slot().unwrap().clear());
        let x = Var::from_tensor(&random(&[2, 5, 8], 1)).unwrap();
        let (y, ()) = if deep {
            segment(&ctx, x.as_tensor(), |x| {
                let (x, ()) = segment(&ctx, x, |x| Ok((inner(x)?, ())))?;
                Ok((inner(&x)?, ()))
            })
        } else {
            inner(x.as_tensor()).and_then(|x| Ok((inner(&x)?, ())))
        }
        .unwrap();
        let store = y.sum_all().unwrap().backward().unwrap();
        let scale = w[0].slot().unwrap().tensor(&[8]).unwrap().unwrap();
        [store.get(x.as_tensor()).unwrap().flatten_all().unwrap(), scale].map(|t| t.to_vec1::<f32>().unwrap())
    };
    let (plain, deep) = (run(false), run(true));
    for (a, b) in plain.iter().flatten().zip(deep.iter().flatten()) {
        assert!((a - b).abs() <= 1e-4 * a.abs().max(1.0), "{a} {b}");
    }
}

/// Outside a pass that records, and where operations have no form of ours, the chain runs as it is.
#[test]
fn elsewhere_the_chain_just_runs() {
    let x = random(&[2, 5, 8], 1);
    let plain = |ctx: &Ctx| segment(ctx, &x, |x| Ok(((x * 2.0)?, is_open()))).unwrap().1;
    assert!(!plain(&Ctx::eval()));
    assert!(!on_path(Path::Device, || plain(&Ctx::train(&Device::Cpu).unwrap())));
}
