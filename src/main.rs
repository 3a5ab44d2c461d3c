fn main() {
    let a: Vec<String> = std::env::args().collect();
    if a[1] == "verify" {
        let r = covft_probe::verify::verify(std::path::Path::new(&a[2])).unwrap();
        for row in &r.rows { println!("{} {:60} {:.1e} {:.0e} {}", if row.pass {"ok"} else {"FAIL"}, row.what, row.max_rel, row.tolerance, row.note); }
        println!("{:?} {}", r.skipped, r.passed());
    } else if a[1] == "real" {
        for r in covft_probe::verify::real_weights::check(std::path::Path::new("weights"), std::path::Path::new("tests/fixtures/real-weights.json")).unwrap() { println!("{} {:40} {:.1e} {:.0e}", r.passes(), r.what, r.worst, r.tolerance); }
    } else {
        bench(&a);
    }
}
use covft_probe::experiment::step_bench::*;
use covft_probe::config::model::*;
fn bench(a: &[String]) {
    let preset = match a[1].as_str() { "tiny" => Preset::Tiny, "real" => Preset::Real, _ => Preset::Real112 };
    let method = match a[2].as_str() { "covft" => VisionMethod::Covft { experts: 4, start_layer: None, end_layer: None, router: Router::Dense }, "full" => VisionMethod::Full, _ => VisionMethod::Freeze };
    let b = StepBench { preset, method, batch: a[3].parse().unwrap(), text_len: 48, question_len: 16, steps: a[4].parse().unwrap() };
    println!("{}", serde_json::to_string(&b.run().unwrap()).unwrap());
}
