//! The intents that this host could not follow: each is logged once, and tried again after a pause.
//!
//! What costs nothing is tried again whenever the host reads the record. A version that was refused is compiled again
//! only after a longer time or a reload. A file on NATS that is not what was deployed, or for which there is no room,
//! is read again after pauses that grow, because it may be large, and only an operator can help.

use souk_manifest::Application;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of intents that a host could not follow.
    pub(crate) const FIXED_LIMITS = "deployments";

    /// How often a host tries again to follow an intent that it could not follow.
    const REFUSED_RETRY_INTERVAL: Duration = Duration::from_secs(300);
    /// The pause before a host reads a file on NATS again that it could not use; each next pause is twice as long.
    const MIN_FILE_PAUSE: Duration = Duration::from_secs(2);
    /// The longest such pause.
    const MAX_FILE_PAUSE: Duration = Duration::from_secs(60);
}

/// The intents that could not be followed, by component.
#[derive(Default)]
pub(super) struct NotFollowed {
    /// The versions that were refused.
    refused: BTreeMap<String, Refused>,
    /// The versions whose files were read in vain.
    unused: BTreeMap<String, Unused>,
    /// Intents that wait for a file, for room for it or for the end of a trial, by component and number.
    logged: BTreeSet<(String, u64)>,
}

/// An intent whose version was refused.
struct Refused {
    number: u64,
    why: String,
    /// What was in force of the manifest.
    application: Arc<Application>,
    at: Instant,
}

/// An intent whose file was read in vain.
struct Unused {
    number: u64,
    pause: Duration,
    at: Instant,
}

impl NotFollowed {
    /// Whether it is too early to try the intent with this `number` again.
    pub(super) fn waits(&self, component: &str, number: u64, application: &Arc<Application>) -> bool {
        let refused = self.refused.get(component).filter(|refused| refused.number == number);
        let unused = self.unused.get(component).filter(|unused| unused.number == number);
        refused.is_some_and(|refused| {
            Arc::ptr_eq(&refused.application, application) && refused.at.elapsed() < REFUSED_RETRY_INTERVAL
        }) || unused.is_some_and(|unused| unused.at.elapsed() < unused.pause)
    }

    /// The intent waits; returns whether this is new, and must be logged.
    pub(super) fn is_new(&mut self, component: &str, number: u64) -> bool {
        self.logged.insert((component.to_owned(), number))
    }

    /// The intent's file was read in vain: it is not what was deployed, or there is no room for it.
    pub(super) fn read_in_vain(&mut self, component: &str, number: u64) {
        let before = self.unused.get(component).filter(|before| before.number == number);
        let pause = before.map_or(MIN_FILE_PAUSE, |before| (before.pause * 2).min(MAX_FILE_PAUSE));
        self.unused.insert(component.to_owned(), Unused { number, pause, at: Instant::now() });
    }

    /// The intent's version was refused; returns whether the reason is new, and must be logged.
    pub(super) fn refused(&mut self, component: &str, number: u64, why: String, application: Arc<Application>) -> bool {
        let known = self.refused.get(component);
        let is_new = known.is_none_or(|known| known.number != number || known.why != why);
        self.refused.insert(component.to_owned(), Refused { number, why, application, at: Instant::now() });
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use souk_manifest::secrets::Secrets;
    use souk_manifest::{HostValues, LoadOptions};

    fn application() -> Application {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("spin.toml");
        let text = "spin_manifest_version = 2\n[application]\nname = \"t\"\n[component.web]\nsource = \"web.wasm\"\n";
        std::fs::write(&manifest, text).unwrap();
        let secrets = Secrets::looked_up(folder.path().join("none"));
        let host = HostValues { url: "http://localhost".to_owned(), secrets };
        let options = LoadOptions { manifest, ..LoadOptions::default() };
        souk_manifest::read(&options).unwrap().fill_in(&host).unwrap().application
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_was_read_in_vain_is_read_again_after_pauses_that_grow() {
        let (mut open, application) = (NotFollowed::default(), Arc::new(application()));
        let start = Instant::now();
        let mut reads = 0;
        while start.elapsed() < Duration::from_secs(600) {
            if !open.waits("web", 2, &application) {
                open.read_in_vain("web", 2);
                reads += 1;
            }
            assert!(!open.waits("web", 3, &application) && !open.waits("other", 2, &application));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // After 0, 2, 6, 14, 30, 62 seconds and then once a minute.
        assert_eq!(reads, 14);
        assert!(open.is_new("web", 2) && !open.is_new("web", 2), "it is logged once");
        // The next version's file is read at once, and begins with the shortest pause.
        open.read_in_vain("web", 3);
        tokio::time::advance(MIN_FILE_PAUSE).await;
        assert!(!open.waits("web", 3, &application));
    }
}
