//! Tests of the row operations.

use super::testing::{Case, Form, random, without_kernels};
use super::*;
use candle_core::Tensor;
use std::sync::Arc;

fn check(
    small: (Vec<Vec<usize>>, Vec<Vec<usize>>),
    large: (Vec<Vec<usize>>, Vec<Vec<usize>>),
    fused: Form,
    twin: Form,
) {
    without_kernels(|| {
        Case { inputs: small.0, weights: small.1, fused, composed: twin }.check();
        Case { inputs: large.0, weights: large.1, fused, composed: twin }.check_large();
    });
}

#[test]
fn adding_rows() {
    check(
        (vec![vec![2, 3, 4]], vec![vec![1, 3, 4]]),
        (vec![vec![4, 60, 150]], vec![vec![60, 150]]),
        |ctx, x, w| add_rows(ctx, &x[0], &w[0]),
        |ctx, x, w| rows::composed::add_rows(ctx, &x[0], &w[0]),
    );
}

#[test]
fn scaling_channels() {
    check(
        (vec![vec![2, 3, 4]], vec![vec![4]]),
        (vec![vec![4, 60, 150]], vec![vec![150]]),
        |ctx, x, w| scale_channels(ctx, &x[0], &w[0]),
        |ctx, x, w| rows::composed::scale_channels(ctx, &x[0], &w[0]),
    );
}

#[test]
fn inserting_rows() {
    for at in 0..4 {
        let forms: [(Form, Form); 4] = [
            (|c, x, w| insert_rows(c, &x[0], &w[0], 0), |c, x, w| rows::composed::insert_rows(c, &x[0], &w[0], 0)),
            (|c, x, w| insert_rows(c, &x[0], &w[0], 1), |c, x, w| rows::composed::insert_rows(c, &x[0], &w[0], 1)),
            (|c, x, w| insert_rows(c, &x[0], &w[0], 2), |c, x, w| rows::composed::insert_rows(c, &x[0], &w[0], 2)),
            (
                |c, x, w| insert_rows(c, &x[0], &w[0], 3),
                |c, x, w| Tensor::cat(&[&x[0], &c.operand(&w[0])?.broadcast_as((x[0].dim(0)?, 2, 4))?], 1),
            ),
        ];
        let (fused, twin) = forms[at];
        let one = Case { inputs: vec![vec![2, 3, 4]], weights: vec![vec![1, 2, 4]], fused, composed: twin };
        without_kernels(|| one.check());
    }
    let large = Case {
        inputs: vec![vec![3, 60, 150]],
        weights: vec![vec![1, 1, 150]],
        fused: |c, x, w| insert_rows(c, &x[0], &w[0], 0),
        composed: |c, x, w| rows::composed::insert_rows(c, &x[0], &w[0], 0),
    };
    without_kernels(|| large.check_large());
}

#[test]
fn removing_rows() {
    check(
        (vec![vec![2, 3, 4]], vec![]),
        (vec![vec![4, 60, 150]], vec![]),
        |_, x, _| remove_rows(&x[0], 0, 1),
        |_, x, _| rows::composed::remove_rows(&x[0], 0, 1),
    );
    let middle = Case {
        inputs: vec![vec![2, 5, 3]],
        weights: vec![],
        fused: |_, x, _| remove_rows(&x[0], 1, 3),
        composed: |_, x, _| rows::composed::remove_rows(&x[0], 1, 3),
    };
    without_kernels(|| middle.check());
    assert!(remove_rows(&random(&[1, 2, 3], 1), 1, 2).is_err());
}

#[test]
fn gathering_rows_some_of_them_twice() {
    const ROWS: [u32; 5] = [3, 0, 3, 1, 3];
    check(
        (vec![vec![4, 3]], vec![]),
        (vec![vec![400, 150]], vec![]),
        |_, x, _| gather_rows(&x[0], &ROWS),
        |_, x, _| rows::composed::gather_rows(&x[0], &ROWS),
    );
    assert!(gather_rows(&random(&[2, 3], 1), &[2]).is_err());
}

/// Alternates text, image and padding; reads some rows of each.
fn plan(text: &Tensor, image: &Tensor) -> Arc<[RowSource]> {
    let rows = |t: &Tensor| (t.dims()[0] * t.dims()[1]) as u32;
    let (texts, images) = (rows(text), rows(image));
    (0..texts.min(images) - 1)
        .flat_map(|i| [RowSource::Image(images - 1 - i), RowSource::Padding, RowSource::Text(i), RowSource::Padding])
        .collect()
}

#[test]
fn splicing_rows() {
    check(
        (vec![vec![2, 3, 4], vec![1, 4, 4]], vec![]),
        (vec![vec![3, 60, 150], vec![2, 70, 150]], vec![]),
        |_, x, _| splice_rows(&x[0], &x[1], &plan(&x[0], &x[1]), 2),
        |_, x, _| rows::composed::splice_rows(&x[0], &x[1], &plan(&x[0], &x[1]), 2),
    );
    let (text, image) = (random(&[1, 2, 3], 1), random(&[1, 2, 3], 2));
    let splice = |plan: &[RowSource], b| splice_rows(&text, &image, &plan.into(), b);
    assert!(splice(&[RowSource::Text(2)], 1).is_err());
    assert!(splice(&[RowSource::Image(2)], 1).is_err());
    assert!(splice(&[RowSource::Text(1), RowSource::Text(1)], 1).is_err());
    assert!(splice(&[RowSource::Text(1)], 2).is_err());
    assert!(splice_rows(&text, &random(&[1, 2, 4], 1), &[RowSource::Padding].into(), 1).is_err());
}
