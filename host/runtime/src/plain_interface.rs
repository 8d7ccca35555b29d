//! The interface of components that answer requests as plain values (`souk:http/handler`, in `wit/http`): its types,
//! and its function in an instance. [`plain`](super::plain) says what it is for.

use bytes::Bytes;
use wasmtime::component::types::{ComponentFunc, Type};
use wasmtime::component::{ComponentExportIndex, ComponentType, Instance, Lift, Lower, TypedFunc};
use wasmtime::{AsContextMut, Result};

/// The interface that such a component exports.
pub(super) const INTERFACE: &str = "souk:http/handler@1.0.0";
/// Its function.
pub(super) const FUNCTION: &str = "handle";

/// The interface's request.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct PlainRequest {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) authority: String,
    pub(super) fields: Vec<u8>,
    pub(super) body: Bytes,
}

/// The interface's response.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct PlainResponse {
    pub(super) status: u16,
    pub(super) fields: Vec<(String, Bytes)>,
    pub(super) body: Bytes,
}

/// Whether a function has the interface's type.
pub(super) fn fits(ty: &ComponentFunc) -> bool {
    let is_bytes = |ty: &Type| matches!(ty, Type::List(list) if list.ty() == Type::U8);
    let is_pair = |ty: Type| {
        let Type::Tuple(pair) = ty else { return false };
        let mut types = pair.types();
        let (name, value) = (types.next(), types.next());
        name == Some(Type::String) && value.is_some_and(|ty| is_bytes(&ty)) && types.next().is_none()
    };
    let is_record = |ty: &Type, names: &[&str], fits: &dyn Fn(&str, &Type) -> bool| {
        let Type::Record(record) = ty else { return false };
        record.fields().map(|field| field.name).eq(names.iter().copied())
            && record.fields().all(|field| fits(field.name, &field.ty))
    };
    let (mut params, mut results) = (ty.params(), ty.results());
    let (Some((_, request)), None) = (params.next(), params.next()) else { return false };
    let (Some(response), None) = (results.next(), results.next()) else { return false };
    !ty.async_()
        && is_record(&request, &["method", "target", "authority", "fields", "body"], &|name, ty| match name {
            "fields" | "body" => is_bytes(ty),
            _ => *ty == Type::String,
        })
        && is_record(&response, &["status", "fields", "body"], &|name, ty| match name {
            "status" => *ty == Type::U16,
            "fields" => matches!(ty, Type::List(list) if is_pair(list.ty())),
            _ => is_bytes(ty),
        })
}

/// The function of an instance.
pub(super) type Handle = TypedFunc<(PlainRequest,), (PlainResponse,)>;

/// The function of `instance` at `index`.
///
/// # Errors
/// When it has another type than the interface.
pub(super) fn load(store: impl AsContextMut, instance: &Instance, index: ComponentExportIndex) -> Result<Handle> {
    instance.get_typed_func(store, index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::component::Component;
    use wasmtime::component::types::ComponentItem;

    /// Whether the function of an interface with these types is accepted.
    fn is_taken(request: &str, response: &str, function: &str) -> bool {
        let text = format!(
            r#"(component (import "{INTERFACE}" (instance
                (type $a (record {request})) (export "request" (type $request (eq $a)))
                (type $b (record {response})) (export "response" (type $response (eq $b)))
                (export "handle" (func {function} (param "request" $request) (result $response))))))"#
        );
        let mut config = wasmtime::Config::new();
        config.wasm_component_model_async(true);
        let engine = wasmtime::Engine::new(&config).unwrap();
        let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        let component = component.component_type();
        let import = component.get_import(&engine, INTERFACE).unwrap();
        let ComponentItem::ComponentInstance(instance) = import.ty else { panic!("no interface") };
        let function = instance.get_export(&engine, FUNCTION).unwrap();
        let ComponentItem::ComponentFunc(ty) = function.ty else { panic!("no function") };
        fits(&ty)
    }

    #[test]
    fn the_interface_has_one_type_and_no_other() {
        let request = r#"(field "method" string) (field "target" string) (field "authority" string)
            (field "fields" (list u8)) (field "body" (list u8))"#;
        let response =
            r#"(field "status" u16) (field "fields" (list (tuple string (list u8)))) (field "body" (list u8))"#;
        assert!(is_taken(request, response, ""));
        assert!(!is_taken(request, response, "async"));
        for (from, to) in [("target", "path"), (r#""body" (list u8)"#, r#""body" string"#), ("string", "(list u8)")] {
            assert!(!is_taken(&request.replacen(from, to, 1), response, ""), "{to}");
        }
        for (from, to) in
            [("u16", "u32"), ("tuple string", "tuple string string"), (r#""status" u16"#, r#""code" u16"#)]
        {
            assert!(!is_taken(request, &response.replacen(from, to, 1), ""), "{to}");
        }
    }
}
