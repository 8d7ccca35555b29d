//! The name of the machine, and the memory of the machine or of the control group that the process runs in.

use souk_manifest::limits::EdgeLimits;
use std::fs;
use std::path::Path;

/// The name of the machine, for people.
pub(crate) fn name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "a host without a name".to_owned() } else { format!("host {name}") }
}

/// Warns when the application may use more memory than there is.
pub(crate) fn check_memory(limits: &EdgeLimits) {
    let Some(memory) = memory(Path::new("/")) else { return };
    let most = limits.application_memory.as_u64().saturating_add(limits.request_memory.as_u64());
    if most > memory {
        tracing::warn!(
            "components and requests may use {} MiB of memory in total (limits `application_memory` and \
             `request_memory`), but the machine or the control group has {} MiB; lower them under [application.tool.souk.limits] in the manifest, so that a component \
             that uses too much fails alone",
            most >> 20,
            memory >> 20
        );
    }
}

/// The memory of the machine or of the control group in bytes, whichever is less; `None` if the system does not say.
/// `root` is the folder that holds `proc` and `sys`.
fn memory(root: &Path) -> Option<u64> {
    let machine = || {
        let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
    };
    [machine(), group(root)].into_iter().flatten().min()
}

/// The lowest memory limit of the process's control group and its parents (version 2), or of the container's (version
/// 1).
fn group(root: &Path) -> Option<u64> {
    let read = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let top = root.join("sys/fs/cgroup");
    let folder = top.join(own);
    let unified = folder.ancestors().take_while(|at| at.starts_with(&top)).map(|at| at.join("memory.max"));
    unified.chain([top.join("memory/memory.limit_in_bytes")]).filter_map(|path| read(&path)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_the_machine_and_the_groups_around_the_process_counts() {
        let root = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(memory(root.path()), None);
        file("proc/meminfo", "MemTotal:       1000 kB\nMemFree: 1 kB\n");
        assert_eq!(memory(root.path()), Some(1_024_000));
        file("proc/self/cgroup", "0::/shop.slice/souk.service\n");
        file("sys/fs/cgroup/shop.slice/souk.service/memory.max", "max\n");
        assert_eq!(memory(root.path()), Some(1_024_000));
        file("sys/fs/cgroup/shop.slice/memory.max", "500000\n");
        assert_eq!(memory(root.path()), Some(500_000));
        file("sys/fs/cgroup/memory/memory.limit_in_bytes", "400000\n");
        assert_eq!(memory(root.path()), Some(400_000));
    }
}
