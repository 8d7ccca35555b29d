//! What the macros do not say of every route alike: which objects are closed, that bodies may be forms, which operations
//! need no login, and where the API is.

use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::{OpenApi, RefOr, Schema, Server};

/// Objects to which nothing may be added: unknown fields of requests are refused, and each error is of one shape alone.
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
/// The bodies that a form can say as well, without brackets in its names.
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
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Finishes the document.
pub(super) fn finish(document: &mut OpenApi) {
    document.servers = Some(vec![Server::new("/")]);
    let schemas = document.components.as_mut().map(|components| &mut components.schemas);
    for (name, schema) in schemas.into_iter().flatten() {
        if let RefOr::T(Schema::Object(object)) = schema
            && CLOSED.contains(&name.as_str())
        {
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
    }
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.put, &mut item.delete];
        operations.into_iter().flatten().for_each(finish_operation);
    }
}

fn finish_operation(operation: &mut Operation) {
    // Not absent: nothing is needed, whatever the document may one day say of all.
    operation.security.get_or_insert_default();
    if let Some(RefOr::T(body)) = &mut operation.request_body
        && let Some(RefOr::T(content)) = body.content.get(JSON).cloned()
        && let Some(RefOr::Ref(reference)) = &content.schema
        && FORMS.iter().any(|name| reference.ref_location.ends_with(&format!("/{name}")))
    {
        body.content.insert(FORM.to_owned(), RefOr::T(content));
    }
}
