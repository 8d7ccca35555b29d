//! The other commands of `souk`: call, migrate, doctor, build and limits.

use crate::harness::app::texts;
use crate::harness::{App, build, eventually};
use serde_json::{Value, json};
use std::process::Output;

const DEEDS: &str = "souk-test:rogue/deeds@1.0.0";

/// Standard output as JSON, after a command that succeeded.
fn printed(output: &Output) -> Value {
    let (out, err) = texts(output);
    assert!(output.status.success(), "{out}\n{err}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("not JSON ({e}): {out:?}"))
}

/// Standard error, after a command that failed without a panic.
fn refused(output: &Output) -> String {
    let (out, err) = texts(output);
    assert_eq!(output.status.code(), Some(1), "{out}\n{err}");
    // A guest may panic, but the host must not.
    assert!(!err.contains("panicked at host/"), "{err}");
    err
}

#[tokio::test]
async fn call_prints_the_result_as_json_without_a_running_host() {
    let app = App::new("rogue");
    let output = app.call("rogue", &format!("{DEEDS}#answer"), Some(json!({ "n": 41 }))).await;
    assert_eq!(printed(&output), 41);
    let output = app.call("rogue", &format!("{DEEDS}#read-variable"), Some(json!({ "name": "greeting" }))).await;
    assert_eq!(printed(&output), "hello");
}

#[tokio::test]
async fn call_reaches_the_running_host() {
    let app = App::new("rogue");
    let host = app.start().await;
    // The same instance continues to count: the running host served the call, and `souk call` started no application.
    let client = host.client();
    let over_http = client.get("/other/count").await.expect(200).as_u64().unwrap();
    let output = app.call("calm", &format!("{DEEDS}#count"), None).await;
    assert_eq!(printed(&output), over_http + 1);
}

#[tokio::test]
async fn call_and_host_share_their_state() {
    let app = App::new("rogue");
    let note = json!({ "note": "by-hand" });
    printed(&app.call("calm", &format!("{DEEDS}#insert-row"), Some(note.clone())).await);
    let host = app.start().await;
    assert_eq!(host.client().get("/rogue/count-rows/by-hand").await.expect(200), 1);
    assert_eq!(printed(&app.call("calm", &format!("{DEEDS}#count-rows"), Some(note)).await), 1);
}

#[tokio::test]
async fn call_prints_the_callees_own_error_and_exits_with_1() {
    let app = App::new("rogue");
    let output = app.call("fresh", &format!("{DEEDS}#open-database"), Some(json!({ "label": "default" }))).await;
    // There may be warnings of the start around it.
    let message = refused(&output);
    let error =
        message.lines().find_map(|line| serde_json::from_str::<Value>(line).ok()).expect("JSON on standard error");
    assert!(error["err"]["failed"].is_string(), "{error}");
}

#[tokio::test]
async fn call_reads_its_arguments_from_standard_input() {
    let app = App::new("rogue");
    let answer = format!("{DEEDS}#answer");
    assert_eq!(printed(&app.souk_with_input("{\"n\":41}\n", "call", &["rogue", &answer, "-"]).await), 41);
    let message = refused(&app.souk_with_input("swordfish", "call", &["rogue", &answer, "-"]).await);
    assert!(message.contains("not JSON") && !message.contains("swordfish"), "{message}");
}

#[tokio::test]
async fn a_command_in_a_folder_without_a_manifest_leaves_nothing_there() {
    let app = App::inline("");
    std::fs::remove_file(app.path("spin.toml")).unwrap();
    for arguments in [
        &["call", "rogue", "a:b/c#d"][..],
        &["call", "--list"],
        &["events", "list"],
        &["events", "wait"],
        &["migrate"],
        &["seed"],
        &["import"],
        &["admin", "token"],
        &["cluster", "show"],
        &["backup", "copy"],
        &["up"],
    ] {
        let message = refused(&app.souk_in_folder(arguments[0], &arguments[1..]).await);
        assert!(message.contains("spin.toml") && message.contains("fix: "), "{arguments:?}: {message}");
        assert!(!app.path(".souk").exists(), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_quiet_host_prints_warnings_and_errors_only() {
    let app = App::alone("rogue").argument("--quiet");
    let host = app.spawn();
    let socket = app.state().join("run/control.sock");
    eventually("it has its socket", || async { std::os::unix::net::UnixStream::connect(&socket).ok() }).await;
    assert_eq!(printed(&app.call("rogue", &format!("{DEEDS}#answer"), Some(json!({ "n": 1 }))).await), 1);
    let pid = host.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let output = host.wait_with_output().await.unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.success() && out.is_empty(), "{out}\n{err}");
    let mut lines = err.lines().filter(|line| !line.starts_with("  fix: "));
    assert!(lines.all(|line| line.contains("WARN") || line.starts_with("warning: ")), "{err}");
}

#[tokio::test]
async fn with_the_log_as_json_each_line_of_standard_error_is_an_object() {
    let app = App::alone("rogue").argument("--log-format").argument("json");
    let host = app.spawn();
    let socket = app.state().join("run/control.sock");
    eventually("it has its socket", || async { std::os::unix::net::UnixStream::connect(&socket).ok() }).await;
    refused(&app.call("rogue", &format!("{DEEDS}#boom"), None).await);
    printed(&app.call("rogue", &format!("{DEEDS}#print"), Some(json!({ "text": "swordfish" }))).await);
    let pid = host.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let output = host.wait_with_output().await.unwrap();
    let (out, err) = texts(&output);
    let lines: Vec<Value> =
        err.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
    for line in &lines {
        let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert!(line["time"].is_string() && line["level"].is_string() && line["message"].is_string(), "{line}");
        assert!(keys.iter().any(|key| *key == "target"), "{line}");
    }
    let message = |text: &str| lines.iter().find(|line| line["message"].as_str().unwrap().contains(text));
    let asked = message("asks to call").unwrap_or_else(|| panic!("{out}\n{err}"));
    assert_eq!(asked["level"], "INFO");
    let of_guest: Vec<&Value> = lines.iter().filter(|line| line["target"] == "guest").collect();
    assert!(!of_guest.is_empty() && of_guest.iter().all(|line| line["version"] == 1), "{err}");
    assert!(message("stopping: no new connections").is_some(), "{err}");
    // A failed start also logs its reason as JSON.
    let taken = app.souk("up", &["--log-format", "json", "--listen", "256.0.0.1:1"]).await;
    let (_, err) = texts(&taken);
    assert!(!taken.status.success());
    let last: Value = serde_json::from_str(err.lines().last().unwrap()).unwrap_or_else(|e| panic!("{e}: {err}"));
    assert_eq!(last["level"], "ERROR");
    assert!(last["message"].as_str().unwrap().contains("cannot listen on"), "{last}");
}

#[tokio::test]
async fn the_fix_for_an_address_without_a_host_can_be_used_as_it_stands() {
    let message = refused(&App::new("rogue").souk("up", &["--listen", "0"]).await);
    assert!(message.ends_with("fix: write host and port: --listen 127.0.0.1:0\n"), "{message}");
}

#[tokio::test]
async fn a_host_writes_no_core_dumps() {
    let app = App::new("rogue");
    let host = app.start().await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", host.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}

#[tokio::test]
async fn call_says_that_the_callee_died() {
    let app = App::new("rogue");
    for host in [None, Some(app.start().await)] {
        let output = app.call("rogue", &format!("{DEEDS}#boom"), None).await;
        let message = refused(&output);
        assert!(message.contains("rogue"), "with a host: {}: {message}", host.is_some());
    }
}

#[tokio::test]
async fn call_with_a_bad_argument_names_the_parameter() {
    let app = App::new("rogue");
    let answer = format!("{DEEDS}#answer");
    for (argument, fragment) in
        [("{", "JSON"), (r#"{"n":"x"}"#, "n"), ("{}", "n"), (r#"{"n":-1}"#, "n"), (r#"{"n":1,"m":2}"#, "m")]
    {
        let message = refused(&app.souk("call", &["rogue", &answer, argument]).await);
        assert!(message.contains(fragment), "{argument}: {message}");
    }
}

#[tokio::test]
async fn call_of_an_unknown_function_lists_the_known_ones() {
    let app = App::new("rogue");
    let message = refused(&app.call("rogue", &format!("{DEEDS}#anwser"), None).await);
    for name in ["anwser", "answer", "count-rows"] {
        assert!(message.contains(name), "{message}");
    }
    let message = refused(&app.call("rouge", &format!("{DEEDS}#answer"), None).await);
    for name in ["rouge", "rogue", "calm"] {
        assert!(message.contains(name), "{message}");
    }
}

#[tokio::test]
async fn call_of_an_http_handler_says_what_can_be_called() {
    let app = App::new("probe");
    let message = refused(&app.call("front", "wasi:http/handler#handle", None).await);
    assert!(message.contains("a resource") && message.contains("fix: call a function with plain values"), "{message}");
    let message = refused(&app.call("front", "souk-test:rogue/deeds#answer", None).await);
    assert!(message.contains("none that can be called manually\n  fix: "), "{message}");
}

#[tokio::test]
async fn call_list_prints_every_function_with_its_signature() {
    let app = App::new("rogue");
    let (out, err) = texts(&app.souk("call", &["--list"]).await);
    for fragment in
        ["rogue", "calm", DEEDS, "souk-test:rogue/bare@1.0.0", "key-value-get", "option<string>", "list<u8>"]
    {
        assert!(out.contains(fragment), "{fragment} is missing:\n{out}\n{err}");
    }
}

#[tokio::test]
async fn the_socket_of_a_running_host_is_for_its_owner_only() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    let app = App::new("rogue");
    let _host = app.start().await;
    let folder = app.state().join("run");
    assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap());
    let sockets: Vec<_> = entries.filter(|e| e.file_type().unwrap().is_socket()).collect();
    assert_eq!(sockets.len(), 1, "{sockets:?}");
    assert_eq!(sockets[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_second_host_on_the_same_state_folder_is_refused_by_name() {
    let app = App::new("rogue");
    let host = app.start().await;
    let message = app.start_fails().await;
    assert!(message.contains(&app.state().display().to_string()), "{message}");
    host.client().get("/other/self/hello").await.expect(200);
    host.stop().await;
    app.start().await;
}

#[tokio::test]
async fn a_host_starts_on_the_state_folder_of_one_that_was_killed() {
    let app = App::new("rogue");
    drop(app.start().await);
    let host = app.start().await;
    let output = app.call("rogue", &format!("{DEEDS}#answer"), Some(json!({ "n": 1 }))).await;
    assert_eq!(printed(&output), 1);
    drop(host);
}

#[tokio::test]
async fn migrate_runs_what_is_pending_and_status_says_so() {
    let app = App::new("rogue").file("migrations/sqlite/0002_more.sql", "CREATE TABLE more (id INTEGER);");
    let (before, err) = texts(&app.souk("migrate", &["--status"]).await);
    assert!(
        before.contains("0001_rows") && before.contains("0002_more") && before.contains("pending"),
        "{before}\n{err}"
    );
    let migrated = app.souk("migrate", &[]).await;
    assert!(migrated.status.success(), "{:?}", texts(&migrated));
    let (after, _) = texts(&app.souk("migrate", &["--status"]).await);
    assert!(after.contains("0002_more") && after.contains("applied") && !after.contains("pending"), "{after}");
}

#[tokio::test]
async fn doctor_prints_the_grants_and_the_limits() {
    let output = App::new("rogue").souk("doctor", &["--limits"]).await;
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{out}\n{err}");
    for fragment in ["wasm32-wasip2", "rogue", "call_deadline", "request_body", "memory = 32 MiB", "default"] {
        assert!(out.contains(fragment), "{fragment} is missing:\n{out}");
    }
    let (_, variables) = out.split_once("\nVariables, and where their values come from:\n").expect("variables");
    assert!(variables.lines().any(|line| line.starts_with("  greeting ") && line.ends_with("  its default")), "{out}");
    let (_, fixed) = out.split_once("Fixed limits").expect("fixed limits");
    for module in [
        "http edge",
        "http client",
        "administration",
        "readiness",
        "control socket",
        "calls",
        "output of components",
        "nats",
        "nest",
        "remote",
    ] {
        assert!(fixed.contains(&format!("\n  {module}\n")), "{module} is missing:\n{fixed}");
    }
    assert!(!out.contains("swordfish"), "doctor prints a secret:\n{out}");
    assert!(out.lines().last().unwrap().starts_with("verdict: "), "{out}");
}

/// Components that shell commands build. The component `first` is always built first.
fn buildable(first: &str) -> App {
    App::inline(&format!(
        r#"
spin_manifest_version = 2

[application]
name = "buildable"
version = "1.0.0"

[component.first]
source = "first.wasm"
[component.first.build]
command = {first:?}
"#
    ))
}

#[tokio::test]
async fn build_runs_the_components_commands_in_their_folders() {
    let app = buildable("cp ../given.wasm first.wasm")
        .append("workdir = \"sub\"\n")
        .replace("first.wasm\"\n[", "sub/first.wasm\"\n[")
        .component("given.wasm", "(component)")
        .file("sub/keep", "");
    let output = app.souk("build", &[]).await;
    assert!(output.status.success(), "{:?}", texts(&output));
    assert!(app.path("sub/first.wasm").exists());
    let (_, err) = texts(&output);
    assert!(err.contains("building first: cp") && err.contains("built first in "), "{err}");
}

#[tokio::test]
async fn versions_of_dependencies_are_chosen_without_a_word_of_cargo_before_the_first_build() {
    use std::os::unix::fs::PermissionsExt;
    let app = buildable("cargo build").append("workdir = \"sub\"\n").file("sub/keep", "");
    // It notes its arguments, and says what a first build would say.
    let cargo = "#!/bin/sh\necho \"$*\" >> \"$RUNS\"\n\
                 if [ \"$1\" = generate-lockfile ]; then echo Adding; touch Cargo.lock; fi\n";
    let app = app.file("Cargo.toml", "[workspace]\n").file("bin/cargo", cargo);
    let (bin, runs) = (app.path("bin"), app.path("runs"));
    std::fs::set_permissions(bin.join("cargo"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("PATH={}:{}", bin.display(), std::env::var("PATH").unwrap());
    let app = app.inside(vec!["env".to_owned(), path, format!("RUNS={}", runs.display())]);
    for _ in 0..2 {
        let output = app.souk("build", &[]).await;
        let (out, err) = texts(&output);
        assert!(output.status.success() && !out.contains("Adding") && !err.contains("Adding"), "{out}{err}");
    }
    assert_eq!(std::fs::read_to_string(runs).unwrap(), "generate-lockfile --quiet\nbuild\nbuild\n");
}

#[tokio::test]
async fn each_output_line_of_parallel_builds_names_its_component() {
    let app = buildable("echo one").append(
        "[component.second]\nsource = \"second.wasm\"\n[component.second.build]\ncommand = \"echo two >&2; echo three\"\n\
         workdir = \"sub\"\n[component.third]\nsource = \"third.wasm\"\nbuild = { command = \"echo one\" }\n",
    );
    let output = app.file("sub/keep", "").souk("build", &[]).await;
    assert!(output.status.success(), "{:?}", texts(&output));
    let (out, err) = texts(&output);
    let mut lines: Vec<_> = out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["first, third: one", "second: three"], "{err}");
    assert!(err.contains("second: two\n") && err.contains("built first, second, third in "), "{err}");
}

#[tokio::test]
async fn build_stops_at_an_error_and_shows_it() {
    let app = buildable("echo the compiler is unhappy >&2; exit 3");
    let message = refused(&app.souk("build", &[]).await);
    for fragment in ["first", "the compiler is unhappy", "3"] {
        assert!(message.contains(fragment), "{fragment} is missing:\n{message}");
    }
    let output = app.souk("up", &["--build", "--listen", "127.0.0.1:0"]).await;
    assert!(refused(&output).contains("the compiler is unhappy"));
}

#[tokio::test]
async fn a_build_that_makes_no_component_says_so_and_names_cargos_folder() {
    let app = buildable("true");
    let (_, err) = texts(&app.souk("build", &[]).await);
    assert!(err.contains("warning: the build made no ") && err.contains("first.wasm\n  fix: "), "{err}");
    let (_, err) = texts(&app.environment("CARGO_TARGET_DIR", "/elsewhere").souk("build", &[]).await);
    assert!(err.contains("fix: unset CARGO_TARGET_DIR: with it, cargo builds into /elsewhere"), "{err}");
}

#[tokio::test]
async fn up_builds_nothing_when_another_process_has_its_address() {
    let app = buildable("echo compiling");
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let output = app.souk("up", &["--build", "--listen", &address]).await;
    assert!(refused(&output).contains(&address));
    assert!(!texts(&output).0.contains("compiling"), "{output:?}");
}

#[tokio::test]
async fn build_commands_do_not_see_the_values_of_variables() {
    let app = buildable("env")
        .file("runtime-config.toml", "[[variables_provider]]\ntype = \"env\"\nprefix = \"HOME\"\n")
        .variable("stripe_secret_key", "swordfish")
        .environment("HOME_KEY", "tuna")
        .environment("OTEL_EXPORTER_OTLP_HEADERS", "authorization=herring")
        .environment("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=herring");
    for arguments in [&["build"][..], &["up", "--build", "--listen", "127.0.0.1:0"]] {
        let (out, err) = texts(&app.souk(arguments[0], &arguments[1..]).await);
        assert!(out.contains("PATH=") && out.contains("HOME="), "{out}\n{err}");
        assert!(!["swordfish", "tuna", "herring"].iter().any(|secret| out.contains(secret)), "{out}");
    }
    let (out, err) = texts(&app.souk("up", &["--build", "--quiet", "--listen", "127.0.0.1:0"]).await);
    assert!(out.is_empty() && !err.contains("PATH=") && !err.contains("building"), "{out}\n{err}");
}

#[tokio::test]
async fn up_says_at_its_start_what_runs_where() {
    let app = App::new("rogue");
    let host = app.start().await;
    let all = host.log().join("\n");
    for fragment in
        ["/rogue/...", "/other/...", "front", "calm", "souk-test:rogue/deeds@1.0.0", &app.state().display().to_string()]
    {
        assert!(all.contains(fragment), "{fragment} is missing:\n{all}");
    }
}

#[tokio::test]
async fn limits_shows_how_much_of_each_budget_a_running_host_uses() {
    let app = App::alone("edge");
    let refused = refused(&app.souk("limits", &[]).await);
    assert!(refused.contains("no host runs") && refused.contains("souk up"), "{refused}");
    let host = app.start().await;
    let mut unread = crate::harness::http2::Http2::connect(host.address(), 0).await;
    assert!(unread.send("GET", "/self/bytes/50000", &[], &[None]).await);
    let taken = eventually("an unread response is counted", || async {
        let printed = printed(&app.souk("limits", &["--json"]).await);
        let used = printed.as_array().unwrap().iter().find(|used| used["name"] == "request_memory").unwrap();
        used["taken"].as_u64().filter(|taken| *taken >= 50_000)
    })
    .await;
    assert!(taken < 100_000, "{taken} bytes for a response of 50,000");
    let (out, _) = texts(&app.souk("limits", &[]).await);
    for fragment in ["request_memory", "of 256 MiB", "peer_connections (largest)", "open_files", "instances of front"] {
        assert!(out.contains(fragment), "{fragment} is missing:\n{out}");
    }
}

#[test]
fn help_lists_every_command() {
    let output = std::process::Command::new(build::SOUK).arg("--help").output().unwrap();
    let (out, err) = texts(&output);
    for command in ["up", "build", "call", "admin", "migrate", "doctor", "limits"] {
        assert!(out.contains(command), "{command} is missing:\n{out}\n{err}");
    }
}
