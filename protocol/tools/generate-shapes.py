#!/usr/bin/env python3
"""Writes the frame guard's tables of request and response shapes from Kafka's message schemas.

    generate-shapes.py SCHEMAS OUT KIND

SCHEMAS is a folder with Kafka's `*Request.json` and `*Response.json`, or a jar that holds them below `common/message/`
(`kafka-clients` from Maven Central). OUT is the module to write, `protocol/src/guard/shapes` for the KIND `Request` and
`protocol/src/guard/answers` for `Response`: that folder and the file beside it. `rustfmt` must be in PATH.
Versions are those of the schemas; the guard's tests compare them with what the decoder can read.
"""

import json
import pathlib
import re
import subprocess
import sys
import zipfile

# Wire bytes of the types of fixed size.
FIXED = {
    "bool": 1, "int8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8, "float64": 8, "uuid": 16,
}
# API keys per generated file, so that none grows beyond what one likes to open.
FILES = [("data", 0, 3), ("groups", 8, 16), ("topics", 17, 29), ("security", 30, 43), ("cluster", 44, 51),
         ("quorum", 52, 59), ("brokers", 60, 75), ("share", 76, 82), ("state", 83, 999)]
ABOUT = {
    "data": "produce, fetch, list offsets and metadata",
    "groups": "consumer groups of the classic protocol",
    "topics": "handshakes, topics, producer ids and transactions",
    "security": "ACLs, configurations, log folders, delegation tokens and elections",
    "cluster": "reassignments, quotas and SCRAM credentials",
    "quorum": "votes and epochs of the quorum, partitions of brokers and features",
    "brokers": "cluster descriptions, broker registration, KIP-848 groups and telemetry",
    "share": "share groups and voters",
    "state": "the state of share groups, streams groups",
}


def schemas(source, kind):
    path = pathlib.Path(source)
    if path.is_dir():
        texts = [file.read_text() for file in path.glob(f"*{kind}.json")]
    else:
        with zipfile.ZipFile(path) as jar:
            names = [n for n in jar.namelist() if re.fullmatch(rf"common/message/\w+{kind}\.json", n)]
            texts = [jar.read(name).decode() for name in names]
    parsed = [json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.M)) for text in texts]
    found = [s for s in parsed if s["type"] == kind.lower() and s["validVersions"] != "none"]
    return sorted(found, key=lambda s: s["apiKey"])


def span(text):
    """'3+' is (3, None), '2-5' is (2, 5), '4' is (4, 4)."""
    if text.endswith("+"):
        return int(text[:-1]), None
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


class Writer:
    """One schema as Rust."""

    def __init__(self, schema, kind):
        self.schema = schema
        self.api = schema["name"].removesuffix(kind)
        self.prefix = snake(self.api).upper()
        self.common = {s["name"]: s for s in schema.get("commonStructs", [])}
        self.lines = []
        self.structs = {}

    def write(self):
        schema = self.schema
        name = self.api
        fields = self.struct(self.prefix, schema["fields"])
        first, last = span(schema["validVersions"])
        flexible = schema["flexibleVersions"]
        flexible = "NEVER" if flexible == "none" else span(flexible)[0]
        self.lines += [
            f"pub(super) const {self.prefix}: Shape = Shape {{",
            f'key: {schema["apiKey"]}, name: "{name}", versions: Span::new({first}, {last}), flexible: {flexible},',
            f"fields: {fields}, }};", ""]
        return "\n".join(self.lines)

    def struct(self, name, fields):
        """Writes the fields of a struct as a constant; returns the constant's name."""
        constant = f"{name}_FIELDS"
        if constant in self.structs:
            return constant
        self.structs[constant] = None
        body = [self.field(f) for f in fields]
        self.lines += [f"const {constant}: &[Field] = &[", *body, "];"]
        return constant

    def field(self, field):
        assert "flexibleVersions" not in field, field
        first, last = span(field["versions"])
        call = f'field("{snake(field["name"])}", {first}, {"ON" if last is None else last}, {self.kind(field["type"], field)})'
        if "nullableVersions" in field:
            nullable, end = span(field["nullableVersions"])
            # The only field whose null came to an end is non-null there all the same.
            assert end is None or end == last or field["name"] == "Records", field
            call += f".nullable({nullable})"
        if "tag" in field:
            assert span(field["taggedVersions"]) == (first, last), field
            call += f".tagged({field['tag']})"
        return call + ","

    def kind(self, kind, field):
        if kind.startswith("[]"):
            return f"Kind::List(&{self.kind(kind[2:], field)})"
        if kind in FIXED:
            return f"Kind::Fixed({FIXED[kind]})"
        if kind == "string":
            return "Kind::Text"
        if kind in ("bytes", "records"):
            return "Kind::Bytes"
        fields = self.fields_of(kind, field)
        constant = self.struct(f"{self.prefix}_{snake(kind).upper()}", fields)
        return f"Kind::Struct({constant}, {self.memory(fields)})"

    def fields_of(self, kind, field):
        return field["fields"] if "fields" in field else self.common[kind]["fields"]

    def memory(self, fields):
        """What a decoded struct takes: its fields, each rounded up to a word, and a map of unknown tagged fields."""
        return 24 + sum(self.memory_of(f["type"], f) for f in fields)

    def memory_of(self, kind, field):
        if kind.startswith("[]"):
            return 24
        if kind in FIXED:
            return max(8, FIXED[kind])
        if kind in ("string", "bytes", "records"):
            return 32
        return 8 + self.memory(self.fields_of(kind, field))


def generated(about, kind):
    return (f"//! Shapes of {kind.lower()}s: {about}.\n//!\n"
            "//! Generated by `protocol/tools/generate-shapes.py` from the message schemas of Apache Kafka\n"
            "//! (`kafka-clients` 4.3.1). Do not edit: run the script again.\n\n")


def main(source, out, kind):
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    all_schemas = schemas(source, kind)
    assert len(all_schemas) > 80, "these are not Kafka's schemas"
    written = [out.with_suffix(".rs")]
    table = []
    for file, low, high in FILES:
        body = ""
        for schema in all_schemas:
            if low <= schema["apiKey"] <= high:
                writer = Writer(schema, kind)
                body += writer.write() + "\n"
                table.append(f"{file}::{writer.prefix}")
        used = [name for name in ("Field", "Kind", "NEVER", "ON", "Shape", "Span", "field")
                if re.search(rf"\b{name}\b(?!\()" if name != "field" else r"\bfield\(", body)]
        text = generated(ABOUT[file], kind) + f"use crate::guard::shape::{{{', '.join(used)}}};\n\n" + body
        written.append(out / f"{file}.rs")
        written[-1].write_text(text)
    assert len(table) == len(all_schemas), "an API key lies between the files"
    modules = "".join(f"mod {name};\n" for name in sorted(name for name, _, _ in FILES))
    written[0].write_text(
        generated("the table of all of them, by API key", kind) + modules + "\nuse super::shape::Shape;\n\n"
        f"/// Every {kind.lower()}, in ascending order of API keys.\n"
        f"pub(super) static SHAPES: [Shape; {len(table)}] = [{', '.join(table)}];\n\n"
        f"/// The shape of the {kind.lower()}s of an API.\n"
        "pub(super) fn of(api_key: i16) -> Option<&'static Shape> {\n"
        "SHAPES.binary_search_by_key(&api_key, |shape| shape.key).ok().map(|at| &SHAPES[at])\n}\n")
    root = pathlib.Path(__file__).resolve().parents[2]
    subprocess.run(["rustfmt", "--edition", "2024", "--config-path", root, *written], check=True)


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[3] not in ("Request", "Response"):
        sys.exit(__doc__)
    main(*sys.argv[1:])
