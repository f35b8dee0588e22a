//! The OpenAPI document: what programs that are made from it rely on.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

fn document() -> Value {
    serde_json::to_value(server::rest::openapi()).unwrap()
}

fn operations(document: &Value) -> impl Iterator<Item = (String, &Value)> {
    document["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters");
        methods.map(move |(method, operation)| (format!("{method} {path}"), operation))
    })
}

fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_operation_has_a_name_of_its_own_and_a_problem_for_what_goes_wrong() {
    let document = document();
    let mut names = BTreeMap::new();
    for (route, operation) in operations(&document) {
        let name = operation["operationId"].as_str().unwrap().to_owned();
        // Of a verb and what it is done to: programs that are made from the document put all of them into one place.
        assert!(name.contains('_'), "{route}: {name}");
        if let Some(other) = names.insert(name.clone(), route.clone()) {
            panic!("{other} and {route} are both called {name}");
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            if status == "default" || status.starts_with(['4', '5']) {
                let content: Vec<&String> = response["content"].as_object().unwrap().keys().collect();
                assert_eq!(content, ["application/problem+json"], "{route} {status}");
            }
        }
        assert!(operation["responses"]["default"].is_object(), "{route}");
    }
    assert!(names.len() > 40, "{}", names.len());
}

/// What is refused in any case is said in the document, so that programs refuse it before they send it.
#[test]
fn limits_are_said() {
    let document = document();
    let check = |schema: &str, field: &str, word: &str, limit: Value| {
        let stated = &document["components"]["schemas"][schema]["properties"][field][word];
        assert_eq!(stated, &limit, "{schema}.{field}: {word}");
    };
    check("CreateZeroCertificate", "name", "minLength", json!(1));
    check("CreateZeroCertificate", "name", "maxLength", json!(80));
    check("CreateZeroCertificate", "max_uses", "maximum", json!(domain::certificates::MAX_USES));
    check("CreateZeroCertificate", "lifetime_hours", "minimum", json!(1));
    check("CreateToken", "name", "maxLength", json!(domain::tokens::MAX_NAME_CHARS));
    check("CreateToken", "expires_in_days", "maximum", json!(domain::tokens::MAX_DAYS));
    check("InvitePerson", "email", "format", json!("email"));
    check("ChangePerson", "name", "maxLength", json!(domain::people::MAX_NAME_CHARS));
    check("RunInstruction", "argv", "minItems", json!(1));
    check("MachineChange", "action", "pattern", json!("^(quarantine|verify|release)$"));
    for schema in ["NewReservation", "ReservationChange"] {
        check(schema, "start", "format", json!("date-time"));
        check(schema, "duration_s", "minimum", json!(1));
    }
    for (route, operation) in operations(&document) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let (name, schema) = (parameter["name"].as_str().unwrap(), &parameter["schema"]);
            match name {
                "cursor" => assert_eq!(schema["minLength"], 1, "{route}"),
                "limit" => assert_eq!((&schema["minimum"], &schema["maximum"]), (&json!(1), &json!(500)), "{route}"),
                "from" | "to" => assert_eq!(schema["format"], "date-time", "{route}"),
                _ => {}
            }
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.contains("#/components/schemas/Problem"));
    for reference in found {
        let at = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(at).is_some(), "{reference}");
    }
}

/// Two types of one name would silently be one schema, so the sources are asked.
#[test]
fn no_two_schemas_have_one_name() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut homes: BTreeMap<String, String> = BTreeMap::new();
    let mut folders = vec![root.join("crates/api/src"), root.join("crates/domain/src"), root.join("server/src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            for name in schemas(&std::fs::read_to_string(&path).unwrap()) {
                let home = path.display().to_string();
                if let Some(other) = homes.insert(name.clone(), home.clone()) {
                    panic!("{other} and {home} both have a schema {name}");
                }
            }
        }
    }
    let document = document();
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        // A generic type's schema is named after its argument as well.
        let plain = name.split('_').next().unwrap();
        assert!(homes.contains_key(plain), "{name} was not found in the sources");
    }
}

/// The names of the types in a file that derive `ToSchema`, also by way of `words!`.
fn schemas(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut derived = false;
    for line in source.lines().map(str::trim) {
        derived |=
            line.contains("utoipa::ToSchema") || line.starts_with("words! {") || line.starts_with("crate::words! {");
        let declared =
            ["pub struct ", "pub enum ", "struct ", "enum "].iter().find_map(|start| line.strip_prefix(start));
        if let Some(rest) = declared {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
            if std::mem::take(&mut derived) {
                names.push(name);
            }
        }
    }
    names
}
