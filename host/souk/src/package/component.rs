//! A single component in a registry, as `wkg` publishes it: an artifact with one layer, the component.

use super::registry::Registry;
use super::{COMPONENT_TYPE, PackageError, hex_of, shown, size_of};
use oci_client::manifest::{OciDescriptor, OciImageManifest};

/// The media type of a component's layer, as in `wkg`.
const WASM_TYPE: &str = "application/wasm";

/// A component in a registry.
#[derive(Debug)]
pub(crate) struct Component {
    /// The layer that contains it.
    pub(crate) descriptor: OciDescriptor,
    /// Its SHA-256, as 64 lower-case hexadecimal digits.
    pub(crate) digest: String,
    /// Its size as declared in the artifact.
    pub(crate) bytes: u64,
}

impl Registry {
    /// The component that the name refers to.
    ///
    /// # Errors
    /// When the registry does not provide it, or it is something else.
    pub(crate) async fn component(&self) -> Result<Component, PackageError> {
        let (text, _) = self.manifest().await?;
        parse(&self.name().to_string(), &text)
    }
}

fn parse(what: &str, text: &[u8]) -> Result<Component, PackageError> {
    let wrong = |why: String| {
        let fix =
            "name a component that `wkg publish` or `wkg oci push` has pushed; `souk up -f` starts an application";
        PackageError::new(what, why, fix)
    };
    let manifest: OciImageManifest =
        serde_json::from_slice(text).map_err(|error| wrong(format!("is not an OCI artifact: {error}")))?;
    let mut layers = manifest.layers.into_iter();
    match (layers.next(), layers.next()) {
        (Some(layer), None) if layer.media_type == WASM_TYPE || layer.media_type == COMPONENT_TYPE => {
            let digest = hex_of(&layer.digest).ok_or_else(|| wrong("has a layer without a SHA-256 digest".into()))?;
            Ok(Component { digest: digest.to_owned(), bytes: size_of(&layer), descriptor: layer })
        }
        (Some(layer), None) => Err(wrong(format!("is of type {}, not {WASM_TYPE}", shown(&layer.media_type)))),
        _ => Err(wrong("is not a component: it does not have exactly one layer".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_an_artifact_of_one_layer() {
        let digest = "0".repeat(64);
        let layer =
            |kind: &str, digest: &str| format!("{{\"mediaType\": \"{kind}\", \"digest\": \"{digest}\", \"size\": 8}}");
        let wasm = layer(WASM_TYPE, &format!("sha256:{digest}"));
        for (layers, why) in [
            (wasm.clone(), None),
            (layer(COMPONENT_TYPE, &format!("sha256:{digest}")), None),
            (format!("{wasm}, {wasm}"), Some("exactly one layer")),
            (String::new(), Some("exactly one layer")),
            (layer("application/x-tar", &format!("sha256:{digest}")), Some("is of type application/x-tar")),
            (layer(WASM_TYPE, "sha512:0"), Some("without a SHA-256 digest")),
            (layer(WASM_TYPE, "sha256:../../x"), Some("without a SHA-256 digest")),
        ] {
            let config = layer("application/vnd.wasm.config.v0+json", &format!("sha256:{digest}"));
            let text = format!("{{\"schemaVersion\": 2, \"config\": {config}, \"layers\": [{layers}]}}");
            match (parse("r.test/n/p:1.0.0", text.as_bytes()), why) {
                (Ok(component), None) => assert_eq!((component.digest, component.bytes), (digest.clone(), 8)),
                (Err(error), Some(why)) => {
                    let error = error.to_string();
                    assert!(error.contains(why) && error.contains("fix: "), "{error}");
                }
                (parsed, _) => panic!("{layers}: {parsed:?}"),
            }
        }
    }
}
