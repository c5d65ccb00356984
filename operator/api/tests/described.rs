//! What `kubectl explain` says of a field is what the field's documentation says.

use kube::CustomResourceExt as _;
use operator_api::{
    SendingDomain, SendingDomainSpec, SmtpCredential, SmtpCredentialSpec, SmtpRelay, SmtpRelaySpec,
};
use serde_json::Value;

/// Fields that may be null and whose text in `definition` is not that of `field`, the schema of their type
/// as it is before the rules for definitions change it.
fn lost(root: &Value, field: &Value, definition: &Value, path: &str, found: &mut Vec<String>) {
    let options = field["anyOf"].as_array().map_or(&[][..], Vec::as_slice);
    let optional = options.iter().any(|one| one["type"] == "null");
    if optional && field["description"] != definition["description"] {
        found.push(path.to_owned());
    }
    let schema = options.first().filter(|_| optional).unwrap_or(field);
    let reference = schema["$ref"]
        .as_str()
        .and_then(|name| name.strip_prefix('#'));
    let schema = reference
        .and_then(|name| root.pointer(name))
        .unwrap_or(schema);
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let shown = &definition["properties"][name];
        lost(root, inner, shown, &format!("{path}.{name}"), found);
    }
    if schema["items"].is_object() {
        let items = (&schema["items"], &definition["items"]);
        lost(root, items.0, items.1, &format!("{path}[]"), found);
    }
}

#[test]
fn an_optional_field_is_described_in_its_definition_as_in_its_documentation() {
    let kinds = [
        (schemars::schema_for!(SmtpRelaySpec), SmtpRelay::crd()),
        (
            schemars::schema_for!(SendingDomainSpec),
            SendingDomain::crd(),
        ),
        (
            schemars::schema_for!(SmtpCredentialSpec),
            SmtpCredential::crd(),
        ),
    ];
    for (schema, definition) in kinds {
        let (root, definition) = (schema.to_value(), serde_json::to_value(definition).unwrap());
        let spec =
            &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let mut found = Vec::new();
        lost(&root, &root, spec, "spec", &mut found);
        assert!(found.is_empty(), "{found:#?}");
        assert!(
            root["properties"]
                .as_object()
                .is_some_and(|fields| fields.len() > 2)
        );
    }
}
