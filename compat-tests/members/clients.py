"""Processes with many members of groups each (`java/Members.java`), and what they tell.

Commands, one a line on the input of a process:

    join NAME GROUP TOPIC PROTOCOL   a member; PROTOCOL is eager, cooperative or consumer (KIP-848)
    leave NAME                       it goes, and says so to the coordinator
    produce RATE TOPIC:PARTITIONS .. so many records a second, in turn to all partitions
    quiet TOPIC:PARTITIONS ..        ends that, and tells where the partitions end
    offsets GROUP                    tells what the group has committed

Events, one a line of the output. TIME is in nanoseconds by the monotonic clock of the machine, so that events of several
processes can be ordered, and with them what this program does itself (`now`):

    TIME NAME assigned GENERATION P,P        everything that the member has from now on; `-` is nothing
    TIME NAME revoked P,P                    what it gives up; the coordinator does not know yet
    TIME NAME lost P,P                       what it had before it was thrown out
    TIME NAME told BEGUN P:OFFSET            what the group had committed when partitions were assigned; `-` is none
    TIME NAME untold WHY                     nobody could say
    TIME NAME read P FIRST LAST COUNT        records that a poll returned
    TIME NAME commit BEGUN P:OFFSET          an OffsetCommit that was acknowledged
    TIME NAME uncommitted WHY                one that was not
    TIME NAME left
    TIME NAME failed WHY                     the process ends with it
    TIME - ends TOPIC P:OFFSET
    TIME - offsets GROUP P:OFFSET
"""

import collections
import os
import pathlib
import queue
import subprocess
import threading
import time

SOURCE = pathlib.Path(__file__).resolve().parent.parent / "java" / "Members.java"

# Start quickly, and leave the cores to the broker.
JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Xmx1g", "-Xss256k", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error")

Event = collections.namedtuple("Event", "at name kind words")


class Broken(Exception):
    """Something did not come about, or something was told that must not be."""


def now():
    """The time of events."""
    return time.monotonic_ns()


def compile_members(jars, folder):
    """Compiles the program; the class path of its processes."""
    path = f"{jars}/*"
    subprocess.run(["javac", "-cp", path, "-d", str(folder), str(SOURCE)], check=True)
    return os.pathsep.join([str(folder), path])


class Clients:
    """All processes of a run, by number. Every event goes to one queue, in the order in which it was read."""

    def __init__(self, class_path, bootstrap, session_ms, log):
        self.command = ["java", *JVM, "-cp", class_path, "Members", bootstrap, str(session_ms)]
        self.log = open(log, "ab")
        self.events = queue.Queue()
        self.processes = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for number in list(self.processes):
            self.kill(number)
        self.log.close()

    def start(self, number):
        """A process; it takes commands at once."""
        process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.processes[number] = process
        threading.Thread(target=self.listen, args=(number, process), daemon=True).start()

    def listen(self, number, process):
        for line in process.stdout:
            # A process that is killed may have written half a line.
            if line.endswith("\n"):
                self.events.put(parsed(line))
        if self.processes.get(number) is process:
            self.events.put(Event(now(), f"process-{number}", "failed", ["it ended"]))

    def tell(self, number, *words):
        """Sends a command."""
        process = self.processes[number]
        process.stdin.write(" ".join(map(str, words)) + "\n")
        process.stdin.flush()

    def kill(self, number):
        """Ends a process as `kill -9` does; the time at which nobody in it did anything more."""
        process = self.processes.pop(number)
        process.kill()
        process.wait()
        return now()


def parsed(line):
    at, name, kind, *words = line.split()
    return Event(int(at), name, kind, words)


def partitions(word):
    """`1,2` or `-`."""
    return set() if word == "-" else {int(one) for one in word.split(",")}


def offsets(word=""):
    """`0:5,1:-`, where `-` is None."""
    pairs = (one.split(":") for one in word.split(",") if one)
    return {int(partition): None if offset == "-" else int(offset) for partition, offset in pairs}
