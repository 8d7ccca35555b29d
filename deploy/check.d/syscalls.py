"""Whether a unit's SystemCallFilter allows every system call that the host has made: argv[1] is the unit, argv[2] strace's
count of names."""
import subprocess
import sys


def members(group):
    text = subprocess.run(["systemd-analyze", "syscall-filter", group], check=True, capture_output=True, text=True).stdout
    found = set()
    for line in text.splitlines()[1:]:
        name = line.strip()
        if name.startswith("@"):
            found |= members(name)
        elif name and not name.startswith("#"):
            found.add(name)
    return found


allowed = set()
for line in open(sys.argv[1]):
    if line.startswith("SystemCallFilter="):
        value = line.strip().removeprefix("SystemCallFilter=")
        named = set()
        for word in value.lstrip("~").split():
            named |= members(word) if word.startswith("@") else {word}
        allowed = allowed - named if value.startswith("~") else allowed | named
# setpriv becomes the user before the host begins, as systemd does before the filter is in force.
before = {"setuid", "setresuid", "setreuid", "setgroups", "setgid", "setresgid", "setregid", "capset"}
used = {line.strip() for line in open(sys.argv[2]) if line.strip().replace("_", "").isalnum()} - {"syscall", "total"}
assert len(used) > 40, used
denied = used - allowed - before
assert not denied, f"the unit denies {sorted(denied)}"
print(f"system calls: {len(used)} used, {len(allowed)} allowed")
