//! `souk package`: makes a package of an application's manifest, components and files.
//!
//! In the package's manifest, each component's `source` is its path in the package, and the parts for building and
//! testing are removed. A package never contains `.env`, `runtime-config.toml` or a state folder, whatever `files`
//! says.

use super::layout::{self, Blob, Content};
use super::{
    APPLICATION_TYPE, COMPONENT_TYPE, FILES_TYPE, MAX_BLOB_BYTES, MAX_COMPONENTS, MAX_FILES, MAX_SPIN_TOML_BYTES,
    MAX_UNPACKED_BYTES, PackageError, SPIN_TOML_TYPE, TITLE, archive, digest_of, named,
};
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use souk_manifest::{Download, PackagePlan, PackagedCode, is_inside, state};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;
use toml_edit::{DocumentMut, Item, Value};

/// The parts of a package, each with its size in bytes.
type Parts = Vec<(String, u64)>;

/// The result of making a package.
pub(crate) struct Made {
    /// The digest of the package.
    pub(crate) digest: String,
    /// The parts of the package, each with its size in bytes.
    pub(crate) parts: Parts,
}

/// Makes a package of the application of `manifest`, and writes it to `output` when it is complete. Reads and writes
/// files; for a thread that may block.
///
/// # Errors
/// When a component is not built, a file is outside the manifest's folder or holds secrets, or something is too large.
pub(crate) fn make(manifest: &Path, output: &Path) -> anyhow::Result<Made> {
    let plan = souk_manifest::load_package(manifest)?;
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let at = |error: io::Error| PackageError::io(output.display(), &error);
    // The umask decides who may read it.
    let public = Permissions::from_mode(0o666);
    let archived = NamedTempFile::new_in(folder).map_err(at)?;
    let (blobs, parts) = blobs(manifest, &plan, &archived)?;
    let package = OciImageManifest {
        media_type: Some(OCI_IMAGE_MEDIA_TYPE.to_owned()),
        artifact_type: Some(APPLICATION_TYPE.to_owned()),
        config: blobs.first().map(|blob| blob.descriptor.clone()).unwrap_or_default(),
        layers: blobs.iter().skip(1).map(|blob| blob.descriptor.clone()).collect(),
        annotations: Some(annotations(&plan)),
        ..OciImageManifest::default()
    };
    let text = serde_json::to_vec(&package)?;
    super::parse(&output.display().to_string(), &text)?;
    let written = tempfile::Builder::new().permissions(public).tempfile_in(folder).map_err(at)?;
    let digest = layout::write(&text, &blobs, &plan.version, io::BufWriter::new(written.as_file()))?;
    written.as_file().sync_all().map_err(at)?;
    written.persist(output).map_err(|error| at(error.error))?;
    Ok(Made { digest, parts })
}

fn annotations(plan: &PackagePlan) -> BTreeMap<String, String> {
    let title = ("org.opencontainers.image.title".to_owned(), plan.name.clone());
    let version = ("org.opencontainers.image.version".to_owned(), plan.version.clone());
    [title, version].into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// The configuration, the manifest, the components and the archive of files, in this order.
fn blobs(manifest: &Path, plan: &PackagePlan, archived: &NamedTempFile) -> Result<(Vec<Blob>, Parts), PackageError> {
    let what = manifest.display().to_string();
    let config = json!({ "name": plan.name, "version": plan.version, "souk": env!("CARGO_PKG_VERSION") });
    let text = rewritten(manifest, plan)?;
    if text.len() as u64 > MAX_SPIN_TOML_BYTES || plan.components.len() > MAX_COMPONENTS {
        let why = format!("has more than {MAX_COMPONENTS} components, or {} MiB", MAX_SPIN_TOML_BYTES >> 20);
        return Err(PackageError::new(what, why, "divide it into several applications"));
    }
    let is_local = |code: &&PackagedCode| code.download.as_ref().is_some_and(Download::is_local);
    if let Some(code) = plan.components.iter().find(is_local) {
        let why = format!("component `{}` is a download from this machine, and no other has it", code.component);
        return Err(PackageError::new(what, why, "copy the file into the folder, and name it as `source`"));
    }
    let mut parts = vec![("spin.toml".to_owned(), text.len() as u64)];
    let mut blobs = vec![
        in_memory(APPLICATION_TYPE, None, config.to_string().into_bytes()),
        in_memory(SPIN_TOML_TYPE, Some("spin.toml"), text.into_bytes()),
    ];
    for code in plan.components.iter().filter(|code| code.download.is_none()) {
        let title = title(code, &plan.dir).ok_or_else(|| {
            let why = format!("`{}` lies outside the folder of the manifest", code.source.display());
            PackageError::new(&what, why, "copy the file into the folder, and name it there")
        })?;
        if blobs.iter().any(|blob| titled(blob) == Some(&title)) {
            continue;
        }
        let (digest, size) = hashed(&code.source, "build it first: souk build")?;
        parts.push((title.clone(), size));
        let descriptor = descriptor(COMPONENT_TYPE, Some(&title), digest, size);
        blobs.push(Blob { descriptor, content: Content::File(code.source.clone()) });
    }
    let files = files(plan, &blobs)?;
    if !files.is_empty() {
        archive::write(&files, io::BufWriter::new(archived.as_file()))?;
        let (digest, size) = hashed(archived.path(), "let this user read it")?;
        parts.push((format!("{} files", files.len()), size));
        let descriptor = descriptor(FILES_TYPE, None, digest, size);
        blobs.push(Blob { descriptor, content: Content::File(archived.path().to_owned()) });
    }
    if let Some((part, _)) = parts.iter().find(|(_, size)| *size > MAX_BLOB_BYTES) {
        let why = format!("{part}: larger than {} MiB", MAX_BLOB_BYTES >> 20);
        return Err(PackageError::new(what, why, "make it smaller, or put data into a database"));
    }
    Ok((blobs, parts))
}

/// The path of a component in the package; `None` when it has no table of its own and is outside the folder.
fn title(code: &PackagedCode, dir: &Path) -> Option<String> {
    if code.has_table {
        return Some(place(&code.component));
    }
    relative(dir, &code.source)
}

fn place(component: &str) -> String {
    format!("components/{component}.wasm")
}

fn relative(dir: &Path, path: &Path) -> Option<String> {
    is_inside(dir, path).then(|| path.strip_prefix(dir).ok()?.to_str().map(str::to_owned)).flatten()
}

fn titled(blob: &Blob) -> Option<&String> {
    blob.descriptor.annotations.as_ref()?.get(TITLE)
}

/// The manifest of the package.
fn rewritten(manifest: &Path, plan: &PackagePlan) -> Result<String, PackageError> {
    let path = if manifest.is_dir() { manifest.join("spin.toml") } else { manifest.to_owned() };
    let text = fs::read_to_string(&path).map_err(|error| PackageError::io(path.display(), &error))?;
    let mut document: DocumentMut =
        text.parse().map_err(|error| PackageError::new(path.display(), error, "correct the manifest"))?;
    for code in plan.components.iter().filter(|code| code.has_table) {
        let table = document.get_mut("component").and_then(|all| all.get_mut(&code.component));
        let Some(table) = table.and_then(Item::as_table_like_mut) else { continue };
        table.remove("build");
        if code.download.is_none() {
            table.insert("source", Item::Value(Value::from(place(&code.component))));
        }
    }
    let souk = ["application", "tool", "souk"].iter().try_fold(document.as_item_mut(), |item, key| item.get_mut(key));
    if let Some(souk) = souk.and_then(Item::as_table_like_mut) {
        souk.remove("test");
    }
    Ok(document.to_string())
}

/// All files except components: each path in the package, with the file's location.
fn files(plan: &PackagePlan, blobs: &[Blob]) -> Result<BTreeMap<String, PathBuf>, PackageError> {
    let mut found = Vec::new();
    for files in &plan.files {
        let resolved = files.resolve().map_err(|mistake| PackageError::new("files", &mistake.message, &mistake.fix))?;
        found.extend(resolved.into_values());
    }
    for folder in &plan.folders {
        collect(folder, &mut found)?;
    }
    let real = plan.dir.canonicalize().map_err(|error| PackageError::io(plan.dir.display(), &error))?;
    let (mut files, mut bytes) = (BTreeMap::new(), 0_u64);
    for file in found {
        let refuse = |why: &str, fix: &str| PackageError::new(file.display(), why, fix);
        let outside = || refuse("lies outside the folder of the manifest", "copy it into the folder");
        // A link is packaged as the file that it points to, which must be one of the application's.
        let target = file.canonicalize().map_err(|error| PackageError::io(file.display(), &error))?;
        if !target.starts_with(&real) {
            return Err(outside());
        }
        let path = relative(&plan.dir, &file).or_else(|| relative(&real, &file)).ok_or_else(outside)?;
        if [&file, &target].into_iter().any(|path| is_operators(path)) {
            let fix = "leave it out with `exclude_files`: everybody can read a package";
            return Err(refuse("contains the operator's values or data, which do not belong in a package", fix));
        }
        bytes += target.metadata().map_or(0, |metadata| metadata.len());
        if !blobs.iter().any(|blob| titled(blob) == Some(&path)) {
            files.insert(path, target);
        }
    }
    let folders: BTreeSet<&Path> = files.keys().flat_map(|path| archive::folders_of(path)).collect();
    if files.len() + folders.len() > MAX_FILES || bytes > MAX_UNPACKED_BYTES {
        let why = format!("has more than {MAX_FILES} files, or {} MiB of them", MAX_UNPACKED_BYTES >> 20);
        return Err(PackageError::new(&plan.name, why, "leave some out, or put them into a database"));
    }
    Ok(files)
}

/// Whether a path is `.env`, `runtime-config.toml` or inside a state folder.
fn is_operators(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name == ".env" || name == "runtime-config.toml" || path.ancestors().skip(1).any(state::exists)
}

/// Collects the files below a folder of the application, except those whose name begins with a dot: no host serves or
/// runs them, and they may be somebody's own.
fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), PackageError> {
    let wrong = |error: io::Error| PackageError::io(folder.display(), &error);
    for entry in fs::read_dir(folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        if entry.file_name().as_bytes().starts_with(b".") {
            continue;
        }
        // A link to a folder could be circular.
        match entry.file_type().map_err(wrong)? {
            kind if kind.is_dir() => collect(&entry.path(), found)?,
            _ if entry.path().is_file() => found.push(entry.path()),
            _ => {
                let fix = "put only files and folders into a package";
                return Err(PackageError::new(entry.path().display(), "is neither a file nor a folder", fix));
            }
        }
    }
    Ok(())
}

fn in_memory(kind: &str, title: Option<&str>, bytes: Vec<u8>) -> Blob {
    let descriptor = descriptor(kind, title, digest_of(&bytes), bytes.len() as u64);
    Blob { descriptor, content: Content::Bytes(bytes) }
}

fn descriptor(kind: &str, title: Option<&str>, digest: String, size: u64) -> OciDescriptor {
    OciDescriptor {
        media_type: kind.to_owned(),
        digest,
        size: i64::try_from(size).unwrap_or(i64::MAX),
        annotations: title.map(|title| [(TITLE.to_owned(), title.to_owned())].into()),
        ..OciDescriptor::default()
    }
}

/// The digest and size of a file.
fn hashed(path: &Path, fix: &str) -> Result<(String, u64), PackageError> {
    let hash = || -> io::Result<(String, u64)> {
        let mut hash = Sha256::new();
        let size = io::copy(&mut File::open(path)?, &mut HashWriter(&mut hash))?;
        Ok((named(hash), size))
    };
    hash().map_err(|error| PackageError::new(path.display(), error, fix))
}

struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
