//! The table of every TOML key, read off the types themselves: documentation that cannot fall behind.

use super::Recipe;
use schemars::Schema;
use serde_json::Value;
use std::fmt::Write as _;

/// One key of the recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Path, `stage[].tuning.vision.experts`.
    pub path: String,
    /// Type, or the values it can take.
    pub kind: String,
    /// Default as TOML writes it, `required`, or `-` where leaving it out means something of its own.
    pub default: String,
    /// What it means.
    pub meaning: String,
}

/// Every key, in the order of the types.
#[must_use]
pub fn keys() -> Vec<Key> {
    let schema = schemars::schema_for!(Recipe);
    let mut found = Vec::new();
    Walk { root: &schema }.object(schema.as_value(), "", &mut found);
    found
}

/// The table as Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from("| key | values | default | meaning |\n| --- | --- | --- | --- |\n");
    for key in keys() {
        let cell = |s: &str| s.replace('|', "\\|").replace('\n', " ");
        let (kind, meaning) = (cell(&key.kind), cell(&key.meaning));
        // Writing into a String cannot fail.
        writeln!(text, "| `{}` | {kind} | {} | {meaning} |", key.path, cell(&key.default)).ok();
    }
    text
}

struct Walk<'a> {
    root: &'a Schema,
}

impl Walk<'_> {
    /// Follows references and single-entry unions (an optional value) to what is really there.
    fn resolve<'v>(&'v self, mut schema: &'v Value) -> &'v Value {
        loop {
            if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
                let name = reference.rsplit('/').next().unwrap_or_default();
                let Some(next) = self.root.get("$defs").and_then(|d| d.get(name)) else { return schema };
                schema = next;
            } else if let Some(inner) = optional(schema) {
                schema = inner;
            } else {
                return schema;
            }
        }
    }

    fn object(&self, schema: &Value, prefix: &str, found: &mut Vec<Key>) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, property) in properties {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            let target = self.resolve(property);
            let default = match property.get("default") {
                _ if required.contains(&name.as_str()) => "required".to_owned(),
                Some(Value::Null) | None => "-".to_owned(),
                Some(value) if value.is_object() => "(below)".to_owned(),
                Some(value) => format!("`{value}`"),
            };
            let described = property.get("description").or_else(|| target.get("description"));
            let meaning = described.and_then(Value::as_str).unwrap_or_default().to_owned();
            found.push(Key { path: path.clone(), kind: self.kind(target), default, meaning });
            self.below(target, &path, found);
        }
    }

    /// The keys inside a table, an array of tables or a tagged union.
    fn below(&self, target: &Value, path: &str, found: &mut Vec<Key>) {
        if let Some(items) = target.get("items") {
            self.object(self.resolve(items), &format!("{path}[]"), found);
        }
        self.object(target, path, found);
        for variant in target.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
            let tag = tag(variant).map(|(_, tag)| tag);
            let (Some(tag), Some(Value::Object(properties))) = (tag, variant.get("properties")) else { continue };
            let mut fields = variant.clone();
            if let Some(map) = fields.get_mut("properties").and_then(Value::as_object_mut) {
                map.retain(|name, _| !TAGS.contains(&name.as_str()));
            }
            if properties.len() > 1 {
                let mut own = Vec::new();
                self.object(&fields, path, &mut own);
                for key in &mut own {
                    key.meaning = format!("(`{tag}`) {}", key.meaning);
                }
                found.append(&mut own);
            }
        }
    }

    fn kind(&self, target: &Value) -> String {
        if let Some(variants) = target.get("oneOf").or_else(|| target.get("anyOf")).and_then(Value::as_array) {
            let mut names = Vec::new();
            for variant in variants {
                match (variant.get("const").and_then(Value::as_str), tag(variant)) {
                    (Some(word), _) => names.push(format!("`\"{word}\"`")),
                    (None, Some((key, tag))) => names.push(format!("`{{ {key} = \"{tag}\" }}`")),
                    (None, None) => names.push(self.kind(self.resolve(variant))),
                }
            }
            return names.join(", ");
        }
        if let Some(values) = target.get("enum").and_then(Value::as_array) {
            return values.iter().map(|v| format!("`{v}`")).collect::<Vec<_>>().join(", ");
        }
        if let Some(value) = target.get("const") {
            return format!("`{value}`");
        }
        let kind = match target.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).find(|k| *k != "null").unwrap_or(""),
            _ => "",
        };
        match kind {
            "array" => {
                let item = target.get("items").map(|i| self.kind(self.resolve(i))).unwrap_or_default();
                if item == "table" { "array of tables".into() } else { format!("array of {item}") }
            }
            "object" => "table".into(),
            "number" => "number".into(),
            other => other.to_owned(),
        }
    }
}

/// Keys that say which of several tables a table is.
const TAGS: [&str; 2] = ["type", "kind"];

/// Key and value of a table's tag.
fn tag(variant: &Value) -> Option<(&'static str, &str)> {
    let value = |key: &str| variant.get("properties")?.get(key)?.get("const")?.as_str();
    TAGS.into_iter().find_map(|key| Some((key, value(key)?)))
}

/// The other half of a union with `null`.
fn optional(schema: &Value) -> Option<&Value> {
    let variants = schema.get("anyOf")?.as_array()?;
    let is_null = |v: &&Value| v.get("type").and_then(Value::as_str) == Some("null");
    let mut others = variants.iter().filter(|v| !is_null(v));
    let only = others.next()?;
    (variants.len() == 2 && others.next().is_none()).then_some(only)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn keys_are_found_in_every_kind_of_place() {
        let keys = keys();
        let find = |path: &str| keys.iter().find(|k| k.path == path).unwrap_or_else(|| panic!("{path} is not listed"));
        assert_eq!(find("seed").default, "`0`");
        assert_eq!(find("name").default, "required");
        assert!(find("data.template").kind.contains("chatml"), "{:?}", find("data.template"));
        assert!(find("stage[].tuning.vision.experts").meaning.contains("covft"));
        assert!(find("stage[].max_grad_norm").kind.contains("none"));
        assert_eq!(find("model.language.sizes.kv_heads").default, "required");
        assert!(keys.iter().all(|k| !k.meaning.is_empty()), "{:?}", keys.iter().find(|k| k.meaning.is_empty()));
    }

    /// `UPDATE_DOCS=1 cargo test` writes the table.
    #[test]
    fn the_table_in_the_documentation_is_this_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let (begin, end) = ("<!-- keys -->\n", "<!-- /keys -->");
        let (head, rest) = text.split_once(begin).unwrap();
        let (table, tail) = rest.split_once(end).unwrap();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, format!("{head}{begin}{}{end}{tail}", markdown())).unwrap();
        } else {
            assert_eq!(table, markdown(), "run UPDATE_DOCS=1 cargo test the_table_in_the_documentation");
        }
    }
}
