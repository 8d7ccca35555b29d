//! The limits on open files: of one instance, and of all instances together. A file that only streams still hold counts
//! too, and so does a directory that a guest of WASI 0.2 reads, because wasmtime holds its entries in memory.
//!
//! wasmtime keeps a guest's descriptors in the instance's resource table, without a limit. So this module counts them
//! there: every few calls of WASI, and on every call once there are too many. Then it closes the table for new
//! resources, which traps the guest's next attempt and so ends its instance and closes its files.

use crate::MAX_RESOURCES;
use crate::budget::ApplicationBudget;
use crate::file_streams::{FileStreams, MAX_FILE_STREAMS};
use std::sync::Arc;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::ReaddirIterator;

souk_manifest::fixed_limits! {
    /// The fixed limits of open files.
    pub(crate) const FIXED_LIMITS = "components";

    /// The most open files of one instance: more than any web service reads at the same time.
    pub const MAX_OPEN_FILES: usize = 128, "files";
    /// The most open files of one instance while the application has more than its limit `open_files`.
    const FAIR_OPEN_FILES: usize = 8, "files";
    /// After how many calls of WASI the files are counted again.
    const COUNT_INTERVAL: u32 = 16, "calls";
}

/// Fills the free places of a closed table.
struct Closed;

/// The open files of one instance.
pub(crate) struct OpenFiles {
    component: Arc<str>,
    budget: Arc<ApplicationBudget>,
    calls: u32,
    open: usize,
    /// The instance's streams of files.
    pub(crate) streams: FileStreams,
    closed: Option<Vec<Resource<Closed>>>,
}

impl OpenFiles {
    pub(crate) fn new(component: Arc<str>, budget: Arc<ApplicationBudget>) -> Self {
        OpenFiles { component, budget, calls: 0, open: 0, streams: FileStreams::default(), closed: None }
    }

    /// Closes the table for new resources when the instance has too many files open. Call it before each call of WASI.
    pub(crate) fn check(&mut self, table: &mut ResourceTable) {
        self.calls = self.calls.wrapping_add(1);
        if self.closed.is_none() && !self.calls.is_multiple_of(COUNT_INTERVAL) {
            return;
        }
        let (mut open, mut files) = (0, Vec::new());
        for entry in table.iter_mut() {
            open += usize::from(entry.is::<Descriptor>() || entry.is::<ReaddirIterator>());
            if !self.streams.is_empty()
                && let Some(Descriptor::File(file)) = entry.downcast_ref()
            {
                files.push(Arc::as_ptr(&file.file));
            }
        }
        open += self.streams.files_beside(&files);
        self.budget.files.take(open as u64);
        self.budget.files.give_back(self.open as u64);
        self.open = open;
        let all = self.budget.files.taken() > self.budget.files.limit();
        let many_streams = self.streams.live() > MAX_FILE_STREAMS;
        if many_streams || open > MAX_OPEN_FILES || (all && open > FAIR_OPEN_FILES) {
            self.close(table);
        } else if let Some(places) = self.closed.take() {
            table.set_max_capacity(MAX_RESOURCES);
            for place in places {
                // It still exists, because the guest does not know it.
                let _ = table.delete(place);
            }
        }
    }

    fn close(&mut self, table: &mut ResourceTable) {
        let places = self.closed.get_or_insert_with(|| {
            let component = &self.component;
            tracing::warn!(
                %component,
                "component `{component}` has {} files open, of {MAX_OPEN_FILES} that an instance may have and {} of the \
                 application, and {} streams of files, of {MAX_FILE_STREAMS}; it must drop descriptors and streams that \
                 are not in use",
                self.open,
                self.budget.files.limit(),
                self.streams.live()
            );
            Vec::new()
        });
        table.set_max_capacity(0);
        // Freed places can be used again regardless of the capacity, so fill them.
        while let Ok(place) = table.push(Closed) {
            places.push(place);
        }
    }
}

impl Drop for OpenFiles {
    fn drop(&mut self) {
        self.budget.files.give_back(self.open as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use wasmtime_wasi::FsPerms;
    use wasmtime_wasi::filesystem::{File, OpenMode};

    fn file() -> Descriptor {
        Descriptor::File(File::new(tempfile::tempfile().unwrap(), FsPerms::ReadOnly, OpenMode::READ, false))
    }

    fn instance(budget: &Arc<ApplicationBudget>) -> (OpenFiles, ResourceTable) {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        (OpenFiles::new("tested".into(), budget.clone()), table)
    }

    /// Opens files until that fails; returns the open ones.
    fn open(files: &mut OpenFiles, table: &mut ResourceTable) -> Vec<Resource<Descriptor>> {
        std::iter::from_fn(|| {
            files.check(table);
            table.push(file()).ok()
        })
        .take(MAX_RESOURCES)
        .collect()
    }

    #[test]
    fn an_instance_that_opens_files_in_a_loop_is_stopped_and_may_go_on_when_it_has_closed_some() {
        let budget = Arc::new(ApplicationBudget::default());
        let (mut files, mut table) = instance(&budget);
        // Free places in the table do not help.
        let others: Vec<_> = (0..1_000).map(|_| table.push(()).unwrap()).collect();
        others.into_iter().for_each(|other| table.delete(other).unwrap());
        let mut all = open(&mut files, &mut table);
        assert!((MAX_OPEN_FILES..=MAX_OPEN_FILES + COUNT_INTERVAL as usize).contains(&all.len()), "{}", all.len());
        all.drain(50..).for_each(|one| drop(table.delete(one).unwrap()));
        assert!(!open(&mut files, &mut table).is_empty());
        drop(files);
        assert_eq!(budget.files.taken(), 0);
    }

    #[test]
    fn a_file_that_only_streams_hold_counts_once_until_they_are_gone() {
        let budget = Arc::new(ApplicationBudget::default());
        let (mut files, mut table) = instance(&budget);
        let mut streams: Vec<_> = (0..100)
            .map(|_| {
                let Descriptor::File(file) = file() else { unreachable!() };
                files.streams.add(&file.file);
                files.streams.add(&file.file);
                file
            })
            .collect();
        let descriptor = table.push(Descriptor::File(streams[0].clone())).unwrap();
        let mut count = || {
            (0..COUNT_INTERVAL).for_each(|_| files.check(&mut table));
            budget.files.taken()
        };
        assert_eq!(count(), 100);
        streams.truncate(10);
        assert_eq!(count(), 10);
        drop((streams, descriptor));
        assert_eq!(count(), 1, "the table has one");
    }

    #[test]
    fn instances_that_have_few_files_may_open_some_when_others_have_too_many() {
        let budget = Arc::new(ApplicationBudget { files: Budget::new(100), ..Default::default() });
        let (mut greedy, mut table) = instance(&budget);
        let _held = open(&mut greedy, &mut table);
        let (mut modest, mut table) = instance(&budget);
        assert!(open(&mut modest, &mut table).len() >= FAIR_OPEN_FILES);
    }
}
