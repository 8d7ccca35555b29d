//! Finds a version of a package through its registry, as `wkg` and Spin do.
//!
//! The registry in the manifest may state in `/.well-known/wasm-pkg/registry.json` which OCI registry holds its
//! packages, and below which path; otherwise it holds them itself. There, `NAMESPACE/NAME:VERSION` is an artifact with
//! one layer, the component. Any other protocol than OCI is refused.

use super::client::{Client, Refused};
use super::keep;
use crate::package::{Component, Name, Registry};
use http::{StatusCode, Uri};
use serde::Deserialize;
use souk_manifest::{Release, state, temporary};
use std::path::Path;

souk_manifest::fixed_limits! {
    /// The fixed limits of package versions.
    pub(super) const FIXED_LIMITS = "downloads of components";

    /// The largest description of a registry.
    const MAX_DESCRIPTION_BYTES: u64 = 64 << 10, bytes;
}

/// A registry's description of itself.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Description {
    preferred_protocol: Option<String>,
    oci: Option<Oci>,
    warg: Option<serde::de::IgnoredAny>,
    // The older form.
    oci_registry: Option<String>,
    oci_namespace_prefix: Option<String>,
}

/// Where its packages are.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Oci {
    registry: Option<String>,
    namespace_prefix: Option<String>,
}

/// Gets a version of at most `most` bytes into the state folder. Returns its digest, which must be `known` if that is
/// given, and its size.
pub(super) async fn get(
    release: &Release,
    known: Option<&str>,
    most: u64,
    state: &Path,
) -> Result<(String, u64), Refused> {
    let name = name(release, describe(release).await?)?;
    // A remote registry must not redirect the host to a registry on this machine without TLS.
    let plain = release.is_local() && name.is_loopback();
    let registry = Registry::open(&name, plain, false)?;
    let Component { descriptor, digest, bytes } = registry.component().await?;
    if bytes > most {
        return Err(Refused::TooLarge(most));
    }
    if let Some(known) = known.filter(|known| **known != digest) {
        return Err(Refused::Digest { expected: known.to_owned(), found: digest });
    }
    let mut file = temporary::file(&state::components_folder(state), ".download-").map_err(Refused::Disk)?;
    registry.blob(&descriptor, file.as_file_mut()).await?;
    keep(file, &digest, state)?;
    Ok((digest, bytes))
}

/// Fetches the description of the release's registry.
async fn describe(release: &Release) -> Result<Description, Refused> {
    let scheme = if release.is_local() { "http" } else { "https" };
    let url: Result<Uri, _> = format!("{scheme}://{}/.well-known/wasm-pkg/registry.json", release.registry()).parse();
    let url = url.map_err(|error| Refused::Unreachable(error.to_string()))?;
    let mut body = match Client::new(MAX_DESCRIPTION_BYTES)?.get(&url).await {
        Ok(body) => body,
        Err(Refused::Status(StatusCode::NOT_FOUND)) => return Ok(Description::default()),
        Err(refused) => return Err(refused),
    };
    let mut text = Vec::new();
    while let Some(chunk) = body.next().await? {
        text.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&text).map_err(|error| refused(format!("{url} does not describe a registry: {error}")))
}

/// The OCI name of a release.
fn name(release: &Release, description: Description) -> Result<Name, Refused> {
    let Description { preferred_protocol, oci, warg, oci_registry, oci_namespace_prefix } = description;
    let other = match preferred_protocol {
        Some(protocol) => Some(protocol).filter(|protocol| protocol != "oci"),
        None => (warg.is_some() && oci.is_none() && oci_registry.is_none()).then(|| "warg".to_owned()),
    };
    if let Some(other) = other {
        return Err(refused(format!("the registry uses the protocol {}, not OCI's", other.escape_debug())));
    }
    let Oci { registry, namespace_prefix } = oci.unwrap_or_default();
    let registry = oci_registry.or(registry).unwrap_or_else(|| release.registry().to_owned());
    let prefix = oci_namespace_prefix.or(namespace_prefix).unwrap_or_default();
    let (namespace, name) = release.package();
    // A tag cannot contain `+`.
    let tag = release.version().to_string().replace('+', "_");
    Ok(Name::parse(&format!("{registry}/{prefix}{namespace}/{name}:{tag}"))?)
}

fn refused(why: String) -> Refused {
    let fix = "download the component (`wkg get`, `oras pull`), and write the path of the file as `source`".to_owned();
    Refused::Package { why, fix }
}

#[cfg(test)]
mod tests {
    use super::*;
    use souk_manifest::Download;

    fn release(registry: &str) -> Release {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("spin.toml");
        let text = format!(
            "spin_manifest_version = 2\napplication.name = \"t\"\n[[trigger.http]]\nroute = \"/\"\ncomponent = \"a\"\n\
             [component.a]\nsource = {{ registry = \"{registry}\", package = \"shop:cart\", version = \"1.2.0+a\" }}\n"
        );
        std::fs::write(&manifest, text).unwrap();
        let mut plan = souk_manifest::load_build_only(&manifest).unwrap();
        match plan.components.remove("a").unwrap().download {
            Some(Download::Release { release, .. }) => release,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_registry_says_where_its_packages_are() {
        for (description, found) in [
            ("{}", Ok("r.test/shop/cart:1.2.0_a")),
            (r#"{"oci": {"registry": "ghcr.io", "namespacePrefix": "all/"}}"#, Ok("ghcr.io/all/shop/cart:1.2.0_a")),
            (r#"{"ociRegistry": "o.test", "ociNamespacePrefix": "p/"}"#, Ok("o.test/p/shop/cart:1.2.0_a")),
            (r#"{"preferredProtocol": "oci", "oci": {}, "warg": {}}"#, Ok("r.test/shop/cart:1.2.0_a")),
            (r#"{"preferredProtocol": "warg"}"#, Err("the protocol warg")),
            (r#"{"warg": {"url": "https://w.test"}}"#, Err("the protocol warg")),
            (r#"{"oci": {"registry": "a b"}}"#, Err("names no registry")),
        ] {
            let name = name(&release("r.test"), serde_json::from_str(description).unwrap());
            match (name, found) {
                (Ok(name), Ok(found)) => assert_eq!(name.to_string(), found, "{description}"),
                (Err(refused), Err(why)) => assert!(refused.to_string().contains(why), "{description}: {refused}"),
                (name, _) => panic!("{description}: {name:?}"),
            }
        }
    }
}
