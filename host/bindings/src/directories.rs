//! `read-directory` of WASI 0.3, as a stream that holds neither a thread nor a file while the guest does not read.
//!
//! wasmtime 48 gives each such stream a thread of tokio's for blocking work until the guest has read it, and a file. A
//! guest that opens directories and reads none would take all these threads, and with them the databases and files of
//! all components. Here a directory is read as a whole when the guest first reads the stream, a few directories of
//! an instance at a time, and its entries count as memory of the instance until they are read.

use crate::pending::{Pending, PendingCall};
use crate::producer::{Batch, Producer, Source};
use crate::{Ctx, release_candidate};
use rustix::fs::{AtFlags, Dir, FileType, statat};
use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::{Semaphore, oneshot};
use wasmtime::StoreContextMut;
use wasmtime::component::{FutureReader, Linker, LinkerInstance, Resource, StreamReader};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p3::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode};

souk_manifest::fixed_limits! {
    /// The fixed limits of directories that components read.
    pub(crate) const FIXED_LIMITS = "components";

    /// The most directories that an instance reads at one time; others wait.
    const MAX_DIRECTORY_READS: usize = 4, "directories";
}

/// Bounds the directories that one instance reads at one time.
pub(crate) struct DirectoryReads(Arc<Semaphore>);

impl Default for DirectoryReads {
    fn default() -> Self {
        DirectoryReads(Arc::new(Semaphore::new(MAX_DIRECTORY_READS)))
    }
}

type Entries = Vec<DirectoryEntry>;

/// The entries, and what they count for.
type Listed = Result<(Entries, PendingCall), ErrorCode>;

/// The entries of one directory.
struct Directory {
    /// Reads the directory; `None` once it has been read.
    reading: Option<Pin<Box<dyn Future<Output = Listed> + Send>>>,
    rest: std::vec::IntoIter<DirectoryEntry>,
    held: Option<PendingCall>,
}

impl Directory {
    fn new(directory: Result<Arc<File>, ErrorCode>, reads: &DirectoryReads, pending: Pending) -> Self {
        let turns = reads.0.clone();
        let reading = async move {
            let directory = directory?;
            let _turn = turns.acquire().await.map_err(|_| ErrorCode::Io)?;
            let read = tokio::task::spawn_blocking(move || entries(&directory));
            let entries = read.await.map_err(|_| ErrorCode::Io)??;
            let bytes = entries.iter().map(|entry| size_of::<DirectoryEntry>() + entry.name.len()).sum();
            let held = pending.begin(bytes).map_err(|_| ErrorCode::InsufficientMemory)?;
            Ok((entries, held))
        };
        Directory { reading: Some(Box::pin(reading)), rest: Vec::new().into_iter(), held: None }
    }
}

impl Source for Directory {
    type Item = DirectoryEntry;
    type Error = ErrorCode;

    fn poll_batch(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Batch<Self>> {
        if let Some(reading) = &mut self.reading {
            let listed = ready!(reading.as_mut().poll(cx));
            self.reading = None;
            match listed {
                Ok((entries, held)) => (self.rest, self.held) = (entries.into_iter(), Some(held)),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        let batch: Vec<_> = self.rest.by_ref().take(wanted).collect();
        Poll::Ready((!batch.is_empty()).then_some(Ok(batch)))
    }

    fn is_done(&self) -> bool {
        self.reading.is_none() && self.rest.len() == 0
    }
}

/// The entries of a directory. Blocks on the disk.
fn entries(directory: &File) -> Result<Entries, ErrorCode> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(directory).map_err(io::Error::from)? {
        let entry = entry.map_err(io::Error::from)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        // Not every file system says the type here.
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)?;
                FileType::from_raw_mode(stat.st_mode)
            }
            known => known,
        };
        let name = name.to_str().map_err(|_| ErrorCode::IllegalByteSequence)?.to_owned();
        entries.push(DirectoryEntry { type_: descriptor_type(kind), name });
    }
    Ok(entries)
}

fn descriptor_type(kind: FileType) -> DescriptorType {
    match kind {
        FileType::RegularFile => DescriptorType::RegularFile,
        FileType::Directory => DescriptorType::Directory,
        FileType::Symlink => DescriptorType::SymbolicLink,
        FileType::Fifo => DescriptorType::Fifo,
        FileType::Socket => DescriptorType::Socket,
        FileType::CharacterDevice => DescriptorType::CharacterDevice,
        FileType::BlockDevice => DescriptorType::BlockDevice,
        FileType::Unknown => DescriptorType::Other(None),
    }
}

type Streams = (StreamReader<DirectoryEntry>, FutureReader<Result<(), ErrorCode>>);

fn read_directory(mut store: StoreContextMut<'_, Ctx>, directory: &Resource<Descriptor>) -> wasmtime::Result<Streams> {
    let ctx = store.data_mut();
    let directory = match ctx.table.get(directory)? {
        Descriptor::Dir(directory) => Ok(directory.dir.clone()),
        Descriptor::File(_) => Err(ErrorCode::NotDirectory),
    };
    let source = Directory::new(directory, &ctx.directory_reads, ctx.pending.clone());
    let (outcome, end) = oneshot::channel();
    let entries = StreamReader::new(&mut store, Producer::new(source, Some(outcome)))?;
    // A guest that drops the stream early drops the sender with it: no error then.
    let end = async move { wasmtime::error::Ok(end.await.unwrap_or(Ok(()))) };
    Ok((entries, FutureReader::new(&mut store, end)?))
}

/// Replaces wasmtime's `read-directory`. Call it after wasmtime's own functions are linked.
///
/// # Errors
/// When the interface is not linked.
pub(crate) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    replace(&mut linker.instance("wasi:filesystem/types@0.3.0")?)?;
    replace(&mut linker.instance(&release_candidate::name("wasi:filesystem/types"))?)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn replace(types: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    types.func_wrap(
        "[method]descriptor.read-directory",
        |store: StoreContextMut<'_, Ctx>, (directory,): (Resource<Descriptor>,)| {
            Ok((read_directory(store, &directory)?,))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{ApplicationBudget, Budget};
    use souk_manifest::limits::ComponentLimits;
    use std::future::poll_fn;

    fn pending(bytes: u64) -> (Pending, Arc<ApplicationBudget>) {
        let all = Arc::new(ApplicationBudget { memory: Budget::new(bytes), ..Default::default() });
        (Pending::new("web".into(), &ComponentLimits::default(), all.clone()), all)
    }

    async fn next(source: &mut Directory, wanted: usize) -> Option<Result<Vec<DirectoryEntry>, ErrorCode>> {
        poll_fn(|cx| source.poll_batch(cx, wanted)).await
    }

    #[tokio::test]
    async fn a_directory_is_read_when_the_guest_reads_and_counts_until_then() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        for name in ["a", "b", "c"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("a", folder.path().join("link")).unwrap();
        let directory = Arc::new(File::open(folder.path()).unwrap());
        let reads = DirectoryReads::default();
        let (held, all) = pending(1 << 20);
        let mut unread: Vec<_> =
            (0..1_000).map(|_| Directory::new(Ok(directory.clone()), &reads, held.clone())).collect();
        assert_eq!((all.memory.taken(), Arc::strong_count(&directory)), (0, 1_001), "nothing is read yet");
        let one = &mut unread[0];
        let mut found = next(one, 2).await.unwrap().unwrap();
        assert_eq!(found.len(), 2);
        assert!(all.memory.taken() > 0 && !one.is_done());
        found.extend(next(one, 10).await.unwrap().unwrap());
        assert!(one.is_done());
        found.sort_by(|one, other| one.name.cmp(&other.name));
        let found: Vec<_> = found.iter().map(|entry| (entry.name.as_str(), format!("{:?}", entry.type_))).collect();
        let kind = |name: &str| {
            if name == "sub" {
                "Directory"
            } else if name == "link" {
                "SymbolicLink"
            } else {
                "RegularFile"
            }
        };
        let expected: Vec<_> = ["a", "b", "c", "link", "sub"].map(|name| (name, kind(name))).into();
        assert_eq!(found.len(), expected.len());
        for ((name, found), (expected, kind)) in found.iter().zip(expected) {
            assert!(*name == expected && found.contains(kind), "{name}: {found}");
        }
        drop(unread);
        assert_eq!(all.memory.taken(), 0);
    }

    #[tokio::test]
    async fn what_is_no_directory_or_finds_no_memory_is_an_error_at_its_end() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "a").unwrap();
        let directory = Arc::new(File::open(folder.path()).unwrap());
        let reads = DirectoryReads::default();
        let (small, _) = pending(100);
        let mut source = Directory::new(Ok(directory), &reads, small.clone());
        assert!(matches!(next(&mut source, 1).await, Some(Err(ErrorCode::InsufficientMemory))));
        let mut source = Directory::new(Err(ErrorCode::NotDirectory), &reads, small);
        assert!(matches!(next(&mut source, 1).await, Some(Err(ErrorCode::NotDirectory))));
    }
}
