//! `read-via-stream` and `open-at`, so that every file that wasmtime holds for an instance counts.
//!
//! wasmtime's streams of a file hold it after the guest has dropped its descriptor, and each of WASI 0.2 also holds what it
//! has read and the guest has not. And a guest of WASI 0.3 can begin to open any number of files before it waits for the
//! first one. So here streams are noted for [`OpenFiles`](crate::open_files::OpenFiles), and few files of an instance are
//! opened at one time.

use crate::{Ctx, pending, release_candidate};
use std::fs::File;
use std::sync::{Arc, Weak};
use tokio::sync::Semaphore;
use wasmtime::StoreContextMut;
use wasmtime::component::{Access, Accessor, FutureReader, Linker, LinkerInstance, Resource, StreamReader};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::types::{ErrorCode as ErrorCode02, HostDescriptor as _};
use wasmtime_wasi::p2::{DynInputStream, InputStream, Pollable, StreamResult};
use wasmtime_wasi::p3::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, HostDescriptorWithStore as _, OpenFlags, PathFlags,
};

souk_manifest::fixed_limits! {
    /// The fixed limits of streams of files.
    pub(crate) const FIXED_LIMITS = "components";

    /// The most files that an instance opens at one time; others wait.
    const MAX_OPENING: usize = 8, "files";
    /// The most streams of files in a component of WASI 0.2, each with up to 64 KiB that it has not read yet.
    pub(crate) const MAX_FILE_STREAMS: usize = 128, "streams";
}

/// The streams of files of one instance.
pub(crate) struct FileStreams {
    /// The files behind them, each once; those that are gone stay until the next stream.
    files: Vec<Weak<File>>,
    /// Has one more reference for each stream of WASI 0.2.
    live: Arc<()>,
    opening: Arc<Semaphore>,
}

impl Default for FileStreams {
    fn default() -> Self {
        FileStreams { files: Vec::new(), live: Arc::default(), opening: Arc::new(Semaphore::new(MAX_OPENING)) }
    }
}

impl FileStreams {
    pub(crate) fn add(&mut self, file: &Arc<File>) {
        self.files.retain(|known| known.strong_count() > 0);
        if !self.files.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(file))) {
            self.files.push(Arc::downgrade(file));
        }
    }

    /// Whether there is a stream.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// How many files streams hold that are none of `descriptors`.
    pub(crate) fn files_beside(&self, descriptors: &[*const File]) -> usize {
        let held = self.files.iter().filter(|file| file.strong_count() > 0);
        held.filter(|file| !descriptors.contains(&file.as_ptr())).count()
    }

    /// How many streams of WASI 0.2 there are.
    pub(crate) fn live(&self) -> usize {
        Arc::strong_count(&self.live) - 1
    }
}

/// wasmtime's stream of a file, while it counts.
struct FileStream {
    stream: DynInputStream,
    _live: Arc<()>,
}

#[async_trait]
impl InputStream for FileStream {
    fn read(&mut self, size: usize) -> StreamResult<bytes::Bytes> {
        self.stream.read(size)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<bytes::Bytes> {
        self.stream.blocking_read(size).await
    }

    async fn cancel(&mut self) {
        self.stream.cancel().await;
    }
}

#[async_trait]
impl Pollable for FileStream {
    async fn ready(&mut self) {
        self.stream.ready().await;
    }
}

impl Ctx {
    /// Notes that a stream of the file behind `descriptor` begins.
    fn note_stream(&mut self, descriptor: &Resource<Descriptor>) -> wasmtime::Result<()> {
        if let Descriptor::File(file) = self.table.get(descriptor)?
            && let Some(open) = &mut self.open_files
        {
            open.streams.add(&file.file);
        }
        Ok(())
    }
}

fn read_0_2(
    ctx: &mut Ctx,
    descriptor: Resource<Descriptor>,
    offset: u64,
) -> wasmtime::Result<(Result<Resource<DynInputStream>, ErrorCode02>,)> {
    ctx.note_stream(&descriptor)?;
    let stream = match ctx.filesystem().read_via_stream(descriptor, offset) {
        Ok(stream) => stream,
        Err(error) => return Ok((Err(error.downcast()?),)),
    };
    let Some(open) = &ctx.open_files else { return Ok((Ok(stream),)) };
    let live = open.streams.live.clone();
    let counted: DynInputStream = Box::new(FileStream { stream: ctx.table.delete(stream)?, _live: live });
    Ok((Ok(ctx.table.push(counted)?),))
}

type Streams = (StreamReader<u8>, FutureReader<Result<(), ErrorCode>>);

fn read(
    mut store: StoreContextMut<'_, Ctx>,
    descriptor: Resource<Descriptor>,
    offset: u64,
) -> wasmtime::Result<(Streams,)> {
    store.data_mut().note_stream(&descriptor)?;
    let files = Access::<_, WasiFilesystem>::new(store, Ctx::filesystem);
    Ok((WasiFilesystem::read_via_stream(files, descriptor, offset)?,))
}

type OpenArguments = (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags);

async fn open(
    guest: &Accessor<Ctx>,
    (directory, path_flags, path, open_flags, flags): OpenArguments,
) -> wasmtime::Result<(Result<Resource<Descriptor>, ErrorCode>,)> {
    let _call = pending::begin(guest, path.len())?;
    let turns = guest.with(|mut access| access.get().open_files.as_ref().map(|open| open.streams.opening.clone()));
    let _turn = match &turns {
        Some(turns) => Some(turns.acquire().await?),
        None => None,
    };
    let files = guest.with_getter::<WasiFilesystem>(Ctx::filesystem);
    match WasiFilesystem::open_at(&files, directory, path_flags, path, open_flags, flags).await {
        Ok(descriptor) => Ok((Ok(descriptor),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

/// Replaces wasmtime's functions. Call it after those are linked.
///
/// # Errors
/// When an interface is not linked.
pub(crate) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance("wasi:filesystem/types@0.2.12")?.func_wrap(
        "[method]descriptor.read-via-stream",
        |mut store: StoreContextMut<'_, Ctx>, (descriptor, offset)| read_0_2(store.data_mut(), descriptor, offset),
    )?;
    replace(&mut linker.instance("wasi:filesystem/types@0.3.0")?)?;
    replace(&mut linker.instance(&release_candidate::name("wasi:filesystem/types"))?)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn replace(types: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    types
        .func_wrap("[method]descriptor.read-via-stream", |store: StoreContextMut<'_, Ctx>, (descriptor, offset)| {
            read(store, descriptor, offset)
        })?;
    types.func_wrap_concurrent("[method]descriptor.open-at", |guest, arguments| Box::pin(open(guest, arguments)))
}
