"""Encodes requests and decodes responses of Kafka by its own message schemas, for `record.py`.

Independent of the Rust code on purpose: what it writes is judged by Apache Kafka, which answers it.
"""

import json
import re
import struct
import uuid
import zipfile

NUMBERS = {"int8": ">b", "int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I", "int64": ">q", "float64": ">d"}


class Schemas:
    """The messages of a `kafka-clients` jar."""

    def __init__(self, jar):
        self.by_name = {}
        with zipfile.ZipFile(jar) as archive:
            for name in archive.namelist():
                if re.fullmatch(r"common/message/\w+(Request|Response)\.json", name):
                    text = re.sub(r"^\s*//.*$", "", archive.read(name).decode(), flags=re.M)
                    message = json.loads(text)
                    self.by_name[message["name"]] = message

    def encode(self, api, version, values, correlation_id, client_id="golden"):
        """A request frame without its size."""
        message = self.by_name[api + "Request"]
        flexible = within(message["flexibleVersions"], version)
        head = struct.pack(">hhi", message["apiKey"], version, correlation_id)
        head += struct.pack(">h", len(client_id)) + client_id.encode()
        head += b"\0" if flexible else b""
        return head + Codec(message, version, flexible).struct(message["fields"], values)

    def decode(self, api, version, frame):
        """The fields of a response frame, without the header."""
        message = self.by_name[api + "Response"]
        flexible = within(message["flexibleVersions"], version)
        at = 4 if not flexible or api == "ApiVersions" else 5
        codec = Codec(message, version, flexible)
        codec.bytes, codec.at = frame, at
        values = codec.read_struct(message["fields"])
        assert codec.at == len(frame), f"{api} v{version}: {len(frame) - codec.at} bytes too many"
        return values


def within(versions, version):
    if versions == "none":
        return False
    if versions.endswith("+"):
        return version >= int(versions[:-1])
    first, _, last = versions.partition("-")
    return int(first) <= version <= int(last or first)


def default(field):
    kind, text = field["type"], field.get("default")
    if text == "null":
        return None
    if kind.startswith("[]"):
        return []
    if kind in NUMBERS:
        return int(str(text or 0), 0)
    return {"bool": text in ("true", True), "string": text or "", "bytes": b"", "records": b"",
            "uuid": uuid.UUID(int=0)}.get(kind, {})


class Codec:
    """One message in one version: writes values, or reads `bytes` from `at` on."""

    def __init__(self, message, version, flexible):
        self.version, self.flexible = version, flexible
        self.common = {s["name"]: s["fields"] for s in message.get("commonStructs", [])}
        self.bytes, self.at = b"", 0

    def here(self, field, key="versions"):
        return key in field and within(field[key], self.version)

    def fields_of(self, kind, field):
        return field["fields"] if "fields" in field else self.common[kind]

    # Writing.

    def struct(self, fields, values):
        unknown = set(values) - {f["name"] for f in fields}
        assert not unknown, f"no such fields: {unknown}"
        out, tagged = b"", []
        for field in fields:
            if not self.here(field):
                continue
            if self.here(field, "taggedVersions"):
                if field["name"] in values:
                    tagged.append((field["tag"], self.field(field, values[field["name"]])))
            else:
                out += self.field(field, values.get(field["name"], default(field)))
        if self.flexible:
            out += varint(len(tagged))
            for tag, value in sorted(tagged):
                out += varint(tag) + varint(len(value)) + value
        return out

    def field(self, field, value):
        kind = field["type"]
        if kind[0].isupper() and self.here(field, "nullableVersions"):
            return b"\xff" if value is None else b"\x01" + self.value(kind, field, value)
        return self.value(kind, field, value)

    def value(self, kind, field, value):
        if kind.startswith("[]"):
            out = self.length(None if value is None else len(value), ">i")
            return out + b"".join(self.value(kind[2:], field, element) for element in value or [])
        if kind in NUMBERS:
            return struct.pack(NUMBERS[kind], value)
        if kind == "bool":
            return bytes([value])
        if kind == "uuid":
            return value.bytes
        if kind == "string":
            value = None if value is None else value.encode()
            return self.length(None if value is None else len(value), ">h") + (value or b"")
        if kind in ("bytes", "records"):
            return self.length(None if value is None else len(value), ">i") + (value or b"")
        return self.struct(self.fields_of(kind, field), value)

    def length(self, length, classic):
        if self.flexible:
            return varint(0 if length is None else length + 1)
        return struct.pack(classic, -1 if length is None else length)

    # Reading.

    def take(self, length):
        taken = self.bytes[self.at:self.at + length]
        assert len(taken) == length, "the response ends too early"
        self.at += length
        return taken

    def read_varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def read_length(self, classic):
        if self.flexible:
            return self.read_varint() - 1
        return struct.unpack(classic, self.take(struct.calcsize(classic)))[0]

    def read_struct(self, fields):
        values = {}
        for field in fields:
            if self.here(field) and not self.here(field, "taggedVersions"):
                values[field["name"]] = self.read_field(field)
        if self.flexible:
            for _ in range(self.read_varint()):
                tag, size = self.read_varint(), self.read_varint()
                end = self.at + size
                for field in fields:
                    if field.get("tag") == tag and self.here(field, "taggedVersions"):
                        values[field["name"]] = self.read_field(field)
                self.at = end
        return values

    def read_field(self, field):
        kind = field["type"]
        if kind[0].isupper() and self.here(field, "nullableVersions") and self.take(1) == b"\xff":
            return None
        return self.read(kind, field)

    def read(self, kind, field):
        if kind.startswith("[]"):
            count = self.read_length(">i")
            return None if count < 0 else [self.read(kind[2:], field) for _ in range(count)]
        if kind in NUMBERS:
            return struct.unpack(NUMBERS[kind], self.take(struct.calcsize(NUMBERS[kind])))[0]
        if kind == "bool":
            return self.take(1) != b"\0"
        if kind == "uuid":
            return uuid.UUID(bytes=self.take(16))
        if kind == "string":
            length = self.read_length(">h")
            return None if length < 0 else self.take(length).decode()
        if kind in ("bytes", "records"):
            length = self.read_length(">i")
            return None if length < 0 else self.take(length)
        return self.read_struct(self.fields_of(kind, field))


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def zigzag(value):
    return varint((value << 1) ^ (value >> 63) if value >= 0 else ((-value) << 1) - 1)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def record_batch(values, timestamp=1_700_000_000_000):
    """A v2 batch with one record per value, each with a key and a header."""
    records = b""
    for delta, value in enumerate(values):
        body = b"\0" + zigzag(delta) + zigzag(delta)
        body += zigzag(1) + b"k" + zigzag(len(value)) + value
        body += zigzag(1) + zigzag(1) + b"h" + zigzag(2) + b"hv"
        records += zigzag(len(body)) + body
    last = len(values) - 1
    tail = struct.pack(">hiqqqhii", 0, last, timestamp, timestamp + last, -1, -1, -1, len(values)) + records
    body = struct.pack(">ibI", -1, 2, crc32c(tail)) + tail
    return struct.pack(">qi", 0, len(body)) + body
