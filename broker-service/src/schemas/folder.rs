//! The files of the folder of schemas.

use std::{
    collections::{BTreeMap, HashMap},
    error::Error,
    fs,
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use event::EventType;
use jsonschema::{PatternOptions, Retrieve, Uri, Validator};
use serde_json::Value;

const SUFFIX: &str = ".json";
/// A base URI, so that one file can refer to another by name.
const BASE: &str = "schemas:///";

/// The schemas by file name.
#[derive(Clone)]
struct Files(Arc<BTreeMap<String, Value>>);

/// The validator of each event type.
pub(super) fn load(folder: &Path) -> anyhow::Result<HashMap<String, Arc<Validator>>> {
    let files = read(folder).with_context(|| format!("SCHEMAS_DIR {}", folder.display()))?;
    let mut by_type = HashMap::new();
    for (name, schema) in files.0.iter() {
        let compiled = compile(name, schema, &files);
        let (event_type, validator) =
            compiled.with_context(|| format!("the schema {}", folder.join(name).display()))?;
        by_type.insert(event_type, Arc::new(validator));
    }
    Ok(by_type)
}

fn read(folder: &Path) -> anyhow::Result<Files> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if !name.ends_with(SUFFIX) {
            continue;
        }
        let text = fs::read(&path).with_context(|| name.to_owned())?;
        let schema = serde_json::from_slice(&text).with_context(|| name.to_owned())?;
        files.insert(name.to_owned(), schema);
    }
    Ok(Files(Arc::new(files)))
}

fn compile(name: &str, schema: &Value, files: &Files) -> anyhow::Result<(String, Validator)> {
    let event_type: EventType = name
        .strip_suffix(SUFFIX)
        .unwrap_or(name)
        .parse()
        .context("its name is no event type with .json")?;
    let validator = jsonschema::options()
        .with_base_uri(format!("{BASE}{name}"))
        .with_retriever(files.clone())
        // A linear-time engine, without look-around and back-references.
        .with_pattern_options(PatternOptions::regex())
        .build(schema)
        .map_err(|error| match error.instance_path().as_str() {
            "" => anyhow!("{error}"),
            place => anyhow!("{place}: {error}"),
        })?;
    Ok((event_type.to_string(), validator))
}

impl Retrieve for Files {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn Error + Send + Sync>> {
        let name = uri.as_str().strip_prefix(BASE).unwrap_or(uri.as_str());
        let schema = self.0.get(name).cloned();
        schema.ok_or_else(|| format!("{name} is no file of this folder").into())
    }
}
