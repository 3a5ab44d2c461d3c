//! Against scikit-learn's numbers (`scripts/fixtures/sklearn_reference.py`), and against linfa.

use super::*;
use crate::neighbors::{Metric, Neighbors};
use crate::reduce::Pca;
use linfa::DatasetBase;
use linfa::traits::Fit;
use ndarray::Array2;
use serde_json::Value;

fn reference() -> (Value, Array2<f32>) {
    let json: Value = serde_json::from_str(include_str!("../../tests/fixtures/sklearn.json")).unwrap();
    let x = matrix(&json["x"]).mapv(|v| v as f32);
    (json, x)
}

fn numbers(json: &Value) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn labels(json: &Value) -> Vec<usize> {
    numbers(json).into_iter().map(|v| v as usize).collect()
}

fn matrix(json: &Value) -> Array2<f64> {
    let rows: Vec<Vec<f64>> = json.as_array().unwrap().iter().map(numbers).collect();
    Array2::from_shape_vec((rows.len(), rows[0].len()), rows.concat()).unwrap()
}

#[test]
fn components_are_scikit_learns() {
    let (json, x) = reference();
    let pca = Pca::params(6).fit(&DatasetBase::from(x)).unwrap();
    let expected = matrix(&json["pca"]["components"]);
    assert!((pca.components() - &expected).iter().all(|d| d.abs() < 1e-4));
    for (found, name) in [(pca.variance().to_vec(), "variance"), (pca.variance_ratio().to_vec(), "ratio")] {
        for (found, expected) in found.iter().zip(numbers(&json["pca"][name])) {
            assert!((found / expected - 1.0).abs() < 1e-5, "{name}: {found} {expected}");
        }
    }
}

#[test]
fn clusters_silhouettes_and_scores_are_scikit_learns() {
    let (json, x) = reference();
    let task = labels(&json["task"]);
    for k in [3_usize, 5, 8] {
        let expected = &json["kmeans"][k.to_string()];
        let number = |name: &str| expected[name].as_f64().unwrap();
        let found = KMeansParams::new(k).restarts(60).tolerance(0.0).fit(&DatasetBase::from(x.clone())).unwrap();
        assert!((found.inertia() / number("inertia") - 1.0).abs() < 0.01, "{k}: {}", found.inertia());
        let theirs = labels(&expected["labels"]);
        if k <= 5 {
            // The same optimum: the same partition.
            assert_eq!(adjusted_rand(&found.labels().to_vec(), &theirs), Some(1.0), "{k}");
            assert!((found.inertia() / number("inertia") - 1.0).abs() < 1e-5, "{k}: {}", found.inertia());
        }
        let measured = silhouette(x.view(), &theirs, 1000, 0).unwrap();
        assert!((measured.mean - number("silhouette")).abs() < 1e-5, "{k}: {measured:?}");
        let scores = Contingency::of(&task, &theirs, 5, k);
        assert!((scores.nmi().unwrap() - number("nmi")).abs() < 1e-10);
        assert!((scores.ari().unwrap() - number("ari")).abs() < 1e-10);
    }
}

#[test]
fn neighbours_are_scikit_learns() {
    let (json, x) = reference();
    for (metric, name) in [(Metric::Cosine, "cosine"), (Metric::Euclidean, "euclidean")] {
        let index = matrix(&json["nearest"][name]["index"]);
        let distance = matrix(&json["nearest"][name]["distance"]);
        let neighbors = Neighbors::new(x.view(), metric);
        for i in 0..20 {
            for (c, found) in neighbors.nearest(i, 5).iter().enumerate() {
                assert_eq!(found.index, index[[i, c]] as usize, "{name} of {i}");
                assert!((found.distance - distance[[i, c]]).abs() < 1e-5, "{name} of {i}");
            }
        }
    }
}

#[test]
fn linfa_finds_no_better_clusters() {
    let (_, x) = reference();
    let x = DatasetBase::from(x.mapv(f64::from));
    let ours = KMeansParams::new(5).restarts(20).fit(&x).unwrap();
    let theirs = linfa_clustering::KMeans::params(5).n_runs(20);
    let theirs = Fit::fit(&linfa::ParamGuard::check(theirs).unwrap(), &x).unwrap();
    // linfa's is the mean over the samples.
    assert!(ours.inertia() < theirs.inertia() * 300.0 * 1.001, "{} {}", ours.inertia(), theirs.inertia() * 300.0);
}

#[test]
fn threads_and_bounds_change_nothing() {
    let (_, x) = reference();
    // Several chunks of 256 samples.
    let x = Array2::from_shape_fn((1500, 16), |(i, j)| x[[i % 300, j]] + ((i * 16 + j) as f32 * 0.7).sin());
    let data = DatasetBase::from(x.view());
    let fit = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let clusters = KMeansParams::new(7).restarts(2).tolerance(0.0).fit(&data).unwrap();
            (clusters, Pca::params(3).fit(&data).unwrap())
        })
    };
    let (clusters, pca) = fit(1);
    assert_eq!((clusters.clone(), pca.clone()), fit(2));
    assert_eq!((clusters.clone(), pca), fit(3));
    // Plain assignment in float64 agrees with what the bounds left standing.
    for (row, label) in x.rows().into_iter().zip(clusters.labels()) {
        let apart = |c: usize| {
            row.iter().zip(clusters.centroids().row(c)).map(|(v, c)| (f64::from(*v) - c).powi(2)).sum::<f64>()
        };
        let least = (0..7).map(apart).fold(f64::INFINITY, f64::min);
        assert!(apart(*label) <= least * (1.0 + 1e-5), "{} {least}", apart(*label));
    }
    let rough = KMeansParams::new(7).method(KMeansMethod::MiniBatch).restarts(2).fit(&data).unwrap();
    assert!(rough.inertia() < 1.05 * clusters.inertia(), "{} {}", rough.inertia(), clusters.inertia());
}
