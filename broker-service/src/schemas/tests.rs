use std::fs;

use tempfile::TempDir;

use super::*;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn schemas(files: &[(&str, &str)]) -> Schemas {
    Schemas::load(folder(files).path()).unwrap()
}

fn refusal_of(name: &str, text: &str) -> String {
    let error = Schemas::load(folder(&[(name, text)]).path()).err().unwrap();
    let error = format!("{error:#}");
    assert!(error.contains(name), "{error}");
    error
}

async fn check(schemas: &Schemas, content_type: &str, data: &str) -> Result<(), Value> {
    let key = "order.placed".parse().unwrap();
    let event = Event::new(&key, "/", content_type, Bytes::from(data.to_owned()));
    let checked = schemas.check(&event).await;
    checked.map_err(|problem| {
        assert_eq!(problem.status(), 422);
        problem.to_json()
    })
}

async fn errors(schema: &str, data: &str) -> Vec<Value> {
    let schemas = schemas(&[("order.placed.json", schema)]);
    let problem = check(&schemas, "application/json", data).await;
    problem.unwrap_err()["errors"].as_array().unwrap().clone()
}

const ORDER: &str = r#"{
    "type": "object", "required": ["id", "lines"], "additionalProperties": false,
    "properties": {
        "id": {"type": "integer"}, "mail": {"pattern": "^[a-z]+@"},
        "lines": {"items": {"properties": {"quantity": {"minimum": 1}}}}
    }
}"#;

#[tokio::test]
async fn each_violation_has_a_pointer_and_no_value() {
    let data = r#"{"lines":[{"quantity":1},{"quantity":-4711}],"mail":"s3cret","s3cret":1}"#;
    let mut errors = errors(ORDER, data).await;
    errors.sort_by_key(ToString::to_string);
    assert_eq!(
        Value::from(errors),
        json!([
            {"pointer": "", "message": "has a member that is not allowed"},
            {"pointer": "/lines/1/quantity", "message": "must be at least 1"},
            {"pointer": "/mail", "message": "must match the pattern ^[a-z]+@"},
            {"pointer": "", "message": "the member \"id\" is missing"},
        ])
    );
}

#[tokio::test]
async fn a_type_without_a_schema_takes_anything() {
    let none = schemas(&[("other.json", "false"), ("README.md", "{")]);
    check(&none, "text/plain", "x").await.unwrap();
    let order = schemas(&[("order.placed.json", ORDER)]);
    let good = r#"{"id":1,"lines":[]}"#;
    check(&order, "application/json", good).await.unwrap();
    check(&order, "application/x+json; charset=utf-8", good)
        .await
        .unwrap();
    for content_type in ["text/plain", "application/json; charset=utf-16", ""] {
        let problem = check(&order, content_type, good).await.unwrap_err();
        let message = problem["message"].as_str().unwrap();
        assert!(message.contains("must be JSON"), "{message}");
        let sent = match content_type {
            "" => "empty",
            sent => sent,
        };
        let named = format!("the Content-Type is {sent}: send application/json");
        assert!(message.contains(&named), "{message}");
    }
    for data in [
        "",
        "{",
        "1e400",
        r#""\ud800""#,
        r#"{"id":1,"lines":[],"id":1}"#,
    ] {
        let problem = check(&order, "application/json", data).await.unwrap_err();
        assert_eq!(problem["type"], "urn:problem:schema-violation");
    }
}

/// Thousands of violations cost neither a long answer nor much memory, also where data is large.
#[tokio::test]
async fn what_is_told_is_bounded() {
    let small = format!("[{}1]", "1,".repeat(9000));
    let few = errors(r#"{"items": {"minimum": 5}}"#, &small).await;
    assert_eq!(few.len(), VIOLATIONS_MAX);
    let large = format!("[{}1]", "1,".repeat(400_000));
    assert_eq!(
        errors(r#"{"items": {"minimum": 5}}"#, &large).await.len(),
        1
    );
    let long = format!(r#"{{"{}":1}}"#, "n".repeat(10_000));
    let long = errors(r#"{"additionalProperties": {"minimum": 5}}"#, &long).await;
    assert!(long[0]["pointer"].as_str().unwrap().len() < 400);
    let many = format!(r#"{{"enum": [{}1]}}"#, "\"a\",".repeat(10_000));
    assert!(
        errors(&many, "2").await[0]["message"]
            .as_str()
            .unwrap()
            .len()
            < 400
    );
}

#[tokio::test]
async fn no_keyword_tells_a_value() {
    for schema in [
        r#"{"type": ["string", "null"]}"#,
        r#"{"const": 1}"#,
        r#"{"not": {}}"#,
        "false",
        r#"{"anyOf": [{"type": "string"}, {"const": 2}]}"#,
        r#"{"oneOf": [{}, {}]}"#,
        r#"{"allOf": [{"propertyNames": {"maxLength": 1}}]}"#,
        r#"{"maxProperties": 0}"#,
        r#"{"unevaluatedProperties": false}"#,
        r#"{"dependentRequired": {"s3cret": ["x"]}}"#,
        r#"{"contains": {"const": 1}, "type": "array"}"#,
        r#"{"if": {}, "then": false}"#,
    ] {
        for data in [r#"{"s3cret":"s3cret"}"#, r#"["s3cret"]"#] {
            let schemas = schemas(&[("order.placed.json", schema)]);
            if let Err(problem) = check(&schemas, "application/json", data).await {
                let messages = problem["errors"].as_array().unwrap().iter();
                let told: String = messages.map(|error| error["message"].to_string()).collect();
                assert!(!told.contains("s3cret"), "{schema}: {told}");
                assert!(!told.is_empty() && !problem["detail"].to_string().contains("s3cret\\\""));
            }
        }
    }
}

#[tokio::test]
async fn a_schema_refers_to_the_files_beside_it() {
    let schemas = schemas(&[
        (
            "order.placed.json",
            r##"{"properties": {"to": {"$ref": "address.json#/$defs/a"}}}"##,
        ),
        (
            "address.json",
            r#"{"$defs": {"a": {"required": ["street"]}}}"#,
        ),
    ]);
    check(&schemas, "application/json", r#"{"to":{"street":1}}"#)
        .await
        .unwrap();
    let problem = check(&schemas, "application/json", r#"{"to":{}}"#)
        .await
        .unwrap_err();
    assert_eq!(
        problem["message"],
        "the data violates the schema of its type: /to: the member \"street\" is missing"
    );
}

#[test]
fn a_broken_schema_stops_the_start() {
    refusal_of("order.placed.json", "{");
    refusal_of("order.placed.json", r#"{"type": "objekt"}"#);
    refusal_of("order.placed.json", r#"{"pattern": "("}"#);
    refusal_of("order.placed.json", r#"{"pattern": "(?!a)b"}"#);
    refusal_of("order placed.json", "{}");
    for reference in [
        "nowhere.json",
        "#/nowhere",
        "../../etc/passwd",
        "file:///etc/passwd",
        "http://127.0.0.1:1/",
    ] {
        let schema = json!({"$ref": reference}).to_string();
        refusal_of("order.placed.json", &schema);
    }
    let missing = Schemas::load(Path::new("/nowhere")).err().unwrap();
    assert!(format!("{missing:#}").contains("/nowhere"));
}

/// A schema that is satisfied by itself, and one that goes down with the data.
#[tokio::test]
async fn a_schema_may_refer_to_itself() {
    let tree = r##"{"properties": {"child": {"$ref": "#"}}, "maxProperties": 1}"##;
    let deepest = 126;
    let data = format!("{}1{}", r#"{"child":"#.repeat(deepest), "}".repeat(deepest));
    let schemas = schemas(&[
        ("order.placed.json", tree),
        ("loop.json", r##"{"$ref": "#"}"##),
    ]);
    check(&schemas, "application/json", &data).await.unwrap();
    let key = "loop".parse().unwrap();
    let event = Event::new(&key, "/", "application/json", Bytes::from_static(b"1"));
    let _whatever = schemas.check(&event).await;
}
