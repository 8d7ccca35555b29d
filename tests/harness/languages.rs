//! Components in other languages, built with their usual tools and cached by a hash of their sources: a build takes
//! minutes, and the same sources give the same component.
//!
//! Node.js, npm and Python are Debian's packages. A missing one is installed if the tests may do so, and the output
//! says so; see `souk_test::debian`.

use super::{build, debian};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

/// The component of `examples/polyglot` in JavaScript.
pub(crate) const PAGE: &str = "page/page.wasm";
/// The one in Python: a catalogue, as the store's `products`.
pub(crate) const CATALOGUE: &str = "catalogue/catalogue.wasm";

/// The generator of bindings for C and Go.
const WIT_BINDGEN: &str = "0.63.0";

/// Builds `examples/polyglot`; returns the folder with its components in JavaScript and Python.
pub(crate) fn polyglot() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = build::root().join("examples/polyglot");
        let cached = cache_folder("polyglot", &[&folder]);
        if ![PAGE, CATALOGUE].iter().all(|component| cached.join(component).exists()) {
            install_tools();
            build::application("examples/polyglot/spin.toml");
            for component in [PAGE, CATALOGUE] {
                store_in_cache(&folder.join(component), &cached.join(component));
            }
        }
        build::guest("example-likes");
        cached
    })
}

/// Builds the component of `tests/javascript` by Spin's tools for JavaScript; returns its file.
pub(crate) fn javascript() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = build::root().join("tests/javascript");
        let wit = build::root().join("examples/polyglot/wit");
        let cached = cache_folder("javascript", &[&folder, &wit]).join("handler.wasm");
        if !cached.exists() {
            install_tools();
            for arguments in [&["ci", "--no-audit", "--no-fund"][..], &["run", "build"]] {
                let mut npm = Command::new("npm");
                npm.args(arguments).current_dir(&folder);
                debian::run(npm);
            }
            store_in_cache(&folder.join("handler.wasm"), &cached);
        }
        cached
    })
}

/// Builds the components of `tests/c`; returns the folder with `web.wasm` and `greeter.wasm`.
pub(crate) fn c() -> PathBuf {
    let folder = build::root().join("tests/c");
    let examples = build::root().join("examples");
    let cached = cache_folder("c", &[&folder, &examples.join("linked/wit"), &examples.join("polyglot/wit")]);
    if !["web.wasm", "greeter.wasm"].iter().all(|file| cached.join(file).exists()) {
        debian::found_or_installed(&["clang"], "clang");
        debian::found_or_installed(&["wasm-ld"], "lld");
        if !Path::new("/usr/lib/wasm32-wasi/libc.a").exists() {
            debian::install("the C library of wasm32-wasi", "wasi-libc");
        }
        // compiler-rt for wasm32, for the version of clang in Debian 12.
        if !Path::new("/usr/lib/llvm-14/lib/clang/14.0.6/lib/wasi").exists() {
            debian::install("clang's runtime for wasm32", "libclang-rt-14-dev-wasm32");
        }
        let work = with_wit_bindgen(&folder, &[]);
        for file in ["web.wasm", "greeter.wasm"] {
            store_in_cache(&work.path().join(file), &cached.join(file));
        }
    }
    cached
}

/// Builds the components of `tests/go`; returns the folder with `web.wasm` and `greeter.wasm`.
pub(crate) fn go() -> PathBuf {
    let folder = build::root().join("tests/go");
    let examples = build::root().join("examples");
    let cached = cache_folder("go", &[&folder, &examples.join("linked/wit"), &examples.join("polyglot/wit")]);
    if !["web.wasm", "greeter.wasm"].iter().all(|file| cached.join(file).exists()) {
        let work = with_wit_bindgen(&folder, &[souk_test::go::go().parent().unwrap()]);
        for world in ["web", "greeter"] {
            let file = work.path().join(format!("{world}.wasm"));
            embed(&file, &work.path().join("wit"), world);
            store_in_cache(&file, &cached.join(format!("{world}.wasm")));
        }
    }
    cached
}

/// Runs `build` of a folder with wit-bindgen, and what else is in `tools`, on the path; returns the folder that it filled.
fn with_wit_bindgen(folder: &Path, tools: &[&Path]) -> tempfile::TempDir {
    // Two languages share it.
    static INSTALLING: Mutex<()> = Mutex::new(());
    let root = build::target().join("tools");
    {
        let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cargo = Command::new("cargo");
        cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
        cargo.args(["install", "--quiet", "--locked", "wit-bindgen-cli", "--version", WIT_BINDGEN]);
        cargo.args(["--no-default-features", "--features", "c,go", "--root"]).arg(&root);
        debian::run(cargo);
    }
    let work = tempfile::tempdir().unwrap();
    let bin = root.join("bin");
    let path = std::env::join_paths([bin.as_path()].iter().chain(tools)).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "PATH=\"$0:$PATH\" ./build \"$1\""]).arg(path).arg(work.path());
    shell.current_dir(folder);
    debian::run(shell);
    work
}

/// Writes into a core module which component of `wit` it is: `wasm-tools component embed`, whose library this is.
fn embed(module: &Path, wit: &Path, world: &str) {
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir(wit).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let mut bytes = fs::read(module).unwrap();
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut bytes, &resolve, world, encoding).unwrap();
    fs::write(module, bytes).unwrap();
}

/// Builds the component of `tests/python/VERSION` by Spin's SDK for Python of that version; returns its file.
pub(crate) fn python(version: &str) -> PathBuf {
    // Scenarios run in parallel and share the folder.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = build::root().join("tests/python").join(version);
    let cached = cache_folder(&format!("python-{version}"), &[&folder]).join("app.wasm");
    if !cached.exists() {
        install_tools();
        let run = |command: &str| {
            let mut shell = Command::new("sh");
            // The tool finds the SDK's interfaces by the Python that is first on the path.
            shell.args(["-c", &format!("PATH=\"$PWD/.venv/bin:$PATH\"; {command}")]).current_dir(&folder);
            debian::run(shell);
        };
        run("python3 -m venv .venv");
        run("pip install --quiet --require-hashes --requirement requirements.txt");
        run(fs::read_to_string(folder.join("build")).unwrap().trim());
        store_in_cache(&folder.join("app.wasm"), &cached);
    }
    cached
}

/// Runs schemathesis on a description of an API, in a virtual environment of its own; panics with what it found.
pub(crate) async fn schemathesis(document: String, arguments: Vec<String>) {
    let run = move || {
        let requirements = build::root().join("tests/openapi/requirements.txt");
        let place = build::target().join("tools/schemathesis");
        let made = place.join("made-from.txt");
        if fs::read(&made).ok() != Some(fs::read(&requirements).unwrap()) {
            install_tools();
            let mut shell = Command::new("sh");
            let make = "python3 -m venv \"$0\" && \"$0/bin/pip\" install --quiet --require-hashes --requirement \"$1\"";
            shell.args(["-c", make]).arg(&place).arg(&requirements);
            debian::run(shell);
            fs::copy(&requirements, &made).unwrap();
        }
        let work = tempfile::tempdir().unwrap();
        let description = work.path().join("openapi.json");
        fs::write(&description, document).unwrap();
        // The script names the interpreter of the checkout that made it, and checkouts may share the folder.
        let mut command = Command::new(place.join("bin/python3"));
        command
            .current_dir(work.path())
            .arg(place.join("bin/schemathesis"))
            .args(["run"])
            .arg(&description)
            .args(arguments);
        debian::run(command);
    };
    tokio::task::spawn_blocking(run).await.unwrap();
}

/// Makes a client in TypeScript from a description of an API, and compiles `tests/openapi/client.ts` with it.
pub(crate) async fn openapi_client(document: String) {
    let run = move || {
        install_tools();
        let work = tempfile::tempdir().unwrap();
        for file in ["client.ts", "package.json", "package-lock.json"] {
            fs::copy(build::root().join("tests/openapi").join(file), work.path().join(file)).unwrap();
        }
        fs::write(work.path().join("openapi.json"), document).unwrap();
        let mut shell = Command::new("sh");
        let make = "npm ci --silent --no-fund --no-audit && npx openapi-typescript openapi.json -o made.d.ts && \
                    npx tsc --noEmit --strict --module nodenext --target es2022 client.ts";
        shell.args(["-c", make]).current_dir(work.path());
        debian::run(shell);
    };
    tokio::task::spawn_blocking(run).await.unwrap();
}

/// Installs Node.js, npm and Python if they are missing.
fn install_tools() {
    debian::found_or_installed(&["node"], "nodejs");
    debian::found_or_installed(&["npm"], "npm");
    debian::found_or_installed(&["python3"], "python3");
    let mut ensurepip = Command::new("python3");
    if !ensurepip.args(["-c", "import ensurepip"]).output().is_ok_and(|output| output.status.success()) {
        debian::install("python3's venv", "python3-venv");
    }
}

/// The cache folder for components that are built from the files in `folders`.
fn cache_folder(name: &str, folders: &[&Path]) -> PathBuf {
    let mut hash = Sha256::new();
    for folder in folders {
        let mut files = Vec::new();
        sources(folder, &mut files);
        files.sort();
        for file in files {
            hash.update(file.strip_prefix(folder).unwrap().as_os_str().as_encoded_bytes());
            hash.update(fs::read(file).unwrap());
        }
    }
    let digest: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    build::target().join("languages").join(format!("{name}-{digest}"))
}

/// The source files of a folder, without build output and installed packages.
fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap().path();
        let made = path.extension().is_some_and(|extension| extension == "wasm")
            || ["node_modules", ".venv", "__pycache__", "javascript/build", "javascript/wit"]
                .iter()
                .any(|made| path.ends_with(made));
        match path.is_dir() {
            _ if made => {}
            true => sources(&path, files),
            false => files.push(path),
        }
    }
}

/// Copies a component into the cache, by a rename: another test process may do the same at the same time.
fn store_in_cache(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let new = tempfile::Builder::new().tempfile_in(to.parent().unwrap()).unwrap();
    fs::copy(from, new.path()).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    new.persist(to).unwrap();
}
