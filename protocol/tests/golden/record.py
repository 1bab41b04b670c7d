#!/usr/bin/env python3
"""Records golden frames: what Apache Kafka answers to every version of the APIs a client needs.

    record.py START JAR

START starts a broker: `START start FOLDER PORT` leaves one listening on 127.0.0.1:PORT, with its data in FOLDER, and
prints its process id last. JAR is `kafka-clients` of the same release, for its message schemas. The frames are written
beside this script, a file per API, a line per frame: version, case, direction, and the bytes (without the size in
front) in hexadecimal. Ids, times and ports differ from run to run, and so do the files.
"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from conversation import Connection, hold  # noqa: E402
from kafka_schema import Schemas  # noqa: E402


class Recorder(Connection):
    """A connection whose exchanges are written down."""

    def __init__(self, schemas, port):
        super().__init__(schemas, "127.0.0.1", port)
        self.lines = {}

    def keep(self, api, version, case, request, response):
        """Records an exchange, unless this case of this version was recorded before."""
        lines = self.lines.setdefault(api, [])
        if (version, case) in [line[:2] for line in lines]:
            return
        lines.append((version, case, "request", request.hex()))
        lines.append((version, case, "response", response.hex()))

    def write(self, folder):
        for api, lines in self.lines.items():
            text = "".join(" ".join(map(str, line)) + "\n" for line in lines)
            (folder / f"{api}.txt").write_text(text)


def main(start, jar):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="kafka-golden-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = 20000 + probe.getsockname()[1] % 10000
    output = subprocess.run([start, "start", folder / "broker", str(port)], stdout=subprocess.PIPE, check=True)
    broker = int(output.stdout.split()[-1])
    try:
        kafka = Recorder(Schemas(jar), port)
        hold(kafka)
        kafka.write(pathlib.Path(__file__).resolve().parent)
    finally:
        os.kill(broker, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
