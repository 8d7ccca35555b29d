//! Helpers that the bindings' tests share.

use super::*;
use crate::http_client::{Client, Internal, tls_config};
use crate::outbound::AllowedHosts;
use std::io;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

/// The state of an instance of the component `tested`, with the grants that `grant` adds.
pub(crate) fn ctx(grant: impl FnOnce(&mut Grants)) -> Ctx {
    let component: Arc<str> = "tested".into();
    let tls = tls_config().unwrap();
    let client = Client::new(component.clone(), AllowedHosts::default(), 1, Internal::default(), tls);
    let mut grants = Grants::nothing(component, ComponentLimits::default(), Arc::new(client));
    grant(&mut grants);
    Ctx::new(Arc::new(grants), CallContext::new("trace", Duration::from_secs(60))).unwrap()
}

/// A second subscriber. While there is only one, `tracing` asks the thread that reaches a line first whether anybody wants
/// it, and takes the answer for all: a test in another thread, which captures nothing, would turn it off.
static SECOND: LazyLock<tracing::Dispatch> =
    LazyLock::new(|| tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(io::sink).finish()));

/// Captures what this thread logs, one record per line, until `_guard` is dropped.
pub(crate) struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Log {
    pub(crate) fn capture() -> Self {
        #[derive(Clone)]
        struct Writer(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Writer {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        LazyLock::force(&SECOND);
        let text = Arc::new(Mutex::new(Vec::new()));
        let writer = Writer(text.clone());
        let subscriber = tracing_subscriber::fmt().without_time().with_ansi(false).with_writer(move || writer.clone());
        Log { text, _guard: tracing::subscriber::set_default(subscriber.finish()) }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        String::from_utf8(self.text.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }
}

/// A store with the runtime's settings.
pub(crate) fn store(ctx: Ctx) -> wasmtime::Store<Ctx> {
    let mut config = wasmtime::Config::new();
    config.wasm_component_model_async(true);
    let mut store = wasmtime::Store::new(&wasmtime::Engine::new(&config).unwrap(), ctx);
    store.limiter(|ctx| &mut ctx.limits);
    store
}

#[tokio::test]
async fn the_bindings_link_side_by_side() {
    let store = store(ctx(|_| {}));
    add_to_linker(&mut Linker::new(store.engine())).unwrap();
}

#[test]
fn a_feature_that_is_missing_is_named_for_its_interfaces_alone() {
    let without: Vec<Feature> = FEATURES.iter().map(|(name, interfaces, _)| (*name, *interfaces, false)).collect();
    for (import, feature) in [
        ("spin:mysql/mysql@3.0.0", Some("mysql")),
        ("fermyon:spin/mysql@2.0.0", Some("mysql")),
        ("fermyon:spin/mqtt@2.0.0", Some("mqtt")),
        ("fermyon:spin/redis@2.0.0", None),
        ("spin:llm/llm@3.0.0", None),
    ] {
        assert_eq!(missing(&without, import), feature, "{import}");
    }
    for (name, interfaces, is_there) in FEATURES {
        let answered = BINDINGS.iter().any(|binding| interfaces.iter().all(|interface| binding.answers(interface)));
        assert_eq!(answered, *is_there, "{name}");
    }
    let there: Vec<Feature> = FEATURES.iter().map(|(name, interfaces, _)| (*name, *interfaces, true)).collect();
    assert_eq!(missing(&there, "spin:mysql/mysql@3.0.0"), None);
}

#[test]
fn each_binding_says_how_it_is_called_and_answers_interfaces_of_its_own() {
    let answered = |import: &str| BINDINGS.iter().any(|binding| binding.answers(import));
    for package in ["key-value", "sqlite", "postgres", "redis", "variables"] {
        let imports = [format!("spin:{package}/{package}@3.0.0"), format!("fermyon:spin/{package}@2.0.0")];
        assert!(imports.iter().all(|import| answered(import)), "{package}");
    }
    for (index, binding) in BINDINGS.iter().enumerate() {
        for interface in binding.interfaces {
            let answering = BINDINGS.iter().position(|other| other.answers(interface));
            assert_eq!(answering, Some(index), "{interface}");
        }
        assert!(!binding.name.is_empty() && !binding.key.is_empty());
    }
}

#[test]
fn what_a_guest_prints_is_logged_by_line_under_the_call_that_printed_it() {
    use wasmtime_wasi::cli::StdoutStream as _;
    let log = Log::capture();
    let mut ctx = ctx(|_| {});
    let mut stdout = ctx.stdio.stdout.p2_stream();
    let mut stderr = ctx.stdio.stderr.p2_stream();
    stdout.write("whole\npart ".into()).unwrap();
    stderr.write("error".into()).unwrap();
    stdout.write("ed".into()).unwrap();
    ctx.end();
    ctx.begin(CallContext::new("second", Duration::from_secs(60)));
    stdout.write("dropped".into()).unwrap();
    drop((stdout, stderr, ctx));
    let line = |text: &str, stream: &str, trace: &str| {
        let level = if stream == "stderr" { "WARN" } else { "INFO" };
        format!(" {level} guest: {text} component=tested stream=\"{stream}\" trace=\"{trace}\"")
    };
    let expected = [
        line("whole", "stdout", "trace"),
        line("part ed", "stdout", "trace"),
        line("error", "stderr", "trace"),
        line("dropped", "stdout", "second"),
    ];
    assert_eq!(log.lines(), expected);
}

#[test]
fn what_a_guest_prints_is_logged_and_reported_without_secrets() {
    use wasmtime_wasi::cli::StdoutStream as _;
    let log = Log::capture();
    let ctx = ctx(|_| {});
    ctx.grants.hidden.set(trace::Redaction::of(["sk_live_1"].into_iter()));
    ctx.stdio.stdout.p2_stream().write("pays with sk_live_1\n".into()).unwrap();
    // The part of a line that is kept as the last words would end in the middle of the secret.
    let long = format!("panicked at pay.rs:1:2:\n{} sk_live_1\n", "x".repeat(505));
    ctx.stdio.stderr.p2_stream().write(long.into()).unwrap();
    let words = ctx.last_words().unwrap();
    assert!(words.starts_with("panicked at pay.rs:1:2: xxx") && words.ends_with(" ***"), "{words}");
    ctx.stdio.stderr.p2_stream().write("Stack:\nsk_live_1\nStack:\n".into()).unwrap();
    assert_eq!(ctx.printed_exception()().map(|exception| exception.text().to_owned()).as_deref(), Some("***"));
    let lines = log.lines();
    assert!(lines.len() == 6 && !lines.iter().any(|line| line.contains("sk_live")), "{lines:?}");
    assert!(lines[0].contains("guest: pays with *** component=tested"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn a_component_that_prints_without_end_loses_lines_and_the_log_says_how_many_once_a_second() {
    use wasmtime_wasi::cli::StdoutStream as _;
    let log = Log::capture();
    let first = ctx(|_| {});
    let second = Ctx::new(first.grants.clone(), first.call.clone()).unwrap();
    let other = ctx(|grants| grants.component = "other".into());
    for _ in 0..2 {
        let before = log.lines().len();
        for _ in 0..100 {
            for instance in [&first, &second] {
                instance.stdio.stdout.p2_stream().write("flood\n".repeat(100).into()).unwrap();
                instance.stdio.stderr.p2_stream().write("flood\n".repeat(100).into()).unwrap();
            }
        }
        other.stdio.stdout.p2_stream().write("a line of another component\n".into()).unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let lines = log.lines().split_off(before);
        let floods = lines.iter().filter(|line| line.contains("guest: flood")).count();
        assert!(floods > 100 && floods * "flood".len() <= stdio::MAX_OUTPUT_BYTES, "{floods}");
        let dropped = format!(" WARN guest: {} lines dropped: the component printed more than", 40_000 - floods);
        let reports: Vec<_> = lines.iter().filter(|line| line.contains("lines dropped")).collect();
        assert_eq!(reports.len(), 1, "{reports:?}");
        assert!(reports[0].starts_with(&dropped) && reports[0].ends_with("component=tested"), "{reports:?}");
        assert_eq!(lines.len(), floods + 2, "another component's line, and the report");
    }
}

#[tokio::test]
async fn files_are_there_when_granted_and_an_instance_fails_when_their_folder_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let granted = |path: PathBuf| {
        let state = ctx(|_| {});
        let mut grants = Grants::nothing("tested".into(), ComponentLimits::default(), state.grants.http.clone());
        grants.files = Some(path);
        Ctx::new(Arc::new(grants), state.call)
    };
    assert!(granted(dir.path().to_owned()).is_ok());
    let error = granted(dir.path().join("gone")).err().unwrap().to_string();
    assert!(error.contains("`tested`"), "{error}");
}
