//! The archive of a package's files: a gzipped tar that is byte for byte the same if its files are.
//!
//! It contains only files and folders with plain paths. Reading rejects everything else, including headers of long
//! names and of extended attributes, which would be read into memory whatever their size.

use super::{MAX_FILES, MAX_UNPACKED_BYTES, PackageError, shown};
use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Component as PathPart, Path, PathBuf};
use tar::{Archive, Builder, EntryType, Header};

/// A header without the file's owner and times.
pub(super) fn header(kind: EntryType, path: &str, size: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(path)?;
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    Ok(header)
}

/// Writes `files`, each under its path in the package.
pub(super) fn write(files: &BTreeMap<String, PathBuf>, to: impl Write) -> Result<(), PackageError> {
    let zipped = GzBuilder::new().mtime(0).write(to, Compression::default());
    let mut tar = Builder::new(zipped);
    for (path, file) in files {
        let add = || -> io::Result<()> {
            if file.is_dir() {
                return tar.append(&header(EntryType::Directory, &format!("{path}/"), 0)?, io::empty());
            }
            let content = File::open(file)?;
            let size = content.metadata()?.len();
            tar.append(&header(EntryType::Regular, path, size)?, content.take(size))
        };
        let mut add = add;
        add().map_err(|error| PackageError::io(file.display(), &error))?;
    }
    let done = tar.into_inner().and_then(|zipped| zipped.finish()).and_then(|mut to| to.flush());
    done.map_err(|error| PackageError::io("the archive of files", &error))
}

/// Unpacks an archive of the package `what` into `folder`.
pub(super) fn read(what: &str, from: impl Read, folder: &Path) -> Result<(), PackageError> {
    let bad = |why: String| PackageError::bad(what, why);
    // One byte more than allowed, so that a larger archive is noticed and not truncated.
    let mut archive = Archive::new(GzDecoder::new(from).take(MAX_UNPACKED_BYTES + 1));
    let (mut files, mut bytes, mut folders) = (0_usize, 0_u64, HashSet::new());
    let entries = archive.entries().map_err(|error| bad(format!("its archive cannot be read: {error}")))?.raw(true);
    for entry in entries {
        let mut entry = entry.map_err(|error| bad(format!("its archive cannot be read: {error}")))?;
        let path = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|_| bad("has a path that is not UTF-8".into()))?;
        let (kind, size) = (entry.header().entry_type(), entry.size());
        files += 1;
        bytes = bytes.saturating_add(size);
        folders.extend(folders_of(&path).map(Path::to_owned));
        if files + folders.len() > MAX_FILES || bytes > MAX_UNPACKED_BYTES {
            let most = MAX_UNPACKED_BYTES >> 20;
            return Err(bad(format!("has more than {MAX_FILES} files, or {most} MiB of them")));
        }
        match kind {
            EntryType::Directory => {
                let place = place(what, &path, folder)?;
                fs::create_dir_all(&place).map_err(|error| PackageError::io(place.display(), &error))?;
            }
            EntryType::Regular => {
                let (place, mut file) = create(what, &path, folder)?;
                let copied = io::copy(&mut entry, &mut file);
                match copied {
                    Ok(copied) if copied == size => {}
                    Ok(_) => return Err(bad(format!("its file `{}` is truncated", shown(&path)))),
                    Err(error) => return Err(PackageError::io(place.display(), &error)),
                }
            }
            _ => return Err(bad(format!("`{}` is neither a file nor a folder", shown(&path)))),
        }
    }
    Ok(())
}

/// The folders that are created for `path`: an archive of a few megabytes can name millions of them.
pub(super) fn folders_of(path: &str) -> impl Iterator<Item = &Path> {
    Path::new(path).ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty())
}

/// Creates the file `path` of the package `what`; fails if it exists already.
pub(super) fn create(what: &str, path: &str, folder: &Path) -> Result<(PathBuf, File), PackageError> {
    let place = place(what, path, folder)?;
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent).map_err(|error| PackageError::io(parent.display(), &error))?;
    }
    match OpenOptions::new().write(true).create_new(true).open(&place) {
        Ok(file) => Ok((place, file)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(PackageError::bad(what, format!("has `{}` twice", shown(path))))
        }
        Err(error) => Err(PackageError::io(place.display(), &error)),
    }
}

/// The place of `path` of the package `what` in `folder`, which contains no links.
fn place(what: &str, path: &str, folder: &Path) -> Result<PathBuf, PackageError> {
    let plain = Path::new(path).components().all(|part| matches!(part, PathPart::Normal(_) | PathPart::CurDir));
    if path.is_empty() || path.contains('\0') || !plain {
        return Err(PackageError::bad(what, format!("its path `{}` leaves the folder", shown(path))));
    }
    Ok(folder.join(path))
}
