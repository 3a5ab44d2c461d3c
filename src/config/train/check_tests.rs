use super::*;

#[derive(serde::Deserialize, serde::Serialize, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Recipe {
    stage: Vec<StageConfig>,
}

fn parse(text: &str) -> Result<Recipe, toml::de::Error> {
    toml::from_str(text)
}

const GOOD: &str = r#"
[[stage]]
name = "projector"
steps = 40
batch_size = 16
learning_rate = 1e-3
tuning = { vision = { type = "freeze" }, language = { type = "freeze" } }

[[stage]]
name = "instruct"
epochs = 1.5
batch_size = 4
accumulation = 2
learning_rate = 2e-5
schedule = "linear"
warmup_steps = 2
max_grad_norm = "none"
tasks = ["grounding", "ocr"]
eval_every = 10
learning_rates = { vision = 1e-4 }
[stage.tuning]
vision = { type = "covft", experts = 2 }
"#;

#[test]
fn a_recipe_resolves_with_its_defaults() {
    let stages = check_stages(&parse(GOOD).unwrap().stage).unwrap();
    assert_eq!(stages[0].length, Length::Steps(40));
    assert_eq!(stages[0].clip, GradClip::Norm(1.0));
    assert_eq!(stages[0].warmup.steps(40), 2, "0.03 of 40 steps, rounded up");
    assert_eq!((stages[0].betas, stages[0].eps), ([0.9, 0.999], 1e-8));
    assert_eq!(stages[1].length.steps(7), 11, "1.5 epochs of 7 steps, rounded up");
    assert_eq!(stages[1].clip, GradClip::Off);
    assert_eq!(stages[1].learning_rates.vision, Some(1e-4));
    assert_eq!(stages[1].schedule, Schedule::Linear);
}

#[test]
fn what_is_written_is_read_again() {
    let recipe = parse(GOOD).unwrap();
    let written = toml::to_string(&recipe).unwrap();
    assert_eq!(parse(&written).unwrap(), recipe, "{written}");
}

#[test]
fn every_violation_is_reported_in_one_pass() {
    let text = r#"
[[stage]]
name = "a b"
batch_size = 0
learning_rate = -1.0
betas = [0.9, 1.0]
eval_every = 0
max_grad_norm = 0
tasks = []
keep_last = 0
tuning = { projector = false, language = { type = "freeze" } }

[[stage]]
name = "a b"
steps = 5
epochs = 1.0
warmup_steps = 0
batch_size = 1
learning_rate = 1.0
learning_rates = { text = nan }
tuning = { vision = { type = "covft" } }
"#;
    let violations = check_stages(&parse(text).unwrap().stage).unwrap_err();
    let keys: Vec<_> = violations.iter().map(|v| v.split(':').next().unwrap()).collect();
    assert_eq!(
        keys,
        [
            "stage[0].name",
            "stage[0].steps",
            "stage[0].batch_size",
            "stage[0].keep_last",
            "stage[0].eval_every",
            "stage[0].tasks",
            "stage[0].learning_rate",
            "stage[0].betas",
            "stage[0].max_grad_norm",
            "stage[0].tuning",
            "stage[1].name",
            "stage[1].name",
            "stage[1].epochs",
            "stage[1].learning_rates.text",
            "stage[1].warmup_steps",
        ],
        "{violations:#?}"
    );
}

#[test]
fn unknown_keys_and_wrong_words_are_refused_with_their_line() {
    let unknown = parse(&GOOD.replace("batch_size = 16", "batch_sise = 16")).unwrap_err().to_string();
    assert!(unknown.contains("batch_sise") && unknown.contains("line 5"), "{unknown}");
    let word = parse(&GOOD.replace("\"none\"", "\"never\"")).unwrap_err().to_string();
    assert!(word.contains("a positive number or \"none\"") && word.contains("line 17"), "{word}");
}

#[test]
fn an_empty_recipe_is_refused() {
    assert_eq!(check_stages(&[]).unwrap_err().len(), 1);
}
