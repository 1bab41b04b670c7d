"""The machine: what it is, how busy it is, how much of its disk a folder takes."""

import os
import pathlib
import platform
import socket
import tempfile
import time

TICKS = os.sysconf("SC_CLK_TCK")

# A broker counts as quiet when it writes less than this in half a second (Kafka's controller writes a little all the time), and
# how long that is waited for.
QUIET_BYTES = 8 << 20
QUIET_SECONDS = 20

# A disk counts as calm when no small sync took longer than this for so many seconds, and how long that is waited for.
CALM_SYNC_SECONDS = 0.01
CALM_SECONDS = 3
CALM_WAIT_SECONDS = 60


def description():
    """One line, for the head of a table."""
    model = next((value for name, value in _fields("/proc/cpuinfo") if name == "model name"), platform.machine())
    memory = int(dict(_fields("/proc/meminfo"))["MemTotal"].split()[0]) >> 20
    return f"{os.cpu_count()} x {model}, {memory} GiB, Linux {platform.release().split('-')[0]}"


def busy_seconds():
    """CPU time that was used by anybody since the start of the machine."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


def process_seconds(pid):
    """CPU time that a process has used."""
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(stat[11]) + int(stat[12])) / TICKS


def resident_bytes(pid):
    """Memory of a process that is in use now."""
    return int(dict(_fields(f"/proc/{pid}/status"))["VmRSS"].split()[0]) * 1024


def settle(folder, pid=None):
    """Waits until a broker has done what the last load left it to do, all is on the disk, and the disk has calmed down:
    the next load does not pay for the last one. Says how many seconds the disk took."""
    if pid:
        written = file_bytes(pid)
        for _ in range(QUIET_SECONDS * 2):
            time.sleep(0.5)
            before, written = written, file_bytes(pid)
            if written - before < QUIET_BYTES:
                break
    os.sync()
    return calm(folder)


def calm(folder):
    """Waits until small syncs have been quick for a while. A disk that is shared, or that belongs to a virtual machine,
    goes on writing (and discarding what was removed) after it said that all is written, and then a sync of a few bytes may
    take a second, whoever asks for it."""
    begun = time.monotonic()
    quick_since = begun
    with tempfile.TemporaryFile(dir=folder) as file:
        while True:
            before = time.monotonic()
            os.pwrite(file.fileno(), bytes(4096), 0)
            os.fdatasync(file.fileno())
            now = time.monotonic()
            if now - before > CALM_SYNC_SECONDS:
                quick_since = now
            if now - quick_since > CALM_SECONDS or now - begun > CALM_WAIT_SECONDS:
                return quick_since - begun
            time.sleep(0.002)


def file_bytes(pid):
    """What Linux accounts to a process as written to files."""
    return int(dict(_fields(f"/proc/{pid}/io"))["write_bytes"])


def disk_written_bytes(folder):
    """What was written to the disk of a folder since the start of the machine, by anybody; nothing where the file system
    does not lie on one disk. What Linux tells of a process says less: it counts whole folios for a few bytes."""
    device = os.stat(folder).st_dev
    stat = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
    return int(stat.read_text().split()[6]) * 512 if stat.exists() else None


def disk_bytes(folder):
    """What the files of a folder take on the disk. Files that go away meanwhile do not count."""
    total = 0
    for path in pathlib.Path(folder).rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except FileNotFoundError:
            pass
    return total


def forget(folder):
    """Makes the system read the files of a folder from the disk next time."""
    os.sync()
    for path in pathlib.Path(folder).rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(file)


def free_port():
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _fields(path):
    with open(path) as file:
        for line in file:
            name, separator, value = line.partition(":")
            if separator:
                yield name.strip(), value.strip()
