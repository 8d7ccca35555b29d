//! Reads a component's file from the disk, which may be anything that an operator has named by mistake.

use super::MAX_COMPONENT_BYTES;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The content of a component's file.
///
/// # Errors
/// When it cannot be read, is not a file, is empty, or is larger than a component may be.
pub(crate) fn read_component(path: &Path) -> io::Result<Vec<u8>> {
    let about = std::fs::metadata(path)?;
    // Reading a pipe or a device might not end.
    if !about.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let bounded = |size: u64| match size {
        0 => Err(io::Error::other("it is empty")),
        size if size > MAX_COMPONENT_BYTES => {
            Err(io::Error::other(format!("it has {size} bytes, and a component at most {MAX_COMPONENT_BYTES}")))
        }
        _ => Ok(()),
    };
    bounded(about.len())?;
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_COMPONENT_BYTES + 1).read_to_end(&mut bytes)?;
    // It may have changed meanwhile.
    bounded(bytes.len() as u64)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_that_may_be_a_component_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let error = |path: &Path| read_component(path).unwrap_err().to_string();
        std::fs::write(path("component"), "text").unwrap();
        assert_eq!(read_component(&path("component")).unwrap(), b"text");
        std::fs::write(path("empty"), "").unwrap();
        assert_eq!(error(&path("empty")), "it is empty");
        File::create(path("huge")).unwrap().set_len(MAX_COMPONENT_BYTES * 100).unwrap();
        assert!(error(&path("huge")).starts_with("it has 26843545600 bytes, and a component at most"));
        assert_eq!(error(folder.path()), "it is not a file");
        assert_eq!(error(Path::new("/dev/zero")), "it is not a file");
        assert!(error(&path("none")).contains("No such file"));
    }
}
