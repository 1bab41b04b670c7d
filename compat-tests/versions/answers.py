"""Decodes answers with decoders that are not ours: kafka-python's, and Kafka's schemas where kafka-python lacks a version.

An answer becomes plain values: structs are dictionaries with the fields of the version, by kafka-python's names. Nothing may be
left over: what was decoded, encoded again, must be the bytes that came.
"""

import importlib
import re
import struct

from kafka.protocol.api_header import ResponseClassRegistry
from kafka.protocol.data_container import DataContainer

# The response classes of kafka-python come into its registry with these modules.
for module in ("admin", "consumer", "metadata", "producer", "sasl"):
    importlib.import_module("kafka.protocol." + module)


class Undecodable(Exception):
    """An answer that is no answer in its version."""


class Answers:
    """The decoders; `by_schema` names the versions that kafka-python could not decode because it does not know them."""

    def __init__(self, schemas):
        self.schemas, self.by_schema = schemas, set()

    def decode(self, api, version, frame):
        key = self.schemas.by_name[api + "Request"]["apiKey"]
        decoder = ResponseClassRegistry._response_class_registry.get(key)
        if decoder is None or version > decoder.max_version:
            self.by_schema.add((api, version))
            try:
                return snake(self.schemas.decode(api, version, frame))
            except Exception as error:
                raise Undecodable(f"{type(error).__name__}: {error}: {frame.hex()}") from error
        # KIP-511: the header of an ApiVersions answer is never flexible, and an answer with an error is in version 0.
        flexible = decoder.flexible_version_q(version) and api != "ApiVersions"
        if flexible and frame[4:5] != b"\0":
            raise Undecodable(f"a header with tags: {frame[:16].hex()}")
        body = frame[5 if flexible else 4:]
        if api == "ApiVersions" and struct.unpack(">h", body[:2])[0] != 0:
            version = 0
        try:
            answer = decoder.decode(body, version=version)
            again = answer.encode()
        except Exception as error:
            raise Undecodable(f"{type(error).__name__}: {error}: {body.hex()}") from error
        if again != body:
            raise Undecodable(f"encoded again it is not what came: {again.hex()} for {body.hex()}")
        return plain(answer, version)


def plain(value, version):
    if isinstance(value, list):
        return [plain(element, version) for element in value]
    if not isinstance(value, DataContainer):
        return value
    fields = [field for field in value._struct._fields if field.for_version_q(version)]
    values = {field.name: plain(getattr(value, field.name), version) for field in fields}
    if getattr(value, "unknown_tags", None):
        values["unknown_tags"] = value.unknown_tags
    return values


def snake(value):
    """The names that kafka-python gives to fields."""
    if isinstance(value, list):
        return [snake(element) for element in value]
    if isinstance(value, dict):
        return {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(): snake(element) for name, element in value.items()}
    return value
