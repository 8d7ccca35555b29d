//! The operator's login at a registry, from the `auth.json` that `podman`, `skopeo` and `docker login` write.
//!
//! An entry applies to one registry, or to the repositories below one of its paths, and is never used for another. Its
//! value is that of HTTP's basic authentication and is passed on unchanged. Programs that store passwords
//! (`credHelpers`, `credsStore`) are not started.

use super::PackageError;
use http::HeaderValue;
use http::uri::Authority;
use serde_json::Value;
use std::fs;
use std::io;
use std::path::PathBuf;

/// The files that may contain credentials, in the order in which they are read.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    files: Vec<PathBuf>,
}

/// Docker Hub's names for itself.
const HUB: [&str; 4] = ["docker.io", "index.docker.io", "registry-1.docker.io", "auth.docker.io"];

impl Credentials {
    /// The files of the user that runs the process.
    pub(super) fn of_user() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(file) = variable("REGISTRY_AUTH_FILE") {
            return Credentials { files: vec![file] };
        }
        let home = variable("HOME");
        let config = variable("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
        let docker = variable("DOCKER_CONFIG").or_else(|| Some(home.as_ref()?.join(".docker")));
        let containers = [variable("XDG_RUNTIME_DIR"), config].into_iter().flatten();
        let files = containers.map(|folder| folder.join("containers/auth.json"));
        Credentials { files: files.chain(docker.map(|folder| folder.join("config.json"))).collect() }
    }

    /// The `authorization` header for `host` and `repository`; `None` when there is no entry for them.
    pub(super) fn find(&self, host: &str, repository: &str) -> Result<Option<HeaderValue>, PackageError> {
        for path in &self.files {
            let text = match fs::read(path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(PackageError::io(path.display(), &error)),
            };
            // serde's message would quote the content.
            let broken =
                |why: &str| PackageError::new(path.display(), why, "log in again, which writes the file again");
            let file: Value = serde_json::from_slice(&text).map_err(|_| broken("is not JSON"))?;
            let entries = file.get("auths").and_then(Value::as_object).into_iter().flatten();
            let fitting = entries.filter_map(|(key, entry)| Some((fits(key, host, repository)?, entry)));
            let Some((_, entry)) = fitting.max_by_key(|(length, _)| *length) else { continue };
            let Some(auth) = entry.get("auth").and_then(Value::as_str).filter(|auth| !auth.is_empty()) else {
                continue;
            };
            let mut value = HeaderValue::from_str(&format!("Basic {auth}"))
                .map_err(|_| broken(&format!("has an entry for {host} that is not Base64")))?;
            value.set_sensitive(true);
            return Ok(Some(value));
        }
        Ok(None)
    }
}

/// Whether the token server that a registry names is the registry's own. The registry gets the token: without this
/// check, it could name the token server of another registry, and get a token for what the operator may read there.
pub(super) fn is_token_server_of(token_server: &str, registry: &str) -> bool {
    let host = |text: &str| text.parse::<Authority>().ok().map(|authority| authority.host().to_ascii_lowercase());
    let (Some(server), Some(registry)) = (host(token_server), host(registry)) else { return false };
    let below = |domain: &str| registry.strip_suffix(domain).is_some_and(|name| name.ends_with('.'));
    server == registry
        || (HUB.contains(&server.as_str()) && HUB.contains(&registry.as_str()))
        // `registry.gitlab.com` and `gitlab.com`, but never a whole top-level domain.
        || (server.contains('.') && below(&server))
}

/// How much of `host/repository` an entry's key matches, which may be a URL; `None` when it is another registry's or
/// path's.
fn fits(key: &str, host: &str, repository: &str) -> Option<usize> {
    let key = key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    // Docker appends a protocol version to its own name.
    let key = key.strip_suffix("/v1").or(key.strip_suffix("/v2")).unwrap_or(key);
    let (key_host, path) = key.split_once('/').unwrap_or((key, ""));
    let same = key_host.eq_ignore_ascii_case(host) || (HUB.contains(&key_host) && HUB.contains(&host));
    let below =
        path.is_empty() || repository.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    (same && below).then_some(path.len())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::path::Path;

    /// Credentials from one file.
    pub(crate) fn from(path: &Path) -> Credentials {
        Credentials { files: vec![path.to_owned()] }
    }

    #[test]
    fn a_registry_cannot_name_another_ones_token_server_as_its_own() {
        for (server, registry, own) in [
            ("r.test", "r.test", true),
            ("R.test:8443", "r.test:5000", true),
            ("auth.docker.io", "index.docker.io", true),
            ("gitlab.com", "registry.gitlab.com", true),
            ("ghcr.io", "evil.test", false),
            ("auth.docker.io", "evil.test", false),
            ("registry.gitlab.com", "gitlab.com", false),
            ("test", "evil.test", false),
            ("r.test", "evil-r.test", false),
            ("localhost:1", "127.0.0.1:2", false),
            ("gitlab.r.test", "registry.r.test", false),
            ("[2001:db8::1]:8443", "[2001:db8::1]", true),
            ("[2001:db8::1]", "[2001:db8::2]", false),
        ] {
            assert_eq!(is_token_server_of(server, registry), own, "{server} of {registry}");
        }
    }

    #[test]
    fn an_entry_is_for_its_registry_and_the_longest_path_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.json");
        let text = r#"{"auths": {
            "r.test": {"auth": "YTpi"}, "r.test/shop": {"auth": "c2hvcA=="}, "r.test:5000": {"auth": "cG9ydA=="},
            "https://index.docker.io/v1/": {"auth": "aHVi"}, "empty.test": {}
        }}"#;
        fs::write(&path, text).unwrap();
        for (host, repository, auth) in [
            ("r.test", "x", Some("YTpi")),
            ("r.test", "shop/store", Some("c2hvcA==")),
            ("r.test", "shopping", Some("YTpi")),
            ("r.test:5000", "x", Some("cG9ydA==")),
            ("r.test.evil.test", "x", None),
            ("evil-r.test", "x", None),
            ("r.test:5001", "x", None),
            ("docker.io", "x", Some("aHVi")),
            ("auth.docker.io", "x", Some("aHVi")),
            ("empty.test", "x", None),
        ] {
            let found = from(&path).find(host, repository).unwrap();
            assert_eq!(
                found.as_ref().map(|found| found.to_str().unwrap()),
                auth.map(|a| format!("Basic {a}")).as_deref()
            );
            assert!(!format!("{found:?}").contains("YTpi"));
        }
        fs::write(&path, "{\"auths\": {\"r.test\": {\"auth\": \"s3cret").unwrap();
        let error = from(&path).find("r.test", "x").unwrap_err().to_string();
        assert!(error.contains("is not JSON") && !error.contains("s3cret"), "{error}");
    }
}
