//! The last steps of a deployment: the first instance of a version, its record, and its calls.

use super::super::App;
use super::super::compile::not_started;
use super::chosen;
use super::error::{DeployError, not_kept, wrong};
use super::version_folder::Record;
use souk_manifest::Component as Declared;
use souk_runtime::{Compiled, Pool, Version, VersionConfig, VersionId};
use std::sync::Arc;
use tokio::task::block_in_place;

/// A version that was checked and gets its first instance.
pub(super) struct NewVersion {
    pub(super) compiled: Compiled,
    pub(super) bytes: Vec<u8>,
    /// Whether it is the file that the manifest names.
    pub(super) is_at_source: bool,
    pub(super) is_tried_out: bool,
    pub(super) written: Record,
}

impl App {
    /// Creates one instance of a version.
    pub(super) async fn instantiate(
        &self,
        declared: &Declared,
        pool: &Arc<Pool>,
        compiled: Compiled,
        (number, digest): (u64, &str),
    ) -> Result<Arc<Version>, DeployError> {
        let label = chosen::label(&self.application().version, number);
        let id = VersionId { number, digest: digest.into(), label };
        pool.prepare(VersionConfig { id, compiled, grants: pool.grants() }).await.map_err(|error| {
            wrong(declared, not_started(&self.application(), &error, "correct it, or raise its limits in the manifest"))
        })
    }

    /// Creates one instance of a version; if that succeeds, stores and records the version.
    pub(super) async fn prepare(
        self: &Arc<Self>,
        declared: &Declared,
        pool: &Arc<Pool>,
        new: NewVersion,
    ) -> Result<Arc<Version>, DeployError> {
        let NewVersion { mut compiled, bytes, is_at_source, is_tried_out, written } = new;
        let number = written.number;
        // Symbols exist only beside the manifest's file.
        if is_at_source {
            compiled = compiled.with_symbols_of(&declared.source);
        }
        let version = self.instantiate(declared, pool, compiled, (number, written.digest.as_str())).await?;
        let (app, component) = (self.clone(), declared.name.clone());
        let saved = tokio::task::spawn_blocking(move || {
            let books = &app.deployments.books;
            let digest = written.digest.clone();
            books.change(&component, Some((&digest, &bytes)), |book| {
                let number = book.add(Some(number), written);
                book.trial = is_tried_out.then_some(number);
            })?;
            books.collect();
            Ok(())
        });
        let saved = saved.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        saved.map_err(|cause| not_kept(declared, cause))?;
        Ok(version)
    }

    /// Lets a version serve all calls. It is recorded first, so that a host that is killed now starts with it.
    pub(super) fn serve_version(
        &self,
        declared: &Declared,
        pool: &Arc<Pool>,
        version: Arc<Version>,
        number: u64,
        source: &str,
        agreed: Option<u64>,
    ) -> Result<(), DeployError> {
        let books = &self.deployments.books;
        let saved = block_in_place(|| {
            books.change(&declared.name, None, |book| {
                book.serve(number, source);
                book.agreed = agreed.unwrap_or(book.agreed);
            })
        });
        saved.map_err(|cause| not_kept(declared, cause))?;
        drained(declared.name.clone(), pool.promote(version));
        block_in_place(|| books.collect());
        Ok(())
    }
}

/// Logs when a version that gets no more calls has ended its last one.
pub(super) fn drained(component: String, version: Arc<Version>) {
    tokio::spawn(async move {
        version.drained().await;
        tracing::info!(%component, "version {} of component `{component}` has ended its last call", version.id().number);
    });
}
