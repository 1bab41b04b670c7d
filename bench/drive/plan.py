"""What every run can be told: which programs, how many rounds, how long."""

import argparse
import datetime
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parent.parent.parent


class Plan:
    """The arguments of a run, with what follows from them."""

    def __init__(self, arguments):
        self.__dict__.update(vars(arguments))
        self.results = self.results or ROOT / "bench" / "results" / f"{datetime.date.today()}-{self.kind}"
        self.binary = self.binary or built(ROOT / "Cargo.toml", "streamhouse")
        self.floor = self.floor or built(ROOT / "bench" / "floor" / "Cargo.toml", "streamhouse-floor")
        # Whoever ends a run ends its brokers, too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
        self.folders = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=self.data or cache()))

    def folder(self, name):
        """A new folder for a broker."""
        return pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folders))

    def remove(self, folder):
        shutil.rmtree(folder, ignore_errors=True)

    def rounds_with_warm_up(self):
        """Round 0 warms up and is thrown away."""
        return range(0 if self.discard else 1, self.rounds + 1)


def parser(kind, text):
    """The arguments that all runs have."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.set_defaults(kind=kind)
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count")
    parser.add_argument("--no-discard", dest="discard", action="store_false", help="let the first round count, too")
    parser.add_argument("--seconds", type=int, default=10, help="length of a load")
    parser.add_argument("--latency-seconds", type=int, default=45, help="length of the load of 5,000 requests a second")
    parser.add_argument("--sustained-seconds", type=int, default=180, help="length of the sustained load; 0 leaves it out")
    parser.add_argument("--warm-up", type=int, default=2, help="seconds of each load before it is measured")
    parser.add_argument("--consume-bytes", type=int, default=1 << 30, help="bytes that are written to be consumed")
    parser.add_argument("--binary", help="the release build of streamhouse [default: cargo build --release]")
    parser.add_argument("--floor", help="the release build of bench/floor [default: cargo build --release]")
    parser.add_argument("--data", help="where the folders of brokers are made [default: the user's cache]")
    parser.add_argument("--results", help="the folder for raw.jsonl and the table [default: bench/results/DATE-KIND]")
    return parser


def built(manifest, name, *arguments):
    """Builds a program and gives its path."""
    target = os.environ.get("CARGO_TARGET_DIR") or cache() / "release"
    command = ["cargo", "build", "--release", "--manifest-path", str(manifest), "--target-dir", str(target), *arguments]
    subprocess.run(command, check=True)
    return str(pathlib.Path(target) / "release" / name)


def cache():
    """The project's folder in the user's cache: on a disk, where /tmp may be in memory."""
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = home / "streamhouse"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
