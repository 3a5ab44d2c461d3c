//! One timed fit a line read from standard input, so that a script can take turns with another program on the same data:
//! `pca N D FILE` or `kmeans N D K SEED FILE`, where FILE holds N x D float32 numbers, little-endian. Answers with one line of JSON.
//! `benches/clusters_vs_sklearn.py` is that script.

use covft_analyses::cluster::KMeansParams;
use covft_analyses::reduce::Pca;
use linfa::DatasetBase;
use linfa::traits::Fit;
use ndarray::Array2;
use std::io::BufRead;
use std::time::Instant;

fn read(path: &str, n: usize, d: usize) -> Result<Array2<f32>, Box<dyn std::error::Error>> {
    let bytes = std::fs::read(path)?;
    let numbers = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    Ok(Array2::from_shape_vec((n, d), numbers)?)
}

fn answer(line: &str) -> Result<String, Box<dyn std::error::Error>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let json = match words[..] {
        ["pca", n, d, path] => {
            let data = DatasetBase::from(read(path, n.parse()?, d.parse()?)?);
            let start = Instant::now();
            let pca = Pca::params(10).fit(&data)?;
            let seconds = start.elapsed().as_secs_f64();
            let components: Vec<Vec<f64>> = pca.components().rows().into_iter().map(|r| r.to_vec()).collect();
            serde_json::json!({"seconds": seconds, "components": components, "ratio": pca.variance_ratio().to_vec()})
        }
        ["kmeans", n, d, k, seed, path] => {
            let data = DatasetBase::from(read(path, n.parse()?, d.parse()?)?);
            let start = Instant::now();
            let found = KMeansParams::new(k.parse()?).restarts(1).seed(seed.parse()?).fit(&data)?;
            let seconds = start.elapsed().as_secs_f64();
            serde_json::json!({"seconds": seconds, "inertia": found.inertia(), "iterations": found.iterations()})
        }
        _ => return Err(format!("not understood: {line}").into()),
    };
    Ok(json.to_string())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for line in std::io::stdin().lock().lines() {
        #[expect(clippy::print_stdout, reason = "the answers are what the program is for")]
        {
            println!("{}", answer(&line?)?);
        }
    }
    Ok(())
}
