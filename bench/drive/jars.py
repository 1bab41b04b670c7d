"""Apache Kafka's jars, from Maven, in the user's cache."""

import hashlib
import os
import pathlib
import shutil
import subprocess

POM = pathlib.Path(__file__).parent.parent / "kafka" / "pom.xml"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"


def folder():
    """The folder with the jars of kafka/pom.xml; fills it if it is not there or of another version."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    jars = cache / "streamhouse" / "kafka"
    stamp = jars / "installed"
    wanted = hashlib.sha256(POM.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"Kafka's jars: copying into {jars}", flush=True)
        shutil.rmtree(jars, ignore_errors=True)
        command = ["mvn", "--quiet", "--batch-mode", "--file", str(POM), COPY, f"-DoutputDirectory={jars}"]
        subprocess.run(command, check=True)
        stamp.write_text(wanted)
    return jars
