//! Towers against the reference's numbers and against finite differences.

mod gradients;
mod observers;
mod reference;

use super::{Tower, TowerSizes, VisionOutput};
use crate::config::model::{Router, VisionConfig, VisionMethod};
use crate::models::checkpoint::{Chain, Renamed, Safetensors};
use crate::models::golden::{open, path, tensor};
use crate::models::tuning::{is_optional, vision_trains};
use crate::nn::{ParamBuilder, ParamStore, Part, Role, TensorSource};
use crate::ops::Ctx;
use candle_core::{Device, Tensor};

const TOWER: &str = "model.vision_tower.vision_tower";

/// A tower with its parameters.
fn build(
    source: &dyn TensorSource,
    config: &VisionConfig,
    method: &VisionMethod,
    checkpointing: bool,
) -> (Tower, ParamStore) {
    let trains = |name: &str, role: &Role| vision_trains(method, name, role);
    let pb = ParamBuilder::new(source, &trains, 7, &Device::Cpu);
    let at = pb.part(Part::Vision).pp(TOWER);
    let sizes = TowerSizes::resolve(config).unwrap();
    let tower = Tower::new(&at, &sizes, method, 48, checkpointing).unwrap();
    (tower, pb.finish())
}

/// Where the fixture keeps the tensors of a method: CoVFT's in the whole model, the others' in the plain tower.
fn weights(name: &str) -> Chain {
    let plain = || Renamed::new(open("clip"), [(format!("{TOWER}."), "")]).complete(is_optional);
    match name {
        "context_moe_layernorm" => Chain(vec![Box::new(open("llava"))]),
        "lora" | "vpt" => Chain(vec![Box::new(open(&format!("methods/{name}/extra.safetensors"))), Box::new(plain())]),
        _ => Chain(vec![Box::new(plain())]),
    }
}

fn covft(router: Router) -> VisionMethod {
    VisionMethod::Covft { experts: 4, start_layer: Some(3), end_layer: None, router }
}

fn pixels() -> Tensor {
    tensor(&open("expected/batch.safetensors"), "pixel_values")
}

fn text() -> Tensor {
    tensor(&open("expected/context_moe_layernorm.safetensors"), "bert_cls")
}

fn dinov2() -> VisionConfig {
    VisionConfig::from_folder(path("towers/dinov2"))
}

fn dinov2_weights() -> Renamed<Safetensors> {
    Renamed::new(open("towers/dinov2"), [(format!("{TOWER}."), "")]).complete(is_optional)
}

/// `sum(features * probe)`: a scalar that every reached parameter moves.
fn scalar(out: &VisionOutput) -> Tensor {
    let n = out.features.elem_count();
    let probe: Vec<f32> = (0..n).map(|i| (0.7 * i as f32).sin()).collect();
    let probe = Tensor::from_vec(probe, out.features.shape(), &Device::Cpu).unwrap();
    (&out.features * probe).unwrap().sum_all().unwrap()
}

fn gradients(tower: &Tower, params: &ParamStore, pixels: &Tensor) {
    params.clear_gradients();
    let out = tower.forward(&Ctx::train(&Device::Cpu).unwrap(), pixels, Some(&text())).unwrap();
    scalar(&out).backward().unwrap();
}
