//! Holds the import table of `ARCHITECTURE.md`: reads every `use` path in `src` and compares it with who may import whom.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Module, and the modules of this crate (or `store`, the run store) it may import.
const TABLE: &[(&str, &[&str])] = &[
    ("config", &[]),
    ("kernels", &[]),
    ("ops", &["kernels"]),
    ("nn", &["ops"]),
    ("models", &["nn", "ops", "config::model"]),
    ("data", &["config::data"]),
    ("dist", &["kernels"]),
    ("train", &["models", "nn", "ops", "kernels", "data", "dist", "config::train", "config::model"]),
    ("probe", &["train::hook", "ops", "nn", "models", "kernels", "config::probe", "store"]),
    ("eval", &["*"]),
    ("experiment", &["*"]),
    ("verify", &["*"]),
];

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Every path in `text` that starts at `crate::` or `covft_analyses::`, comments left out, brace groups opened.
fn imported(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().map(|l| l.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for (root, prefix) in [("crate::", ""), ("covft_analyses::", "")] {
        for (at, _) in code.match_indices(root) {
            let rest = &code[at + root.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                let group = &group[..group.find('}').unwrap_or(group.len())];
                for item in group.split(',') {
                    found.insert(format!("{prefix}{}", path_of(item.trim())));
                }
            } else {
                found.insert(format!("{prefix}{}", path_of(rest)));
            }
        }
    }
    found.retain(|p| !p.is_empty());
    found
}

fn path_of(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':').collect()
}

fn allowed(module: &str, import: &str, may: &[&str]) -> bool {
    let first = import.split("::").next().unwrap_or("");
    let is_item = first.chars().next().is_some_and(char::is_uppercase);
    first == module
        || is_item
        || may.contains(&"*")
        || may.iter().any(|m| import == *m || import.starts_with(&format!("{m}::")))
}

#[test]
fn modules_import_only_what_the_architecture_allows() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 50, "only {} files were read", files.len());
    let mut offences = Vec::new();
    for file in &files {
        let relative = file.strip_prefix(&src).unwrap();
        let module = relative.components().next().unwrap().as_os_str().to_string_lossy().replace(".rs", "");
        if ["main", "lib", "cli"].contains(&module.as_str()) {
            continue;
        }
        let Some((_, may)) = TABLE.iter().find(|(m, _)| *m == module) else {
            offences.push(format!("{}: module {module} is not in the table", relative.display()));
            continue;
        };
        // Tests may reach further (a model's golden test needs the data path).
        let text = fs::read_to_string(file).unwrap();
        let is_test = relative.to_string_lossy().contains("test");
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or(&text);
        if is_test {
            continue;
        }
        for import in imported(code) {
            if !allowed(&module, &import, may) {
                offences.push(format!("{}: {module} may not import {import}", relative.display()));
            }
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn the_import_reader_sees_groups_and_paths() {
    let seen = imported("use crate::{ops::linear, nn};\nfn f() { crate::cli::main(); } // crate::data\n");
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["cli::main", "nn", "ops::linear"]);
    assert!(!allowed("train", "probe::Recorder", &["nn"]));
    assert!(allowed("probe", "train::hook::Hook", &["train::hook"]));
    assert!(!allowed("probe", "train::adamw", &["train::hook"]));
}

#[test]
fn unsafe_code_lives_in_kernels_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let outside: Vec<_> = files
        .iter()
        .filter(|f| !f.starts_with(src.join("kernels")))
        .filter(|f| {
            let text = fs::read_to_string(f).unwrap();
            text.lines().any(|l| {
                let code = l.split("//").next().unwrap_or("");
                code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl")
            })
        })
        .collect();
    assert!(outside.is_empty(), "unsafe outside src/kernels: {outside:?}");
}

/// The files that `file` and its modules reach.
fn reached(file: &Path, found: &mut BTreeSet<PathBuf>) {
    if !found.insert(file.to_owned()) {
        return;
    }
    let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
    let root = ["lib", "main", "mod"].contains(&stem.as_str());
    let folder = if root { file.parent().unwrap().to_owned() } else { file.with_extension("") };
    let mut named = None;
    for line in fs::read_to_string(file).unwrap().lines() {
        let code = line.trim_start();
        if let Some(path) = code.strip_prefix("#[path = \"").and_then(|c| c.strip_suffix("\"]")) {
            named = Some(file.with_file_name(path));
        }
        let code = ["pub(crate) ", "pub(super) ", "pub "].iter().fold(code, |c, p| c.strip_prefix(p).unwrap_or(c));
        let Some(name) = code.strip_prefix("mod ").and_then(|c| c.strip_suffix(';')) else { continue };
        let usual = [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")];
        if let Some(place) = named.take().into_iter().chain(usual).find(|p| p.is_file()) {
            reached(&place, found);
        }
    }
}

#[test]
fn every_file_is_reached_by_a_mod() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    for start in ["src/lib.rs", "src/main.rs", "analyses/src/lib.rs", "viewer/src/lib.rs", "tests/main.rs"] {
        reached(&root.join(start), &mut found);
    }
    let mut files = Vec::new();
    for folder in ["src", "analyses/src", "viewer/src", "tests"] {
        rust_files(&root.join(folder), &mut files);
    }
    assert!(files.len() > 300, "only {} files were read", files.len());
    let dead: Vec<_> = files.iter().filter(|f| !found.contains(*f)).collect();
    assert!(dead.is_empty(), "no `mod` reaches {dead:?}");
}
