//! From routing logits to routing weights.

use crate::config::model::Router;
use crate::ops;
use candle_core::{D, Result, Tensor, bail};

/// Refuses a router that `experts` experts cannot serve.
pub(super) fn check(router: Router, experts: usize) -> Result<()> {
    match router {
        _ if experts == 0 => bail!("CoVFT needs at least one expert"),
        Router::Sparse(top) if top == 0 || top > experts => {
            bail!("router {{ sparse = {top} }} needs between 1 and {experts} experts (the number of experts)")
        }
        _ => Ok(()),
    }
}

/// `logits [B, E]` to weights `[B, E]`, each row summing to 1.
///
/// * dense: softmax
/// * sparse: softmax over the row's k largest logits (the earlier expert wins a tie), zero elsewhere; gradients reach
///   the chosen logits only
/// * uniform: `1 / E`, without gradient
pub fn route(router: Router, logits: &Tensor) -> Result<Tensor> {
    match router {
        Router::Dense => ops::softmax(logits),
        Router::Sparse(top) => {
            let chosen = chosen(logits, top)?;
            let hidden = Tensor::full(-1e30f32, logits.shape(), logits.device())?.to_dtype(logits.dtype())?;
            ops::softmax(&chosen.where_cond(logits, &hidden)?)
        }
        Router::Uniform => {
            let experts = logits.dim(D::Minus1)?;
            Tensor::full(1.0 / experts as f32, logits.shape(), logits.device())?.to_dtype(logits.dtype())
        }
    }
}

/// 1 at the `top` largest logits of each row, 0 elsewhere (u8).
fn chosen(logits: &Tensor, top: usize) -> Result<Tensor> {
    let rows: Vec<Vec<f32>> = logits.detach().to_dtype(candle_core::DType::F32)?.to_vec2()?;
    let mut mask = Vec::with_capacity(logits.elem_count());
    for row in &rows {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
        let mut seen = vec![0u8; row.len()];
        order.iter().take(top).for_each(|&e| seen[e] = 1);
        mask.extend(seen);
    }
    Tensor::from_vec(mask, logits.shape(), logits.device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn logits() -> Tensor {
        Tensor::new(&[[0.3f32, -1.0, 2.0, 0.3], [0.0, 0.0, 0.0, 0.0]], &Device::Cpu).unwrap()
    }

    #[test]
    fn dense_is_softmax() {
        let weights: Vec<Vec<f32>> = route(Router::Dense, &logits()).unwrap().to_vec2().unwrap();
        let sum: f32 = [0.3f32, -1.0, 2.0, 0.3].iter().map(|x| x.exp()).sum();
        assert!((weights[0][2] - 2f32.exp() / sum).abs() < 1e-6);
        assert!(weights[1].iter().all(|w| (w - 0.25).abs() < 1e-7));
    }

    #[test]
    fn sparse_renormalises_over_the_largest_and_breaks_ties_by_index() {
        let weights: Vec<Vec<f32>> = route(Router::Sparse(2), &logits()).unwrap().to_vec2().unwrap();
        let (a, b) = (2f32.exp(), 0.3f32.exp());
        assert!((weights[0][2] - a / (a + b)).abs() < 1e-6 && (weights[0][0] - b / (a + b)).abs() < 1e-6);
        assert_eq!((weights[0][1], weights[0][3]), (0.0, 0.0));
        assert_eq!(weights[1], [0.5, 0.5, 0.0, 0.0]);
    }

    #[test]
    fn sparse_over_all_experts_is_dense() {
        let all: Vec<Vec<f32>> = route(Router::Sparse(4), &logits()).unwrap().to_vec2().unwrap();
        assert_eq!(all, route(Router::Dense, &logits()).unwrap().to_vec2::<f32>().unwrap());
    }

    #[test]
    fn sparse_gradients_reach_the_chosen_logits_only() {
        let logits = Var::from_tensor(&logits()).unwrap();
        let scale = Tensor::new(&[[1f32, 2.0, 3.0, 4.0]], &Device::Cpu).unwrap();
        let loss = route(Router::Sparse(2), logits.as_tensor()).unwrap().broadcast_mul(&scale).unwrap();
        let grads = loss.sum_all().unwrap().backward().unwrap();
        let g: Vec<Vec<f32>> = grads.get(logits.as_tensor()).unwrap().to_vec2().unwrap();
        assert_eq!((g[0][1], g[0][3], g[1][2], g[1][3]), (0.0, 0.0, 0.0, 0.0));
        // d/dl of w_a s_a + w_b s_b is w_a w_b (s_a - s_b).
        assert!((g[1][0] + 0.25).abs() < 1e-6 && (g[1][1] - 0.25).abs() < 1e-6, "{g:?}");
    }

    #[test]
    fn uniform_ignores_the_logits() {
        let weights: Vec<Vec<f32>> = route(Router::Uniform, &logits()).unwrap().to_vec2().unwrap();
        assert!(weights.iter().flatten().all(|&w| w == 0.25));
    }

    #[test]
    fn impossible_routers_are_refused() {
        assert!(check(Router::Sparse(5), 4).is_err());
        assert!(check(Router::Sparse(0), 4).is_err());
        assert!(check(Router::Dense, 0).is_err());
        assert!(check(Router::Sparse(4), 4).is_ok());
    }

    #[test]
    fn routers_are_written_as_the_recipes_write_them() {
        use crate::config::model::VisionMethod;
        for (text, router) in [
            ("router = \"dense\"", Router::Dense),
            ("router = \"uniform\"", Router::Uniform),
            ("router = { sparse = 2 }", Router::Sparse(2)),
        ] {
            let method: VisionMethod = toml::from_str(&format!("type = \"covft\"\n{text}")).unwrap();
            let VisionMethod::Covft { router: read, .. } = &method else { panic!("{method:?}") };
            assert_eq!(*read, router);
            let again: VisionMethod = toml::from_str(&toml::to_string(&method).unwrap()).unwrap();
            assert_eq!(again, method);
        }
    }
}
