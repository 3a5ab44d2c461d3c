use covft_probe::config::model::*;
use covft_probe::experiment::step_bench::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let preset = match a[1].as_str() {
        "tiny" => Preset::Tiny,
        "real" => Preset::Real,
        _ => Preset::Real112,
    };
    let method = match a[2].as_str() {
        "covft" => VisionMethod::Covft { experts: 4, start_layer: None, end_layer: None, router: Router::Dense },
        "full" => VisionMethod::Full,
        _ => VisionMethod::Freeze,
    };
    let b = StepBench {
        preset,
        method,
        batch: a[3].parse().unwrap(),
        text_len: 48,
        question_len: 16,
        steps: a[4].parse().unwrap(),
    };
    println!("{}", serde_json::to_string(&b.run().unwrap()).unwrap());
}
