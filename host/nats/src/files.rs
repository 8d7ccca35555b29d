//! Files that the hosts of an application share: a JetStream bucket that keeps each file in chunks.
//!
//! A file has a size and a name that identifies its content, such as a digest. A reader must compare the file with that
//! digest, because every client that may publish on NATS can change a chunk. Writing a file again writes the same bytes,
//! so no chunk is compared when it is stored. A file that was written only in part counts as missing.
//!
//! This is not async-nats' object store, which keeps a consumer for each reader and a record for each file. That needs
//! more permissions for the host's user, and its errors do not say which permission is missing.

use crate::Nats;
use crate::record::{RecordError, open_or_create, or_denied, refusal, retry_transient};
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use bytes::Bytes;
use futures::TryStreamExt as _;
use std::collections::BTreeSet;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of files that hosts hand to each other.
    pub(crate) const FIXED_LIMITS = "nats";

    /// The most bytes that all files of one bucket take.
    const MAX_FILES_BYTES: i64 = 256 << 20, bytes;
    /// The largest file.
    pub const MAX_FILE_BYTES: u64 = 64 << 20, bytes;
    /// How much of a file one message has.
    const CHUNK_BYTES: usize = 128 << 10, bytes;
}

/// The files of one kind.
pub struct Files {
    nats: Nats,
    bucket: String,
    stream: Stream,
}

impl Files {
    /// Opens the bucket `what` of the application, which is made where it is missing.
    ///
    /// # Errors
    /// When there is no JetStream, it does not answer for too long, or this host may not use it.
    pub async fn open(nats: &Nats, what: &str) -> Result<Self, RecordError> {
        let bucket = nats.subjects().stream(what);
        let stream = retry_transient(nats, || open_or_create(nats, &bucket, MAX_FILES_BYTES)).await?;
        Ok(Files { nats: nats.clone(), bucket, stream })
    }

    fn subject(&self, name: &str, chunk: &str) -> String {
        format!("$KV.{}.{name}.{chunk}", self.bucket)
    }

    /// Stores a file under `name`, which is of letters and digits. Where there is no room for it, all files but those that
    /// `needed` names are removed first.
    ///
    /// # Errors
    /// When it is too large, or JetStream does not answer or has no room.
    pub async fn put(&self, name: &str, file: &[u8], needed: &BTreeSet<String>) -> Result<(), RecordError> {
        if file.len() as u64 > MAX_FILE_BYTES {
            let (size, fix) = (file.len(), "leave out debug information (`strip = true` under [profile.release])");
            return Err(RecordError::refused(
                &format_args!("a file of {size} bytes is larger than {MAX_FILE_BYTES}"),
                fix,
            ));
        }
        if self.write(name, file).await.is_ok() {
            return Ok(());
        }
        // The server may have lost its data.
        open_or_create(&self.nats, &self.bucket, MAX_FILES_BYTES).await?;
        self.keep_only(needed).await?;
        self.write(name, file).await
    }

    async fn write(&self, name: &str, file: &[u8]) -> Result<(), RecordError> {
        let context = self.nats.jetstream();
        for (number, chunk) in file.chunks(CHUNK_BYTES).enumerate() {
            let (start, subject) = (Instant::now(), self.subject(name, &number.to_string()));
            let stored = match context.publish(subject, Bytes::copy_from_slice(chunk)).await {
                Ok(acknowledgement) => acknowledgement.await,
                Err(error) => Err(error),
            };
            stored.map_err(|error| match refusal(&error) {
                Some(answer) => RecordError::answered(answer),
                None => or_denied(&self.nats, start, RecordError::transient(&error)),
            })?;
        }
        Ok(())
    }

    /// The file of this name and size; `None` where not all of it is there. Whether it is what was stored, the caller knows by
    /// its digest.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn get(&self, name: &str, size: u64) -> Result<Option<Vec<u8>>, RecordError> {
        let Some(size) = usize::try_from(size).ok().filter(|size| *size as u64 <= MAX_FILE_BYTES) else {
            return Ok(None);
        };
        let mut file = Vec::new();
        for number in 0..size.div_ceil(CHUNK_BYTES) {
            let subject = self.subject(name, &number.to_string());
            let chunk = retry_transient(&self.nats, || async {
                match self.stream.get_last_raw_message_by_subject(&subject).await {
                    Ok(message) => Ok(Some(message.payload)),
                    Err(error) => match error.kind() {
                        LastRawMessageErrorKind::NoMessageFound => Ok(None),
                        LastRawMessageErrorKind::JetStream(answer) => Err(RecordError::answered(&answer)),
                        _ => Err(RecordError::transient(&error)),
                    },
                }
            });
            match chunk.await? {
                Some(chunk) if chunk.len() <= CHUNK_BYTES => file.extend_from_slice(&chunk),
                _ => return Ok(None),
            }
        }
        Ok((file.len() == size).then_some(file))
    }

    /// Removes a file, if it is there.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn remove(&self, name: &str) -> Result<(), RecordError> {
        let purged = self.stream.purge().filter(self.subject(name, ">")).await;
        purged.map(drop).map_err(|error| RecordError::transient(&error))
    }

    async fn keep_only(&self, needed: &BTreeSet<String>) -> Result<(), RecordError> {
        let failed = |error: &dyn std::fmt::Display| RecordError::transient(&error);
        let subjects = self.stream.info_with_subjects(self.subject("*", "0")).await.map_err(|e| failed(&e))?;
        let subjects: Vec<(String, usize)> = subjects.try_collect().await.map_err(|e| failed(&e))?;
        for (subject, _) in subjects {
            let Some(name) = subject.rsplit('.').nth(1).filter(|name| !needed.contains(*name)) else { continue };
            self.remove(name).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use souk_manifest::NatsConfig;
    use souk_test::nats::Nats as Server;

    #[tokio::test]
    async fn a_file_is_read_as_it_was_stored_or_is_not_there() {
        let server = Server::start();
        let config = NatsConfig { servers: vec![server.url().parse().unwrap()], ..NatsConfig::default() };
        let nats = Nats::connect(&config, "a").await.unwrap();
        let files = Files::open(&nats, "versions").await.unwrap();
        let none = BTreeSet::new();
        for size in [1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let file: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let name = format!("a{size}");
            files.put(&name, &file, &none).await.unwrap();
            assert_eq!(files.get(&name, size as u64).await.unwrap(), Some(file));
            assert_eq!(files.get(&name, size as u64 + 1).await.unwrap(), None, "a size that it has not");
        }
        // Without its first chunk it is not there; what is not needed goes, and the rest stays.
        files.stream.purge().filter(files.subject("a131073", "0")).await.unwrap();
        assert_eq!(files.get("a131073", 131_073).await.unwrap(), None);
        files.keep_only(&BTreeSet::from(["a1".to_owned()])).await.unwrap();
        assert_eq!(files.get("a1", 1).await.unwrap(), Some(vec![0]));
        assert_eq!(files.get("a131072", 131_072).await.unwrap(), None);
        // A server that has lost its data gets the next file.
        nats.jetstream().delete_stream(format!("KV_{}", files.bucket)).await.unwrap();
        files.put("a1", &[7], &none).await.unwrap();
        assert_eq!(files.get("a1", 1).await.unwrap(), Some(vec![7]));
        assert!(files.put("large", &vec![0; MAX_FILE_BYTES as usize + 1], &none).await.is_err());
    }
}
