//! `souk up --port-file FILE`: tells tests and scripts at which port an application answers, once it does.

use std::path::PathBuf;

/// A file that contains the port for as long as the host serves.
pub(super) struct PortFile(PathBuf);

impl PortFile {
    /// Writes the file under another name first, so that nobody reads a partial file.
    pub(super) fn write(path: PathBuf, port: u16) -> anyhow::Result<PortFile> {
        let mut name = path.clone().into_os_string();
        name.push(".new");
        let written = std::fs::write(&name, format!("{port}\n")).and_then(|()| std::fs::rename(&name, &path));
        written.map_err(|error| {
            anyhow::anyhow!(
                "the port cannot be written to {}: {error}\n  fix: name a file in a writable folder",
                path.display()
            )
        })?;
        Ok(PortFile(path))
    }
}

impl Drop for PortFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
