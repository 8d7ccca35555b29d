//! A package in a file: an OCI layout in a tar, which `skopeo` and other tools can read (`oci-archive:FILE`).
//!
//! The file is read in place: an index of its entries says where each blob begins.

use super::{MAX_ENTRIES, MAX_MANIFEST_BYTES, PackageError, archive, copy, digest_of, hex_of, parse};
use oci_client::manifest::{OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tar::{Archive, Builder, EntryType};

const LAYOUT: &str = "oci-layout";
const INDEX: &str = "index.json";

/// One blob to be written.
pub(super) struct Blob {
    pub(super) descriptor: OciDescriptor,
    pub(super) content: Content,
}

/// The content of a blob.
pub(super) enum Content {
    Bytes(Vec<u8>),
    File(PathBuf),
}

/// A package in a file.
pub(crate) struct Layout {
    pub(super) path: PathBuf,
    file: Arc<File>,
    /// The offset and the length of each entry.
    entries: BTreeMap<String, (u64, u64)>,
    /// The manifest's bytes, and its digest.
    pub(super) text: Vec<u8>,
    pub(super) digest: String,
    pub(super) manifest: OciImageManifest,
}

impl Layout {
    /// Opens the package at `path`. Reads the disk; for a thread that may block.
    pub(crate) fn open(path: &Path) -> Result<Self, PackageError> {
        let what = path.display().to_string();
        let open = || -> io::Result<_> {
            let file = File::open(path)?;
            let mut entries = BTreeMap::new();
            let mut archive = Archive::new(file.try_clone()?);
            for entry in archive.entries_with_seek()?.raw(true).take(MAX_ENTRIES) {
                let entry = entry?;
                if entry.header().entry_type() == EntryType::Regular
                    && let Ok(name) = String::from_utf8(entry.path_bytes().into_owned())
                {
                    let name = name.trim_start_matches("./").to_owned();
                    entries.insert(name, (entry.raw_file_position(), entry.size()));
                }
            }
            Ok((Arc::new(file), entries))
        };
        let (file, entries) = open().map_err(|error| PackageError::io(&what, &error))?;
        let mut layout = Layout {
            path: path.to_owned(),
            file,
            entries,
            text: Vec::new(),
            digest: String::new(),
            manifest: OciImageManifest::default(),
        };
        let index: Value = serde_json::from_slice(&layout.small(&what, INDEX)?)
            .map_err(|error| PackageError::bad(&what, format!("its {INDEX} cannot be read: {error}")))?;
        let digest = match index.get("manifests").and_then(Value::as_array).map(Vec::as_slice) {
            Some([one]) => one.get("digest").and_then(Value::as_str).unwrap_or_default(),
            _ => return Err(PackageError::bad(&what, "must hold exactly one package")),
        };
        let hex = hex_of(digest).ok_or_else(|| PackageError::bad(&what, "names no SHA-256 digest"))?;
        layout.text = layout.small(&what, &format!("blobs/sha256/{hex}"))?;
        layout.digest = digest_of(&layout.text);
        if layout.digest != digest {
            return Err(PackageError::bad(&what, format!("its digest is {}, not {digest}", layout.digest)));
        }
        layout.manifest = parse(&what, &layout.text)?;
        Ok(layout)
    }

    /// Reads a small entry.
    fn small(&self, what: &str, name: &str) -> Result<Vec<u8>, PackageError> {
        let mut section = self.section(what, name)?;
        if section.left > MAX_MANIFEST_BYTES {
            let why = format!("its {name} is larger than {} MiB", MAX_MANIFEST_BYTES >> 20);
            return Err(PackageError::bad(what, why));
        }
        let mut bytes = Vec::new();
        section.read_to_end(&mut bytes).map_err(|error| PackageError::io(what, &error))?;
        Ok(bytes)
    }

    fn section(&self, what: &str, name: &str) -> Result<Section, PackageError> {
        let Some((at, left)) = self.entries.get(name).copied() else {
            return Err(PackageError::bad(what, format!("has no `{name}`")));
        };
        Ok(Section { file: self.file.clone(), at, left })
    }

    /// The bytes of a blob, not yet verified.
    pub(super) fn blob(&self, descriptor: &OciDescriptor) -> Result<Section, PackageError> {
        let what = self.path.display().to_string();
        let hex = hex_of(&descriptor.digest).unwrap_or_default();
        self.section(&what, &format!("blobs/sha256/{hex}"))
    }

    /// Copies a blob to `to` and verifies its digest.
    pub(super) fn fetch(&self, descriptor: &OciDescriptor, to: &mut File) -> Result<(), PackageError> {
        let mut section = self.blob(descriptor)?;
        copy(&mut section, to, super::size_of(descriptor), &descriptor.digest)
            .map_err(|error| PackageError::bad(self.path.display(), format!("a blob {error}")))
    }
}

/// A part of a file, read without changing the file's position.
pub(super) struct Section {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.at)?;
        if read == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// Writes a package of the manifest `text` with its `blobs`; returns the digest of the manifest.
pub(super) fn write(text: &[u8], blobs: &[Blob], tag: &str, to: impl Write) -> Result<String, PackageError> {
    let digest = digest_of(text);
    let mut entry = json!({
        "mediaType": OCI_IMAGE_MEDIA_TYPE,
        "artifactType": super::APPLICATION_TYPE,
        "digest": digest,
        "size": text.len(),
    });
    if !tag.is_empty()
        && let Some(entry) = entry.as_object_mut()
    {
        entry.insert("annotations".into(), json!({ "org.opencontainers.image.ref.name": tag }));
    }
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_IMAGE_INDEX_MEDIA_TYPE, "manifests": [entry] });
    let mut tar = Builder::new(to);
    let write = || -> io::Result<()> {
        let mut add = |path: &str, bytes: &[u8]| {
            tar.append(&archive::header(EntryType::Regular, path, bytes.len() as u64)?, bytes)
        };
        add(LAYOUT, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        add(INDEX, index.to_string().as_bytes())?;
        let place = |digest: &str| format!("blobs/sha256/{}", hex_of(digest).unwrap_or_default());
        add(&place(&digest), text)?;
        let mut written = Vec::new();
        for Blob { descriptor, content } in blobs {
            // Two components may be the same file.
            if written.contains(&&descriptor.digest) {
                continue;
            }
            written.push(&descriptor.digest);
            let path = place(&descriptor.digest);
            match content {
                Content::Bytes(bytes) => {
                    tar.append(&archive::header(EntryType::Regular, &path, bytes.len() as u64)?, &**bytes)?
                }
                Content::File(file) => {
                    let size = super::size_of(descriptor);
                    let header = archive::header(EntryType::Regular, &path, size)?;
                    tar.append(&header, File::open(file)?.take(size))?;
                }
            }
        }
        tar.into_inner()?.flush()
    };
    write().map_err(|error| PackageError::io("the package", &error))?;
    Ok(digest)
}
