//! Explains to the operator why a SQLite file cannot be opened: the cause, and the fix.

use rusqlite::ErrorCode;
use std::io;

/// The cause, without the path and label, which the error's context already has, and the fix.
pub fn why_not_opened(error: &anyhow::Error) -> (String, &'static str) {
    let cause = error.chain().find(|cause| cause.is::<rusqlite::Error>() || cause.is::<io::Error>());
    let message = cause.map_or_else(|| format!("{error:#}"), ToString::to_string);
    let code = error.chain().find_map(|cause| cause.downcast_ref::<rusqlite::Error>()?.sqlite_error_code());
    let kind = error.chain().find_map(|cause| Some(cause.downcast_ref::<io::Error>()?.kind()));
    let fix = match (code, kind) {
        (Some(ErrorCode::NotADatabase), _) => {
            "is it a SQLite database? put the right file there, or move this one away, and a new one is made"
        }
        (Some(ErrorCode::DatabaseCorrupt), _) => {
            "put a backup of it there; or move it away, and a new and empty one is made"
        }
        (Some(ErrorCode::DiskFull), _) | (_, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) => {
            "make room on the disk"
        }
        (_, Some(io::ErrorKind::IsADirectory)) => "there is a folder where the file must be: move it away",
        (Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked), _) => {
            "another process uses the file: stop it, or wait until it is done"
        }
        _ => "make the file and its folder readable and writable for the host's user",
    };
    (message, fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_used_up_quota_need_room() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let error = anyhow::Error::from(io::Error::from(kind)).context("database `shop`");
            assert_eq!(why_not_opened(&error).1, "make room on the disk", "{kind}");
        }
    }
}
