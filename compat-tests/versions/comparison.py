"""Compares an answer with Kafka's, field by field, and holds what differs against the list of allowed differences.

Elements of an array are matched by what they are about (a topic's name, a partition's index, ...), and their order is a field
of its own. A path names them so: `topics[data].partitions[0].error_code`.
"""

import struct
import tomllib

# What an element is about: the first of these fields that it has.
IDENTITIES = ("name", "topic", "group_id", "resource_name", "partition_index", "partition", "index", "node_id", "broker_id", "api_key",
              "base_offset")
# Orders that say nothing: Kafka lists these from hash maps or shuffles them, in another order in each run.
UNORDERED = {
    "Metadata": ("topics",), "DescribeConfigs": ("results[*].configs",), "ListGroups": ("groups",),
    "DescribeLogDirs": ("topics", "topics[*].partitions"), "ApiVersions": ("*features",),
    "CreateTopics": ("topics[*].configs",), "DeleteTopics": ("responses",),
    "ElectLeaders": ("replica_election_results",),
}
# Fields whose value is another one in every run, of Kafka too. Compared is what is left: whether there is a value.
PER_RUN = {
    "*": ("cluster_id", "*.topic_id", "brokers[*].host", "brokers[*].port"),
    "FindCoordinator": ("host", "port", "coordinators[*].host", "coordinators[*].port"),
    "InitProducerId": ("producer_id",),
    "Fetch": ("session_id",),
    "JoinGroup": ("member_id", "leader", "members[*].member_id"),
    "DescribeGroups": ("groups[*].members[*].member_id",),
    "ConsumerGroupHeartbeat": ("member_id",),
    "ConsumerGroupDescribe": ("groups[*].members[*].member_id",),
    "LeaveGroup": ("members[*].member_id",),
    "DescribeLogDirs": ("folder.total_bytes", "folder.usable_bytes"),
    "ApiVersions": ("finalized_features_epoch",),
}
# The epoch of a topic's first leader is 0 in Kafka and 1 here, where it counts who led the shard: compared is how far on it is.
# What clients commit as an epoch is theirs and stays.
EPOCHS = {
    "Metadata": ("*.leader_epoch",), "ListOffsets": ("*.leader_epoch",), "OffsetForLeaderEpoch": ("*.leader_epoch",),
    "Fetch": ("*.leader_epoch", "*.diverging_epoch.epoch"), "DescribeTopicPartitions": ("*.leader_epoch",),
}
BATCH_HEAD = struct.Struct(">qii")
ABSENT, PRESENT = "absent", "present"


def differences(api, kafka, ours, first_epoch):
    """Every difference as (path, Kafka's value, ours), values as text; `first_epoch` is our epoch of a new topic."""
    sides = comparable(api, "", kafka, 0), comparable(api, "", ours, first_epoch)
    if api == "DescribeLogDirs":
        sides = map(one_folder, sides)
    if api == "ListConfigResources":
        sides = map(by_type_and_name, sides)
    return list(walk(api, "", *sides))


def comparable(api, path, value, first_epoch):
    """An answer with its records taken apart into batches, and with epochs counted from 0."""
    if isinstance(value, dict):
        return {name: comparable(api, f"{path}.{name}", element, first_epoch) for name, element in value.items()}
    if are_structs(value):
        return [comparable(api, path + "[]", element, first_epoch) for element in value]
    if api == "Fetch" and path.endswith(".records") and value:
        return [comparable(api, path + "[]", batch, first_epoch) for batch in batches(bytes(value))]
    if matches_any(EPOCHS.get(api, ()), path) and value is not None and value >= 0:
        return value - first_epoch
    return value


def batches(records):
    """The record batches of a fetched partition; what is left of a batch that was cut off stands last."""
    while len(records) >= BATCH_HEAD.size:
        base_offset, length, leader_epoch = BATCH_HEAD.unpack_from(records)
        end = length + 12
        if end > len(records):
            break
        yield {"base_offset": base_offset, "leader_epoch": leader_epoch, "rest": records[BATCH_HEAD.size:end]}
        records = records[end:]
    if records:
        yield {"name": "cut off", "rest": records}


def by_type_and_name(answer):
    """Resources that have names together with their types only, in an order that says nothing."""
    if answer["config_resources"] is None:
        return answer
    for resource in answer["config_resources"]:
        resource["name"] = f"{resource.get('resource_type', 16)} {resource.pop('resource_name')}"
    answer["config_resources"].sort(key=lambda resource: resource["name"])
    return answer


def one_folder(answer):
    """DescribeLogDirs as if all records lay in one folder: Kafka's has one, ours are the WAL and the objects."""
    folders = answer.pop("results")
    answer["folders"], answer["folder"], topics = len(folders), {}, {}
    for folder in folders:
        for topic in folder.pop("topics"):
            found = topics.setdefault(topic["name"], {})
            for partition in topic["partitions"]:
                size = found.get(partition["partition_index"], {}).get("partition_size", 0)
                found[partition["partition_index"]] = partition | {"partition_size": partition["partition_size"] + size}
        for name in folder.keys() - {"log_dir"}:
            known = answer["folder"].setdefault(name, folder[name])
            answer["folder"][name] = known if known == folder[name] else [known, folder[name]]
    answer["topics"] = [{"name": name, "partitions": list(found.values())} for name, found in topics.items()]
    return answer


def walk(api, path, kafka, ours):
    if isinstance(kafka, dict) and isinstance(ours, dict):
        for name in kafka | ours:
            below = f"{path}.{name}" if path else name
            if name in kafka and name in ours:
                yield from walk(api, below, kafka[name], ours[name])
            else:
                yield below, *(text(side[name]) if name in side else ABSENT for side in (kafka, ours))
    elif are_structs(kafka) and are_structs(ours) and (kafka or ours):
        yield from walk_elements(api, path, named(kafka), named(ours))
    else:
        kafka, ours = per_run(api, path, kafka), per_run(api, path, ours)
        if kafka != ours:
            yield path, text(kafka), text(ours)


def walk_elements(api, path, kafka, ours):
    for name in kafka | ours:
        below = f"{path}[{name}]"
        if name in kafka and name in ours:
            yield from walk(api, below, kafka[name], ours[name])
        else:
            yield below, *(PRESENT if name in side else ABSENT for side in (kafka, ours))
    orders = [[name for name in side if name in other] for side, other in ((kafka, ours), (ours, kafka))]
    if orders[0] != orders[1] and not matches_any(UNORDERED.get(api, ()), path):
        yield f"{path}.order", *(", ".join(order) for order in orders)


def are_structs(value):
    return isinstance(value, list) and all(isinstance(element, dict) for element in value)


def named(elements):
    """The elements by what they are about; by their place where that is not told or told twice."""
    keys = [next((str(element[name]) for name in IDENTITIES if element.get(name) is not None), None) for element in elements]
    if None in keys or len(set(keys)) < len(keys):
        keys = [f"#{place}" for place in range(len(elements))]
    return dict(zip(keys, elements))


def per_run(api, path, value):
    if not matches_any(PER_RUN["*"] + PER_RUN.get(api, ()), path):
        return value
    is_id = hasattr(value, "int")
    return "none" if value in (None, "", 0, -1) or is_id and value.int == 0 else "some"


def text(value):
    """A value as the list of differences writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, (set, frozenset)):
        return text(sorted(value))
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(text(element) for element in value) + "]"
    return str(value)


def matches(pattern, whole):
    """Whether a pattern, in which `*` stands for anything, is about the whole of a text."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == whole
    if not whole.startswith(first):
        return False
    at = len(first)
    for part in rest[:-1]:
        found = whole.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(whole) - at >= len(rest[-1]) and whole.endswith(rest[-1])


def matches_any(patterns, whole):
    return any(matches(pattern, whole) for pattern in patterns)


class Allowed:
    """The list of allowed differences. Every line of it must be seen, in each of its versions, or it is stale."""

    FIELDS = {"api", "versions", "case", "paths", "kafka", "ours", "reason"}

    def __init__(self, toml):
        self.entries = tomllib.loads(toml).get("difference", [])
        self.wanted = set()
        for place, entry in enumerate(self.entries):
            if set(entry) != self.FIELDS or not entry["paths"] or not entry["reason"]:
                raise ValueError(f"a difference has the fields {sorted(self.FIELDS)}, with paths and a reason: {entry}")
            first, _, last = entry["versions"].partition("-")
            for version in range(int(first), int(last or first) + 1):
                self.wanted |= {(place, version, path) for path in entry["paths"]}
        self.seen = set()

    def allows(self, api, version, case, path, kafka, ours):
        found = {
            (place, version, pattern)
            for place, entry in enumerate(self.entries) if entry["api"] == api and matches(entry["case"], case)
            for pattern in entry["paths"] if (place, version, pattern) in self.wanted and matches(pattern, path)
            and matches(entry["kafka"], kafka) and matches(entry["ours"], ours)
        }
        self.seen |= found
        return bool(found)

    def stale(self):
        """What no longer differs: (API, version, case, path)."""
        for place, version, path in sorted(self.wanted - self.seen):
            entry = self.entries[place]
            yield entry["api"], version, entry["case"], path
