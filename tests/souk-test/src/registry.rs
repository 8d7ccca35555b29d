//! OCI registries for tests: Debian's `docker-registry`, on a free loopback port, with its data in a temporary folder
//! that is deleted after the test.

use crate::keeper::Keeper;
use crate::{debian, ports};
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use tempfile::TempDir;

/// The user of a registry with a login.
pub const USER: &str = "testuser";
/// The user's password.
pub const PASSWORD: &str = "testpassword";
/// User and password as HTTP's basic authentication encodes them.
pub const LOGIN: &str = "dGVzdHVzZXI6dGVzdHBhc3N3b3Jk";
/// User and password as the registry stores them.
const HTPASSWD: &str = "testuser:$2y$05$8/q2bfRcX74EuxGf0qOcSuhWDQJXrgWiy6Fi73/JM2tKC66qSrLve\n";

/// One registry.
pub struct Registry {
    folder: TempDir,
    port: u16,
    keeper: Option<Keeper>,
}

impl Registry {
    /// A registry that accepts everyone.
    pub fn start() -> Registry {
        Registry::start_with("")
    }

    /// A registry that accepts [`USER`] only.
    pub fn start_with_login() -> Registry {
        Registry::start_with("auth: { htpasswd: { realm: test, path: htpasswd } }\n")
    }

    fn start_with(settings: &str) -> Registry {
        let folder = tempfile::Builder::new().prefix("souk-registry-").tempdir().unwrap();
        let port = ports::free();
        fs::write(folder.path().join("htpasswd"), HTPASSWD).unwrap();
        let config = format!(
            "version: 0.1\nstorage: {{ filesystem: {{ rootdirectory: data }} }}\nhttp: {{ addr: \"127.0.0.1:{port}\" }}\n\
             {settings}"
        );
        fs::write(folder.path().join("config.yml"), config).unwrap();
        let mut registry = Registry { folder, port, keeper: None };
        registry.resume();
        registry
    }

    /// The registry's name, with which the names of its packages begin: its address and port.
    pub fn name(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The folder with the pushed packages.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Ends the registry at once, as `kill -9` does.
    pub fn kill(&mut self) {
        self.keeper = None;
    }

    /// Starts the registry again, on the same port and data.
    pub fn resume(&mut self) {
        let program = debian::found_or_installed(&["docker-registry"], "docker-registry");
        let ready = || TcpStream::connect(("127.0.0.1", self.port)).is_ok();
        let arguments = ["serve".into(), "config.yml".into()];
        self.keeper = Some(Keeper::start(&program, &arguments, self.folder.path(), ready));
    }
}
