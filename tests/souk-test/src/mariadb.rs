//! MariaDB servers for tests, which speak MySQL's protocol: on a free loopback port, with their data in a temporary
//! folder that is deleted after the test.

use crate::keeper::Keeper;
use crate::{debian, ports};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// The user of every server.
pub const USER: &str = "souk";
/// The user's password. It must be escaped in a URL (`p%40ss`), and tests check that no log shows it.
pub const PASSWORD: &str = "p@ss";

/// One server.
pub struct MariaDb {
    folder: TempDir,
    port: u16,
    keeper: Option<Keeper>,
    databases: AtomicU32,
}

impl MariaDb {
    /// A server that all tests of the process share; each takes [`database`](Self::database)s of its own.
    pub fn shared() -> &'static MariaDb {
        static SHARED: OnceLock<MariaDb> = OnceLock::new();
        SHARED.get_or_init(MariaDb::start)
    }

    /// A server for one test, which may kill it.
    pub fn start() -> MariaDb {
        let folder = tempfile::Builder::new().prefix("souk-maria-").tempdir().unwrap();
        let mut install = Command::new(program("mariadb-install-db"));
        install
            .args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"])
            .arg(format!("--datadir={}", folder.path().join("data").display()))
            // Otherwise two installations at the same time would share temporary tables in /tmp.
            .arg(format!("--tmpdir={}", folder.path().display()));
        if debian::is_root() {
            install.arg("--user=root");
        }
        debian::run(install);
        let statements = format!(
            "CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\nGRANT ALL PRIVILEGES ON *.* TO '{USER}'@'%' WITH \
             GRANT OPTION;\n"
        );
        fs::write(folder.path().join("user.sql"), statements).unwrap();
        let port = ports::free();
        let mut server = MariaDb { folder, port, keeper: None, databases: AtomicU32::new(0) };
        server.run(&[("--init-file", "user.sql")]);
        server
    }

    fn run(&mut self, more: &[(&str, &str)]) {
        let folder = self.folder.path();
        let mut arguments: Vec<String> = [
            "--no-defaults",
            "--bind-address=127.0.0.1",
            // A killed process loses no data that the operating system has received, so nothing waits for the disk.
            "--innodb-flush-log-at-trx-commit=0",
            "--skip-name-resolve",
        ]
        .map(str::to_owned)
        .to_vec();
        // The paths must be absolute: the server resolves relative ones against its data folder.
        for (option, file) in [("--datadir", "data"), ("--socket", "server.sock"), ("--tmpdir", ".")].iter().chain(more)
        {
            arguments.push(format!("{option}={}", folder.join(file).display()));
        }
        arguments.push(format!("--port={}", self.port));
        if debian::is_root() {
            arguments.push("--user=root".to_owned());
        }
        let ready = || self.try_sql("SELECT 1").is_ok();
        let keeper = Keeper::start(&program("mariadbd"), &arguments, folder, ready);
        self.keeper = Some(keeper);
    }

    /// The port of 127.0.0.1 that the server listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a new and empty database.
    pub fn database(&self) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.try_sql(&format!("CREATE DATABASE {name}")).unwrap();
        format!("mysql://{USER}:p%40ss@127.0.0.1:{}/{name}", self.port)
    }

    /// Runs a statement with MariaDB's own client, and returns its output.
    pub fn sql(&self, statement: &str) -> String {
        self.try_sql(statement).unwrap()
    }

    fn try_sql(&self, statement: &str) -> Result<String, String> {
        let output = Command::new(program("mariadb"))
            .args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1", "--batch", "--skip-column-names"])
            .args([&format!("--port={}", self.port), &format!("--user={USER}"), &format!("--password={PASSWORD}")])
            .args(["--execute", statement])
            .output()
            .unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Ends the server at once, as `kill -9` does.
    pub fn kill(&mut self) {
        self.keeper = None;
    }

    /// Starts the server again, on the same port and data.
    pub fn resume(&mut self) {
        self.run(&[]);
    }
}

fn program(name: &str) -> PathBuf {
    // Debian puts it in a folder that is not on every user's path.
    debian::found_or_installed(&[name, &format!("/usr/sbin/{name}")], "mariadb-server")
}
