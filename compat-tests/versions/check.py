#!/usr/bin/env python3
"""Holds the conversation of the golden frames with a broker, and compares every answer with Apache Kafka's.

    check.py HOST:PORT JAR

JAR is `kafka-clients` of the release that the frames were recorded from, for its message schemas. The broker must be new, have
the id 1 and make topics of 4 partitions, as the one that was recorded had. What differs from Kafka without being in
`differences.toml` is printed, and so is what this list has too much, and every version of an API that is advertised but was not
asked for; then the exit status is 1.
"""

import pathlib
import socket
import struct
import sys

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE.parents[1] / "protocol" / "tests" / "golden"
sys.path.insert(0, str(GOLDEN))
from answers import Answers, Undecodable  # noqa: E402
from comparison import Allowed, differences  # noqa: E402
from conversation import VERSIONS, Connection, hold  # noqa: E402
from kafka_schema import Schemas  # noqa: E402

# Kafka shows these and does not serve them: librdkafka takes a broker without Produce v0 for one without compression.
SHOWN_ONLY = {("Produce", 0), ("Produce", 1), ("Produce", 2)}


class Asker(Connection):
    """Asks for what the broker advertises. What it keeps are the answers by (API, version, case)."""

    def __init__(self, schemas, host, port):
        super().__init__(schemas, host, port)
        self.address, self.answers, self.first_epoch = (host, port), {}, 0
        names = {message["apiKey"]: name[:-len("Request")] for name, message in schemas.by_name.items() if name.endswith("Request")}
        _, frame = self.exchange("ApiVersions", 0, {})
        shown = schemas.decode("ApiVersions", 0, frame)["ApiKeys"]
        self.shown = {names[api["ApiKey"]]: (api["MinVersion"], api["MaxVersion"]) for api in shown}

    def call(self, api, version, case, **values):
        """In a version that is not advertised the nearest one is asked, so that the broker comes to the same state."""
        if api not in self.shown:
            return None
        first, last = self.shown[api]
        nearest = min(max(version, first), last)
        return super().call(api, nearest, case if nearest == version else None, **values)

    def keep(self, api, version, case, request, response):
        if case is not None:
            self.answers.setdefault((api, version, case), response)
        if case == "by-name":
            topic = self.schemas.decode(api, version, response)["Topics"][0]
            self.first_epoch = topic["Partitions"][0]["LeaderEpoch"]

    def advertised(self):
        return {(api, version) for api, (first, last) in self.shown.items() for version in range(first, last + 1)} - SHOWN_ONLY


def recorded():
    """Kafka's answers by (API, version, case)."""
    answers = {}
    for file in sorted(GOLDEN.glob("*.txt")):
        for line in file.read_text().splitlines():
            version, case, direction, frame = line.split(" ")
            if direction == "response":
                answers[file.stem, int(version), case] = bytes.fromhex(frame)
    return answers


def compare(asker, allowed):
    """Every complaint about an answer, as a line."""
    kafka, answers = recorded(), Answers(asker.schemas)
    advertised = asker.advertised()
    wanted = {cell for cell in kafka if cell[:2] in advertised or cell[2] == "unsupported"}
    for api, version in sorted(advertised - {cell[:2] for cell in wanted}):
        yield f"{api} v{version}: advertised, and there is no answer of Kafka's to compare with"
    for api, version, case in sorted(wanted ^ set(asker.answers)):
        yield f"{api} v{version} {case}: {'not asked' if (api, version, case) in wanted else 'not recorded'}"
    for api, version, case in sorted(wanted & set(asker.answers)):
        try:
            ours = answers.decode(api, version if case != "unsupported" else 0, asker.answers[api, version, case])
        except Undecodable as error:
            yield f"{api} v{version} {case}: {error}"
            continue
        theirs = answers.decode(api, version if case != "unsupported" else 0, kafka[api, version, case])
        for path, wants, has in differences(api, theirs, ours, asker.first_epoch):
            if not allowed.allows(api, version, case, path, wants, has):
                yield f"{api} v{version} {case}: {path}: Kafka: {wants}; here: {has}"
    for api, version, case, path in allowed.stale():
        yield f"{api} v{version} {case}: {path}: is allowed to differ and does not: take it out of the list"
    print(f"{len(wanted & set(asker.answers))} answers of {len({api for api, _ in advertised})} APIs"
          f" in {len(advertised)} versions compared; {len(allowed.wanted)} allowed differences")
    for api, version in sorted(answers.by_schema):
        print(f"{api} v{version}: decoded by Kafka's schema, kafka-python does not know it")


def refusals(asker):
    """What is not advertised closes the connection, as Kafka does; `ApiVersions` is in the conversation."""
    for api in sorted(set(VERSIONS) | set(asker.shown)):
        if api == "ApiVersions":
            continue
        if api in asker.shown:
            first, last = asker.shown[api]
            refused = {first - 1, last + 1} | {version for name, version in SHOWN_ONLY if name == api}
        else:
            refused = {VERSIONS[api][0]}
        for version in sorted(refused - {-1}):
            instead = ask_once(asker, api, version)
            if instead:
                yield f"{api} v{version}: not advertised, and the connection is not just closed: {instead}"


def ask_once(asker, api, version):
    """What happens to a connection with this request, if it is not just closed."""
    request = asker.schemas.encode(api, version, {}, 1)
    came = b""
    with socket.create_connection(asker.address, 10) as connection:
        connection.settimeout(10)
        connection.sendall(struct.pack(">i", len(request)) + request)
        try:
            while piece := connection.recv(4096):
                came += piece
        except ConnectionResetError:
            pass
        except TimeoutError:
            return "it stays open"
    return came.hex()


def main(address, jar):
    host, _, port = address.rpartition(":")
    asker = Asker(Schemas(jar), host, int(port))
    hold(asker)
    allowed = Allowed((HERE / "differences.toml").read_text())
    complaints = list(compare(asker, allowed)) + list(refusals(asker))
    for complaint in complaints:
        print(complaint)
    sys.exit(f"{len(complaints)} complaints" if complaints else 0)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
