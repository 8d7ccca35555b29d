//! Applications that users build: the code of `souk new` and `souk add` builds, starts and passes its own test, and the
//! commands on the documentation's pages about it run exactly as written.

use crate::harness::build;
use crate::harness::postgres::Postgres;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::MutexGuard;

/// An empty folder with a shell environment: the `souk` under test is on its path, and all applications in Rust share a
/// target folder, so that `spin-sdk` is compiled once.
struct Desk {
    folder: tempfile::TempDir,
    compiled: Option<MutexGuard<'static, PathBuf>>,
}

impl Desk {
    fn new() -> Desk {
        Desk { folder: tempfile::tempdir().unwrap(), compiled: Some(build::applications()) }
    }

    /// For applications in other languages, which wait for no other's build.
    fn without_cargo() -> Desk {
        Desk { folder: tempfile::tempdir().unwrap(), compiled: None }
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let souk = Path::new(build::SOUK).parent().unwrap().to_owned();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(souk).chain(std::env::split_paths(&path))).unwrap();
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env("PATH", path);
        if let Some(folder) = &self.compiled {
            command.env("CARGO_BUILD_BUILD_DIR", &**folder);
        }
        command.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_MANIFEST_DIR");
        command
    }

    fn run(&self, script: &str) -> Output {
        self.command("bash").args(["-euc", script]).output().unwrap()
    }

    /// Runs a script, which must succeed; returns its output.
    fn succeeds(&self, script: &str) -> String {
        let output = self.run(script);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}\n{said}");
        said
    }
}

/// The commands of a page as one script, and the output that the page shows. In a block, a line that begins with `$ `
/// is a command, together with its here-document (`<<'END'`); every other line is output.
fn commands(page: &str) -> (String, Vec<String>) {
    let (mut script, mut expected) = (String::new(), Vec::new());
    for block in page.split("\n```\n").filter(|block| block.starts_with("$ ")) {
        let mut document = false;
        for line in block.lines().take_while(|line| *line != "```") {
            if document {
                document = line != "END";
                script.push_str(line);
            } else if let Some(command) = line.strip_prefix("$ ") {
                document = command.contains("<<'END'");
                script.push_str(command);
            } else {
                expected.push(line.to_owned());
                continue;
            }
            script.push('\n');
        }
    }
    (script, expected)
}

/// Runs the commands of a page, with `new` for its first command, and then `more`; returns all output.
fn follow(desk: &Desk, page: &str, new: &str, more: &str) -> String {
    let text = std::fs::read_to_string(build::root().join("docs").join(page)).unwrap();
    let (script, expected) = commands(&text);
    assert!(script.lines().count() > 5, "{page} has commands: {script}");
    let script = script.replacen("souk new shop\n", &format!("{new}\n"), 1);
    assert!(script.contains(new), "{page} begins with a new application: {script}");
    let said = desk.succeeds(&format!("{script}\n{more}"));
    for line in expected {
        assert!(said.lines().any(|said| said == line), "{page} says {line:?}, but: {said}");
    }
    said
}

const PAGE: &str = "your-own-application.md";

#[test]
fn the_commands_of_the_page_about_an_own_application_run_as_they_stand() {
    follow(&Desk::new(), PAGE, "souk new shop", "");
}

/// What the page says of `souk up` in its text, where no block of commands can be: it serves until it is ended.
#[test]
fn the_page_about_an_own_application_says_what_souk_up_serves() {
    let page = std::fs::read_to_string(build::root().join("docs").join(PAGE)).unwrap();
    for said in ["`curl localhost:3000/world` prints `Hello from /world`", "--listen 127.0.0.1:0 --port-file FILE`"] {
        assert!(page.contains(said), "{said}");
    }
    let said = Desk::new().succeeds(
        r#"souk new shop; cd shop; souk add web --http /...
         souk up --build --watch --dev --listen 127.0.0.1:0 --port-file port &
         trap "kill $!" EXIT
         until [ -s port ]; do kill -0 $!; sleep 0.1; done
         curl --silent --fail "localhost:$(cat port)/world""#,
    );
    assert!(said.lines().any(|line| line == "Hello from /world"), "{said}");
}

/// Whether the kinds of components that the page has no command for are tried too: `SOUK_LANGUAGES=all`.
fn with_every_kind() -> bool {
    std::env::var("SOUK_LANGUAGES").is_ok_and(|languages| languages == "all")
}

/// Follows the page in `language`, and with [`with_every_kind`] goes on; returns all output and the number of tests.
fn follow_in(language: &str) -> (String, usize) {
    let (more, tests) = if with_every_kind() { (OTHER_KINDS, 12) } else { ("", 6) };
    let said = follow(&Desk::without_cargo(), PAGE, &format!("souk new shop --language {language}"), more);
    assert!(!said.lines().any(|line| line.starts_with("test ")), "no test is in Rust: {said}");
    (said, tests)
}

/// The kinds of components that the page has no command for.
const OTHER_KINDS: &str = "souk add values --http /values/... --key-value
    souk add lines --http /lines/... --sqlite
    souk add host --exports acme:greetings/hosts@1.0.0
    souk add kept --exports acme:kept/entries@1.0.0 --key-value
    souk add post --exports acme:post/inbox@1.0.0 --durable --sqlite
    souk add front --http /front/...
    souk add --link front host
    souk test";

/// Needs Node.js with npm, and Python; their tools come from npm and PyPI.
#[test]
fn the_page_about_an_own_application_runs_in_javascript() {
    let (said, tests) = follow_in("javascript");
    assert!(said.lines().any(|line| line.ends_with(&format!("pass {tests}"))), "one test for each component: {said}");
}

/// Needs Node.js with npm, and Python; their tools come from npm and PyPI.
#[test]
fn the_page_about_an_own_application_runs_in_python() {
    let (said, tests) = follow_in("python");
    let expected = format!("Ran {tests} tests");
    assert!(said.lines().any(|line| line.starts_with(&expected)), "one test for each component: {said}");
}

#[test]
fn the_commands_of_the_page_about_contracts_run_as_they_stand() {
    follow(&Desk::new(), "change-a-contract.md", "souk new shop", "");
}

/// The page's code for the languages other than Rust. Needs Node.js with npm, and Python.
#[test]
fn two_versions_of_a_contract_are_exported_side_by_side_in_javascript_and_in_python() {
    let page = std::fs::read_to_string(build::root().join("docs/change-a-contract.md")).unwrap();
    let python = page.split("```python\n").nth(1).and_then(|rest| rest.split("\n```").next()).unwrap();
    let (imports, rest) = python.split_once("\n\n\n").unwrap();
    let (_, next) = rest.split_once("    ...\n").unwrap();
    let desk = Desk::without_cargo();
    std::fs::write(desk.folder.path().join("next.py"), format!("\n\n{imports}\n\n{next}\n")).unwrap();
    let said = desk.succeeds(
        r#"souk new shop --language javascript; cd shop
         souk add web --http /...
         souk add store --exports acme:links/store@0.1.0 --key-value --language python
         souk add --link web store
         souk add shelf --exports acme:books/shelf@0.1.0 --sqlite
         for package in links/store books/shelf; do
             next="wit/${package%/*}-next"; mkdir "$next"
             sed 's/@0.1.0/@0.2.0/' "wit/$package.wit" > "$next/${package#*/}.wit"
             sed -i "s|^exports = \[\"acme:$package@0.1.0\"\]|exports = [\"acme:$package@0.1.0\", \"acme:$package@0.2.0\"]|" spin.toml
         done
         sed -i 's/exports[.]store import/exports.acme_links_store_0_1_0 import/' store/app.py
         sed -i 's/class Store(exports[.]Store)/class AcmeLinksStore010(exports.AcmeLinksStore010)/' store/app.py
         cat ../next.py >> store/app.py
         echo 'export { values as "acme:books/shelf@0.2.0" };' >> shelf/app.js
         sed -i 's|^"acme:links/store@0.1.0" = {|"acme:links/store@0.2.0" = {|' spin.toml
         sed -i 's|acme:links/store@0.1.0|acme:links/store@0.2.0|' web/app.js
         souk test
         souk call shelf acme:books/shelf@0.2.0#set '{"key":"colour","value":"red"}'
         souk call shelf acme:books/shelf@0.1.0#get '{"key":"colour"}'
         ! souk call store acme:links/store@0.2.0#set '{"key":"","value":"red"}'"#,
    );
    let has = |end: &str| said.lines().any(|line| line.ends_with(end));
    assert!(has("pass 3") && has("\"red\"") && has("{\"err\":{\"invalid\":\"the key is empty\"}}"), "{said}");
}

/// Needs Node.js with npm, and Python.
#[test]
fn an_exception_in_javascript_or_python_is_told_to_its_developer() {
    let said = Desk::without_cargo().succeeds(
        r#"souk new shop --language javascript; cd shop
         souk add web --http /...
         souk add page --http /page/... --language python
         sed -i 's/^async function answer(request) {$/&\n  throw new Error("boom in javascript");/' web/app.js
         sed -i 's/^    async def handle_request(.*:$/&\n        raise ValueError("boom in python")/' page/app.py
         souk up --build --dev --listen 127.0.0.1:0 --port-file port &
         trap "kill $!" EXIT
         until [ -s port ]; do kill -0 $!; sleep 0.1; done
         for path in /world /page/world; do curl --silent "localhost:$(cat port)$path"; echo; done"#,
    );
    for (component, reason) in [("web", "boom in javascript (answer@"), ("page", "ValueError: boom in python (File ")] {
        let answer = format!(r#"{{"status":500,"message":"{component} failed","reason":"{reason}"#);
        assert!(said.lines().any(|line| line.starts_with(&answer)), "{answer}: {said}");
    }
}

/// Needs Node.js with npm.
#[test]
fn a_mistake_in_javascript_is_named_with_its_file_when_a_build_fails() {
    let said = Desk::without_cargo().succeeds(
        r#"souk new shop --language javascript; cd shop
         souk add store --exports acme:links/store@0.1.0 --sqlite
         cp store/app.js right.js
         sed -i 's/^const DATABASE = .*/const DATABASE = ;/' store/app.js
         ! souk build
         cp right.js store/app.js
         sed -i 's/^  get: func(key: string).*/&\n  remove-all: func(of-key: string) -> result<_, error>;/' wit/links/store.wit
         ! souk build
         sed -i 's/^  get(key) {/  removeAll(ofKey) {},\n\n&/' store/app.js
         sed -i 's/^export { values as .*/export { values };/' store/app.js
         ! souk build
         echo 'export { values as "acme:links/store@0.1.0" };' >> store/app.js
         souk build"#,
    );
    for fix in [
        "correct store/app.js:6:18: SyntaxError: Unexpected token ';'",
        "store/app.js exports `acme:links/store@0.1.0` without its function `removeAll`: write `removeAll(ofKey) { ... }`",
        "store/app.js does not export `acme:links/store@0.1.0`: write `const store = {",
    ] {
        let line = format!("  fix: {fix}");
        assert_eq!(said.lines().filter(|said| said.starts_with(&line)).count(), 1, "{line}: {said}");
    }
}

#[test]
fn every_kind_of_component_builds_and_passes_the_test_that_is_made_with_it() {
    let said = Desk::new().succeeds(
        "souk new all; cd all
         souk add hello --http /hello/...
         souk add values --http /values/... --key-value
         souk add lines --http /lines/... --postgres
         souk add greeter --exports acme:greetings/greetings@1.0.0
         souk add front --http /front/...; souk add --link front greeter
         souk add kept --exports acme:kept/entries@1.0.0 --key-value
         souk add rows --exports acme:rows/entries@1.0.0 --sqlite
         souk add keeper --http /keeper/...; souk add --link keeper rows
         souk add inbox --exports acme:mail/inbox@1.0.0 --durable --sqlite
         souk add sender --http /sender/...; souk add --link sender inbox
         souk add post --exports acme:post/inbox@1.0.0 --durable --key-value
         for library in souk-call souk-variables souk-web; do souk add hello --library $library; done
         cargo doc --no-deps -p souk-web
         souk test",
    );
    let passed = said.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ... ok")).count();
    assert_eq!(passed, 11, "one test for each component: {said}");
}

/// The components are those of the test before, which is about SQLite.
#[test]
fn components_for_postgresql_pass_their_tests_on_postgresql() {
    let desk = Desk::new();
    desk.succeeds(
        "souk new shop; cd shop
         souk add lines --http /... --postgres
         souk add rows --exports acme:rows/entries@1.0.0 --postgres
         souk add inbox --exports acme:mail/inbox@1.0.0 --durable --postgres",
    );
    let url = |name: &str| format!("SPIN_VARIABLE_{name}_DATABASE_URL={}\n", Postgres::shared().database());
    std::fs::write(desk.folder.path().join("shop/.env"), ["LINES", "ROWS", "INBOX"].map(url).concat()).unwrap();
    let said = desk.succeeds("cd shop; souk test");
    let passed = said.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ... ok")).count();
    assert_eq!(passed, 3, "one test for each component: {said}");
    // The tests' own state folders are gone, so what was migrated is in PostgreSQL.
    let said = desk.succeeds("cd shop; souk migrate --status");
    assert_eq!(said.matches(" applied ").count(), 3, "{said}");
}

/// Whether their packages compile shows the first of these tests, in which a copy of each is compiled.
#[test]
fn the_libraries_for_applications_can_be_packaged_together() {
    let target = tempfile::tempdir().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(build::root()).args(["package", "--no-verify", "--allow-dirty", "--offline", "--target-dir"]);
    cargo.arg(target.path());
    let libraries = ["souk-call", "souk-database", "souk-key-value", "souk-test", "souk-variables", "souk-web"];
    cargo.args(libraries.iter().flat_map(|library| ["-p", library]));
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for library in libraries {
        assert!(target.path().join(format!("package/{library}-0.1.0.crate")).exists(), "{library}");
    }
}

#[test]
fn a_test_that_fails_ends_souk_test_with_the_applications_log() {
    let desk = Desk::new();
    desk.succeeds("souk new shop; cd shop; souk add web --http /...");
    let output = desk.run("cd shop; souk test -- sh -c 'curl -s \"$SOUK_URL/x\"; exit 3'");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().last(), Some("Hello from /x"));
    assert!(said.contains("the application's log:") && said.contains("failed (exit status: 3)"), "{said}");
}

#[test]
fn the_line_of_a_trap_has_source_lines_from_the_symbols_that_souk_build_keeps_beside() {
    let desk = Desk::new();
    desk.succeeds("souk new shop; cd shop; souk add web --http /...");
    let source = "use spin_sdk::http::{IntoResponse, Request};
use spin_sdk::http_service;

#[inline(never)]
fn share(of: usize, among: usize) -> usize {
    std::hint::black_box(of) / among
}

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    share(7, request.uri().path().len() - 1).to_string()
}
";
    std::fs::write(desk.folder.path().join("shop/web/src/lib.rs"), source).unwrap();
    let output = desk.run("cd shop; souk test -- sh -c 'curl -s \"$SOUK_URL/\"; exit 3'");
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find(|line| line.contains("component `web`: trapped")).unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains("web::share (") && line.contains("web/src/lib.rs:6)"), "{line}");
    assert!(line.contains("called by way of web wasi:http/handler"), "{line}");
    let listed = desk.succeeds("cd shop; find target -name 'web.wasm*' -path '*wasip2*' -not -path '*/deps/*' | sort");
    let [code, symbols] = [0, 1].map(|n| listed.lines().nth(n).unwrap_or_else(|| panic!("{listed}")).to_owned());
    assert_eq!(symbols, format!("{code}.debug"));
    let size = |file: &str| std::fs::metadata(desk.folder.path().join("shop").join(file)).unwrap().len();
    assert!(size(&code) * 2 < size(&symbols), "{} and {}", size(&code), size(&symbols));
}

#[test]
fn a_mistyped_contract_is_refused_with_its_line_and_the_nearest_name_before_anything_is_built() {
    let desk = Desk::without_cargo();
    desk.succeeds(
        "souk new shop; cd shop; souk add web --http /...; souk add store --exports acme:links/store@0.1.0
         souk add --link web store; sed -i 's|\"cargo build.*\"|\"touch built\"|' spin.toml; cp spin.toml right.toml",
    );
    let shop = desk.folder.path().join("shop");
    let refused = |from: &str, to: &str, expected: &[&str]| {
        let text = std::fs::read_to_string(shop.join("right.toml")).unwrap();
        assert!(text.contains(from), "{from}: {text}");
        let text = text.replace(from, to);
        std::fs::write(shop.join("spin.toml"), &text).unwrap();
        let output = desk.run("cd shop; souk build");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && !shop.join("web/built").exists(), "{said}");
        let line = text.lines().position(|line| line.contains(to)).unwrap() + 1;
        assert!(said.contains(&format!("spin.toml:{line}: component `")), "{line}: {said}");
        expected.iter().for_each(|expected| assert!(said.contains(*expected), "{expected}: {said}"));
        assert_eq!(said.matches("\n  fix: ").count(), 1, "the mistake is told once: {said}");
    };
    let (link, near) = ("\"acme:links/store@0.1.0\" = {", "did you mean `acme:links/store@0.1.0`");
    refused(link, "\"acme:links/stroe@0.1.0\" = {", &["component `web`: no file in ", near]);
    refused(link, "\"acme:linsk/store@0.1.0\" = {", &["component `web`: no file in ", near]);
    let declared = "wit/links/store.wit declares `package acme:links@0.1.0;`: name that version";
    refused(link, "\"acme:links/store@0.2.0\" = {", &["component `web`: no file in ", declared]);
    let export = "exports = [\"acme:links/store@0.1.0\"]";
    refused(export, "exports = [\"acme:links/sotre@0.1.0\"]", &["component `store`: no file in ", near]);
    // Whose bindings are from elsewhere is built, with a warning.
    let said = desk.succeeds("cd shop; for name in web store; do echo '// mine' > $name/src/lib.rs; done; souk build");
    assert!(said.contains("spin-dependencies.wit is not written") && shop.join("web/built").exists(), "{said}");
}

#[test]
fn a_missing_contract_is_named_by_souk_wit() {
    let desk = Desk::new();
    desk.succeeds("souk new shop; cd shop; souk add web --http /...; souk add store --exports acme:links/store@0.1.0");
    desk.succeeds("cd shop; souk add --link web store; rm wit/links/store.wit; echo 'package a:b;' > wit/b.wit");
    let output = desk.run("cd shop; souk wit");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("contains `acme:links/store@0.1.0`"), "{said}");
    assert!(said.contains("fix: write the package in"), "{said}");
}
