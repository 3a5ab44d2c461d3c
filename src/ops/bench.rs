//! Time of a ViT stack, forward and backward, beside that of its matrix products alone.
//! `cargo test --release --no-default-features --lib vit_stack -- --ignored --nocapture`

use super::*;
use crate::kernels::{Matrix, matmul_into};
use candle_core::{Device, Result, Tensor};
use std::time::{Duration, Instant};

/// Samples, tokens, width, heads, layers.
type Size = [usize; 5];

const SIZE: Size = [8, 197, 384, 6, 6];
const TINY: Size = [16, 65, 128, 4, 6];

struct Layer {
    norms: [Weight; 4],
    linears: Vec<(Weight, Weight)>,
}

fn layer(d: usize) -> Layer {
    let weight = |dims: &[usize]| {
        let scaled = (testing::random(dims, 1) * 0.02).unwrap();
        Weight::trainable("w", &scaled).unwrap()
    };
    let linear = |out: usize, d_in: usize| (weight(&[out, d_in]), weight(&[out]));
    let linears = vec![linear(d, d), linear(d, d), linear(d, d), linear(d, d), linear(4 * d, d), linear(d, 4 * d)];
    Layer { norms: std::array::from_fn(|_| weight(&[d])), linears }
}

fn block(ctx: &Ctx, l: &Layer, x: &Tensor, heads: usize) -> Result<Tensor> {
    let apply = |i: usize, x: &Tensor| linear(ctx, x, &l.linears[i].0, Some(&l.linears[i].1));
    let add = |i: usize, x: &Tensor, r: &Tensor| linear_add(ctx, x, &l.linears[i].0, Some(&l.linears[i].1), r);
    let h = layer_norm(ctx, x, &l.norms[0], &l.norms[1], 1e-5)?;
    let h = attention(&apply(0, &h)?, &apply(1, &h)?, &apply(2, &h)?, &AttentionSpec::bidirectional(heads))?;
    let x = add(3, &h, x)?;
    let h = layer_norm(ctx, &x, &l.norms[2], &l.norms[3], 1e-5)?;
    let h = quick_gelu(&apply(4, &h)?)?;
    add(5, &h, &x)
}

/// The products of all linear layers, three each.
fn products(size: Size) -> Duration {
    let (rows, d) = (size[0] * size[1], size[2]);
    let wide = vec![0.5f32; rows * 4 * d];
    let (mut y, mut w) = (vec![0.0f32; rows * 4 * d], vec![0.0f32; 4 * d * d]);
    let start = Instant::now();
    for (d_in, d_out) in [(d, d), (d, d), (d, d), (d, d), (d, 4 * d), (4 * d, d)].repeat(size[4]) {
        let (x, dy, weight) = (&wide[..rows * d_in], &wide[..rows * d_out], &wide[..d_in * d_out]);
        let weight = Matrix::new(weight, d_out, d_in);
        matmul_into(&mut y[..rows * d_out], Matrix::new(x, rows, d_in), weight.t(), false);
        matmul_into(&mut y[..rows * d_in], Matrix::new(dy, rows, d_out), weight, false);
        matmul_into(&mut w[..d_in * d_out], Matrix::new(dy, rows, d_out).t(), Matrix::new(x, rows, d_in), false);
    }
    start.elapsed()
}

#[test]
#[ignore = "a measurement"]
fn vit_stack() {
    stack(SIZE, 10);
}

#[test]
#[ignore = "a measurement"]
fn tiny_vit_stack() {
    stack(TINY, 100);
}

fn stack(size: Size, times: usize) {
    let layers: Vec<Layer> = (0..size[4]).map(|_| layer(size[2])).collect();
    let x = testing::random(&size[..3], 7);
    let ctx = Ctx::train(&Device::Cpu).unwrap();
    let mut best = [Duration::MAX; 3];
    for _ in 0..times {
        let start = Instant::now();
        let mut h = x.clone();
        for l in &layers {
            h = block(&ctx, l, &h, size[3]).unwrap();
        }
        let forward = start.elapsed();
        h.mean_all().unwrap().backward().unwrap();
        drop(h);
        let total = start.elapsed();
        for (best, now) in best.iter_mut().zip([forward, total, products(size)]) {
            *best = now.min(*best);
        }
    }
    let [forward, total, products] = best.map(|t| t.as_secs_f64() * 1e3);
    println!("{size:?}: forward {forward:.1} ms, with backward {total:.1} ms, matrix products alone {products:.1} ms");
}

/// Smallest time of `f` in milliseconds.
fn fastest(f: impl Fn()) -> f64 {
    (0..40)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64() * 1e3
        })
        .fold(f64::MAX, f64::min)
}

#[test]
#[ignore = "a measurement"]
fn kernels_alone() {
    use crate::kernels::{self, AttentionShape, LinearShape, NormKind, Pointwise};
    use std::hint::black_box;
    let [b, n, d, heads, _] = SIZE;
    let rows = b * n;
    let numbers = |n: usize| testing::random(&[n], 3).to_vec1::<f32>().unwrap();
    let (x, g, wide, w) = (numbers(rows * d), numbers(rows * d), numbers(rows * 4 * d), numbers(4 * d * d));
    let shape =
        AttentionShape { batch: b, n_q: n, n_k: n, heads, kv_heads: heads, d: d / heads, causal: false, lengths: None };
    let (out, lse) = kernels::attention(&x, &x, &x, &shape);
    let up = LinearShape { rows, d_in: d, d_out: 4 * d };
    let (bias, kind) = (&w[..4 * d], NormKind::Layer { shift: &w[..d] });
    let mut dw = vec![0.0; 4 * d * d];
    let report = [
        ("attention", fastest(|| drop(black_box(kernels::attention(&x, &x, &x, &shape))))),
        (
            "attention back",
            fastest(|| drop(black_box(kernels::attention_backward([&x, &x, &x], &out, &lse, &g, &shape)))),
        ),
        ("norm", fastest(|| drop(black_box(kernels::norm(&x, &w[..d], kind, 1e-5))))),
        ("norm back", fastest(|| drop(black_box(kernels::norm_backward(&x, &w[..d], &g, kind, 1e-5, true))))),
        ("quick_gelu", fastest(|| drop(black_box(kernels::activate(Pointwise::QuickGelu, &wide))))),
        ("gelu_erf", fastest(|| drop(black_box(kernels::activate(Pointwise::GeluErf, &wide))))),
        (
            "quick_gelu back",
            fastest(|| drop(black_box(kernels::activate_backward(Pointwise::QuickGelu, &wide, &wide)))),
        ),
        ("gelu_erf back", fastest(|| drop(black_box(kernels::activate_backward(Pointwise::GeluErf, &wide, &wide))))),
        ("linear 384-1536", fastest(|| drop(black_box(kernels::linear(&x, &w, None, None, up))))),
        ("with bias", fastest(|| drop(black_box(kernels::linear(&x, &w, Some(bias), None, up))))),
        ("its dx", fastest(|| drop(black_box(kernels::linear_backward_input(&wide, &w, up))))),
        ("column sums", fastest(|| kernels::column_sums_into(&mut vec![0.0; 4 * d], &wide, false))),
        (
            "candle zeros",
            fastest(|| drop(black_box(Tensor::zeros(rows * 4 * d, candle_core::DType::F32, &Device::Cpu)))),
        ),
    ];
    let start = Instant::now();
    (0..10).for_each(|_| kernels::linear_backward_weight(&mut dw, &wide, &x, up, true));
    println!("its dw {:.2} ms", start.elapsed().as_secs_f64() * 100.0);
    for (name, ms) in report {
        println!("{name} {ms:.2} ms");
    }
    let (a, b) = (testing::random(&[rows * 4 * d], 1), testing::random(&[rows * 4 * d], 2));
    println!("candle add {:.2} ms", fastest(|| drop(black_box(a.add(&b)))));
}
