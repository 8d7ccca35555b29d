//! Adds what the macros cannot express for all routes: which objects have no other fields, which bodies may be forms,
//! which operations need no login, and the server's URL.

use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{AdditionalProperties, SchemaFormat};
use utoipa::openapi::{OpenApi, RefOr, Response, Schema, Server};

/// Objects without other fields: requests with unknown fields are refused, and each error has a fixed shape.
const CLOSED: &[&str] = &[
    "Credentials",
    "EmailChange",
    "NewAccount",
    "NewOrder",
    "NewOrderItem",
    "NewProduct",
    "NewStatus",
    "Password",
    "PasswordChange",
    "PasswordReset",
    "PlainError",
    "ProductChanges",
    "RequestError",
    "ServiceError",
];
/// The bodies that can also be sent as forms, because their fields are not nested.
const FORMS: &[&str] = &[
    "Credentials",
    "EmailChange",
    "NewAccount",
    "NewProduct",
    "NewStatus",
    "Password",
    "PasswordChange",
    "PasswordReset",
    "ProductChanges",
];
/// Fields that are texts of a certain format: the schema, its fields, and the format.
const FORMATS: &[(&str, &[&str], &str)] = &[
    ("Order", &["id"], "uuid"),
    ("FoundOrders", &["next"], "uuid"),
    ("PaymentSession", &["url", "cancelUrl", "successUrl"], "uri"),
];
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Finishes the document.
pub(super) fn finish(document: &mut OpenApi) {
    document.servers = Some(vec![Server::new("/")]);
    let schemas = document.components.as_mut().map(|components| &mut components.schemas);
    for (name, schema) in schemas.into_iter().flatten() {
        let RefOr::T(Schema::Object(object)) = schema else { continue };
        if CLOSED.contains(&name.as_str()) {
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
        for (_, fields, format) in FORMATS.iter().filter(|(schema, ..)| schema == name) {
            for field in *fields {
                let Some(RefOr::T(Schema::Object(text))) = object.properties.get_mut(*field) else {
                    panic!("{name} has no text {field}")
                };
                text.format = Some(SchemaFormat::Custom((*format).to_owned()));
            }
        }
    }
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.put, &mut item.delete];
        operations.into_iter().flatten().for_each(finish_operation);
    }
}

fn finish_operation(operation: &mut Operation) {
    // The server in front of every route answers this: the `http` crate accepts no longer URL.
    let too_long = Response::new("The address is longer than 65,534 bytes; the answer has no body");
    operation.responses.responses.insert("414".to_owned(), RefOr::T(too_long));
    // An empty list, not an absent one: no login is needed, even if the document sets a default for all operations one
    // day.
    operation.security.get_or_insert_default();
    if let Some(RefOr::T(body)) = &mut operation.request_body
        && let Some(RefOr::T(content)) = body.content.get(JSON).cloned()
        && let Some(RefOr::Ref(reference)) = &content.schema
        && FORMS.iter().any(|name| reference.ref_location.ends_with(&format!("/{name}")))
    {
        body.content.insert(FORM.to_owned(), RefOr::T(content));
    }
}
