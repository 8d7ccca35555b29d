//! Turns a name into a folder with the application: fetches, verifies, accepts and unpacks the package.

use super::folder::{PackageFolder, TEMPORARY};
use super::layout::Layout;
use super::name::{Name, Package};
use super::registry::Registry;
use super::{COMPONENT_TYPE, FILES_TYPE, PackageError, SPIN_TOML_TYPE, TITLE, archive, layout, shown};
use oci_client::manifest::{OciDescriptor, OciImageManifest};
use souk_manifest::temporary;
use std::fs::{self, File, Permissions};
use std::io::{BufReader, Seek as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// How to get a package.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ObtainOptions<'a> {
    /// The digest that the operator accepts.
    pub(crate) accept: Option<&'a str>,
    /// Whether to speak HTTP without TLS to a registry on this machine.
    pub(crate) plain_http: bool,
}

/// A package that may be started.
#[derive(Debug)]
pub(crate) struct Obtained {
    /// Its folder, with `spin.toml`.
    pub(crate) folder: PathBuf,
    /// Its digest.
    pub(crate) digest: String,
    /// A warning for the operator: the registry did not answer.
    pub(crate) warning: Option<String>,
}

/// The source of a package's blobs.
enum Source {
    File(Layout),
    Registry(Registry),
}

impl Source {
    async fn blob(&self, descriptor: &OciDescriptor, to: &mut File) -> Result<(), PackageError> {
        match self {
            Source::File(layout) => layout.fetch(descriptor, to),
            Source::Registry(registry) => registry.blob(descriptor, to).await,
        }
    }
}

/// The folder of a package that was obtained before, found by its recorded digest, without asking the registry.
///
/// # Errors
/// When it does not exist.
pub(crate) fn kept(package: &Package, state: &Path) -> Result<PathBuf, PackageError> {
    let kept = PackageFolder::of(state);
    let digest = match package {
        Package::File(path) => Some(Layout::open(path)?.digest),
        Package::Registry(name) => {
            name.digest().map(str::to_owned).or(kept.accepted()?.get(&name.to_string()).cloned())
        }
    };
    let folder = digest.map(|digest| kept.folder(&digest)).filter(|folder| folder.is_dir());
    folder.ok_or_else(|| {
        let why = format!("the package is not in the state folder {}", state.display());
        PackageError::new(package, why, format!("get and start it: souk up -f {package}"))
    })
}

/// Removes the packages that were started before and are accepted for no name any more; `in_use` is the folder of the
/// one that starts. Only for the process that holds the state folder.
///
/// # Errors
/// When one cannot be removed.
pub(crate) fn remove_superseded(state: &Path, in_use: &Path) -> anyhow::Result<()> {
    PackageFolder::of(state).remove_superseded(in_use)
}

/// Gets a package into the state folder, if its digest is the accepted one, or none was accepted yet.
///
/// # Errors
/// When it cannot be fetched, differs from its digests, or another digest was accepted.
pub(crate) async fn obtain(package: &Package, state: &Path, options: ObtainOptions<'_>) -> anyhow::Result<Obtained> {
    let kept = PackageFolder::of(state);
    let name = match package {
        Package::File(path) => {
            let path = path.clone();
            let layout = tokio::task::spawn_blocking(move || Layout::open(&path)).await??;
            expect(package, &layout.digest, options.accept)?;
            let (digest, manifest) = (layout.digest.clone(), layout.manifest.clone());
            let folder = unpack(package, &Source::File(layout), &manifest, &digest, &kept).await?;
            return Ok(Obtained { folder, digest, warning: None });
        }
        Package::Registry(name) => name,
    };
    let accepted = name.digest().map(str::to_owned).or(kept.accepted()?.remove(&name.to_string()));
    let there = accepted.as_ref().filter(|digest| kept.folder(digest).is_dir());
    // A digest always names the same package.
    if let (Some(digest), true) = (there, name.digest().is_some()) {
        expect(package, digest, options.accept)?;
        return Ok(Obtained { folder: kept.folder(digest), digest: digest.clone(), warning: None });
    }
    let registry = Registry::open(name, options.plain_http, false)?;
    let (text, digest) = match registry.manifest().await {
        Ok(found) => found,
        Err(error)
            if error.away
                && there.is_some()
                && options.accept.is_none_or(|accepted| there.is_some_and(|d| d == accepted)) =>
        {
            let digest = there.cloned().unwrap_or_default();
            let warning = Some(format!("{error}; the stored package is started, {digest}"));
            return Ok(Obtained { folder: kept.folder(&digest), digest, warning });
        }
        Err(error) => return Err(error.into()),
    };
    check_accepted(name, &digest, accepted.as_deref(), options.accept)?;
    let manifest = super::parse(&name.to_string(), &text)?;
    let folder = unpack(package, &Source::Registry(registry), &manifest, &digest, &kept).await?;
    kept.accept(&name.to_string(), &digest)?;
    Ok(Obtained { folder, digest, warning: None })
}

/// Refuses a digest that was neither accepted before nor is accepted now.
fn check_accepted(name: &Name, digest: &str, before: Option<&str>, now: Option<&str>) -> Result<(), PackageError> {
    match (now, before) {
        (Some(now), _) => expect(name, digest, Some(now)),
        (None, Some(before)) if before != digest => {
            let why = format!("names the package {digest} now, but {before} was accepted");
            let fix = format!("ask its author why; if you trust the new one, start it with `--accept {digest}`");
            Err(PackageError::new(name, why, fix))
        }
        _ => Ok(()),
    }
}

/// Refuses a package other than the one that the operator accepts.
fn expect(package: impl ToString, digest: &str, accept: Option<&str>) -> Result<(), PackageError> {
    match accept {
        Some(accept) if accept != digest => {
            let why = format!("is the package {digest}, but `--accept` says {}", shown(accept));
            Err(PackageError::new(package, why, "find out which of the two you want"))
        }
        _ => Ok(()),
    }
}

/// Unpacks a package into its folder, which appears only when it is complete.
async fn unpack(
    package: &Package,
    source: &Source,
    manifest: &OciImageManifest,
    digest: &str,
    kept: &PackageFolder,
) -> anyhow::Result<PathBuf> {
    let (what, place) = (package.to_string(), kept.folder(digest));
    if place.is_dir() {
        return Ok(place);
    }
    let all = kept.make()?;
    let folder = temporary::folder(&all, TEMPORARY)?;
    for layer in &manifest.layers {
        let mut blob = temporary::file(&all, ".download-")?;
        source.blob(layer, blob.as_file_mut()).await?;
        blob.rewind()?;
        let (what, layer, into) = (what.clone(), layer.clone(), folder.path().to_owned());
        tokio::task::spawn_blocking(move || put(&what, &layer, blob, &into)).await??;
    }
    // A package that is there is not checked again. After a loss of power it must not be there with half of its files.
    let filesystem = File::open(&all)?;
    tokio::task::spawn_blocking(move || rustix::fs::syncfs(filesystem)).await??;
    match fs::rename(folder.path(), &place) {
        // Another process was faster.
        Err(_) if place.is_dir() => {}
        renamed => renamed?,
    }
    Ok(place)
}

/// Puts one verified blob into the folder.
fn put(what: &str, layer: &OciDescriptor, mut blob: NamedTempFile, folder: &Path) -> Result<(), PackageError> {
    let title = layer.annotations.as_ref().and_then(|all| all.get(TITLE));
    let path = match (layer.media_type.as_str(), title) {
        (FILES_TYPE, _) => return archive::read(what, BufReader::new(blob.as_file_mut()), folder),
        (SPIN_TOML_TYPE, _) => "spin.toml",
        (COMPONENT_TYPE, Some(title)) => title.as_str(),
        (kind, _) => return Err(PackageError::bad(what, format!("has a blob of type {}", shown(kind)))),
    };
    let (place, mut file) = archive::create(what, path, folder)?;
    std::io::copy(blob.as_file_mut(), &mut file).map(drop).map_err(|error| PackageError::io(place.display(), &error))
}

/// Gets the package `name` from its registry and writes it to a file like `souk package`; returns its digest.
///
/// # Errors
/// When it cannot be fetched, or differs from its digests.
pub(crate) async fn package_file(name: &Name, options: ObtainOptions<'_>, output: &Path) -> anyhow::Result<String> {
    let registry = Registry::open(name, options.plain_http, false)?;
    let (text, digest) = registry.manifest().await?;
    expect(name, &digest, options.accept)?;
    let manifest = super::parse(&name.to_string(), &text)?;
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parts = temporary::folder(folder, ".souk-pull-")?;
    let mut blobs = Vec::new();
    for (number, descriptor) in [&manifest.config].into_iter().chain(&manifest.layers).enumerate() {
        let path = parts.path().join(number.to_string());
        registry.blob(descriptor, &mut File::create(&path)?).await?;
        blobs.push(layout::Blob { descriptor: descriptor.clone(), content: layout::Content::File(path) });
    }
    let written = tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder)?;
    let version = if name.digest().is_some() { "" } else { name.version() };
    layout::write(&text, &blobs, version, std::io::BufWriter::new(written.as_file()))?;
    written.as_file().sync_all()?;
    written.persist(output)?;
    Ok(digest)
}
