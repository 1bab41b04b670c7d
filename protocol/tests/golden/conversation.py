"""What a client says to a broker so that every API answers in every version, well and with errors.

`record.py` holds this conversation with Apache Kafka and keeps the frames; the compatibility tests hold it with StreamHouse and
compare the answers with those frames. So it must be the same whatever the broker: what a request says depends on the answers
before it only where a client's would (ids, generations).
"""

import socket
import struct
import time

from kafka_schema import record_batch

# The APIs and the versions that the decoder under test can read, which are at least those that a broker offers.
VERSIONS = {
    "Produce": (3, 13), "Fetch": (4, 18), "ListOffsets": (1, 10), "Metadata": (0, 13), "OffsetCommit": (2, 9),
    "OffsetFetch": (1, 9), "FindCoordinator": (0, 6), "JoinGroup": (0, 9), "Heartbeat": (0, 4), "LeaveGroup": (0, 5),
    "SyncGroup": (0, 5), "DescribeGroups": (0, 6), "ListGroups": (0, 5), "SaslHandshake": (0, 1),
    "ApiVersions": (0, 4), "CreateTopics": (2, 7), "DeleteTopics": (1, 6), "DeleteRecords": (0, 2),
    "InitProducerId": (0, 5), "OffsetForLeaderEpoch": (2, 4), "DescribeAcls": (1, 3), "CreateAcls": (1, 3),
    "DeleteAcls": (1, 3), "DescribeConfigs": (1, 4), "AlterConfigs": (0, 2), "DescribeLogDirs": (1, 4),
    "SaslAuthenticate": (0, 2), "CreatePartitions": (0, 3), "DeleteGroups": (0, 2), "IncrementalAlterConfigs": (0, 1),
    "ListPartitionReassignments": (0, 0), "OffsetDelete": (0, 0), "DescribeCluster": (0, 2), "ElectLeaders": (0, 2),
    "AlterPartitionReassignments": (0, 1), "ListConfigResources": (0, 1), "DescribeTopicPartitions": (0, 0),
    "ConsumerGroupHeartbeat": (0, 1), "ConsumerGroupDescribe": (0, 1),
}
# Errors that only say "not yet".
LATER = {5, 14, 15, 16}
SUBSCRIPTION = struct.pack(">hih", 0, 1, 4) + b"data" + struct.pack(">i", -1)


class Connection:
    """A connection to a broker. Who inherits says what becomes of an exchange: `keep(api, version, case, request, response)`."""

    def __init__(self, schemas, host, port):
        self.schemas = schemas
        self.socket = socket.create_connection((host, port), 10)
        self.socket.settimeout(30)
        self.correlation_id = 0

    def exchange(self, api, version, values, written_as=None):
        self.correlation_id += 1
        if written_as is None:
            request = self.schemas.encode(api, version, values, self.correlation_id)
        else:
            request = written_as(self.correlation_id)
        self.socket.sendall(struct.pack(">i", len(request)) + request)
        response = self.read(struct.unpack(">i", self.read(4))[0])
        assert struct.unpack(">i", response[:4])[0] == self.correlation_id, f"{api} v{version}: another correlation id"
        return request, response

    def read(self, length):
        data = b""
        while len(data) < length:
            piece = self.socket.recv(length - len(data))
            assert piece, "the broker closed the connection"
            data += piece
        return data

    def call(self, api, version, case, **values):
        """Sends a request, again while the broker is not ready, keeps the last round and returns the answer."""
        for _ in range(200):
            request, response = self.exchange(api, version, values)
            answer = self.schemas.decode(api, version, response)
            if not LATER & set(error_codes(answer)):
                break
            time.sleep(0.1)
        self.keep(api, version, case, request, response)
        return answer


def error_codes(answer):
    if isinstance(answer, dict):
        for name, value in answer.items():
            if name == "ErrorCode":
                yield value
            yield from error_codes(value)
    elif isinstance(answer, list):
        for value in answer:
            yield from error_codes(value)


def each(api):
    first, last = VERSIONS[api]
    return range(first, last + 1)


def topic_ref(name, topic_id):
    """A topic by both names; the encoder writes the one that the version has."""
    return {"TopicId": topic_id, "Topic": name}


def cluster(kafka):
    for v in each("ApiVersions"):
        kafka.call("ApiVersions", v, "plain", ClientSoftwareName="golden", ClientSoftwareVersion="1.0")
    # KIP-511: a version that the broker does not know is answered in version 0.
    unsupported = lambda correlation_id: struct.pack(">hhih", 18, 99, correlation_id, 6) + b"golden\0" + b"\x07golden\x041.0\0"
    kafka.keep("ApiVersions", 99, "unsupported", *kafka.exchange("ApiVersions", 0, {}, unsupported))
    for v in each("DescribeCluster"):
        kafka.call("DescribeCluster", v, "plain", IncludeClusterAuthorizedOperations=True)
    for v in each("SaslHandshake"):
        kafka.call("SaslHandshake", v, "refused", Mechanism="PLAIN")
    for v in each("SaslAuthenticate"):
        kafka.call("SaslAuthenticate", v, "refused", AuthBytes=b"\0user\0password")


def topics(kafka):
    kafka.call("CreateTopics", 7, "setup", Topics=[{"Name": "data", "NumPartitions": 2, "ReplicationFactor": 1}],
               timeoutMs=10000)
    for v in each("CreateTopics"):
        kafka.call("CreateTopics", v, "created-and-refused", timeoutMs=10000, Topics=[
            {"Name": f"created-{v}", "NumPartitions": 2, "ReplicationFactor": 1,
             "Configs": [{"Name": "retention.ms", "Value": "3600000"}]},
            {"Name": f"placed-{v}", "NumPartitions": -1, "ReplicationFactor": -1,
             "Assignments": [{"PartitionIndex": 0, "BrokerIds": [1]}]},
            {"Name": "data", "NumPartitions": 1, "ReplicationFactor": 1},
            {"Name": "bad name", "NumPartitions": 1, "ReplicationFactor": 1}])
    for v in each("CreatePartitions"):
        kafka.call("CreatePartitions", v, "more-and-refused", TimeoutMs=10000, Topics=[
            {"Name": "created-2", "Count": 3 + v, "Assignments": [{"BrokerIds": [1]}] if v == 0 else None},
            {"Name": "missing", "Count": 3, "Assignments": None}])
    for v in each("Metadata"):
        kafka.call("Metadata", v, "named", AllowAutoTopicCreation=False, IncludeClusterAuthorizedOperations=v < 11,
                   IncludeTopicAuthorizedOperations=True, Topics=[{"Name": "data"}, {"Name": "missing-topic"}])
        kafka.call("Metadata", v, "all", Topics=[] if v == 0 else None)
    data = kafka.call("Metadata", 12, "by-name", Topics=[{"Name": "data"}], AllowAutoTopicCreation=False)
    data_id, leader_epoch = data["Topics"][0]["TopicId"], data["Topics"][0]["Partitions"][0]["LeaderEpoch"]
    for v in (12, 13):
        kafka.call("Metadata", v, "by-id", Topics=[{"TopicId": data_id, "Name": None}], AllowAutoTopicCreation=False)
    return data_id, leader_epoch


def configs(kafka):
    topic = {"ResourceType": 2, "ResourceName": "data"}
    missing = {"ResourceType": 2, "ResourceName": "missing"}
    keys = {"ConfigurationKeys": ["retention.ms", "cleanup.policy", "max.message.bytes"]}
    for v in each("DescribeConfigs"):
        kafka.call("DescribeConfigs", v, "some", IncludeSynonyms=True, IncludeDocumentation=True,
                   Resources=[topic | keys, missing | keys])
        kafka.call("DescribeConfigs", v, "all", Resources=[topic | {"ConfigurationKeys": None}])
    good, bad = {"Name": "retention.ms", "Value": "7200000"}, {"Name": "retention.ms", "Value": "soon"}
    for v in each("AlterConfigs"):
        kafka.call("AlterConfigs", v, "set-and-refused", ValidateOnly=v == 0,
                   Resources=[topic | {"Configs": [good]}, missing | {"Configs": [good]}])
    for v in each("IncrementalAlterConfigs"):
        kafka.call("IncrementalAlterConfigs", v, "set-and-refused", ValidateOnly=False, Resources=[
            topic | {"Configs": [good | {"ConfigOperation": 0}]}, missing | {"Configs": [bad | {"ConfigOperation": 0}]}])
        kafka.call("IncrementalAlterConfigs", v, "deleted", Resources=[
            topic | {"Configs": [{"Name": "retention.ms", "ConfigOperation": 1, "Value": None}]}])
    for v in each("DescribeLogDirs"):
        kafka.call("DescribeLogDirs", v, "one", Topics=[{"Topic": "data", "Partitions": [0, 1]}])
        kafka.call("DescribeLogDirs", v, "all", Topics=None)
    kafka.call("ListPartitionReassignments", 0, "none", TimeoutMs=10000, Topics=None)
    for v in each("DescribeAcls"):
        kafka.call("DescribeAcls", v, "refused", ResourceTypeFilter=1, ResourceNameFilter=None, PatternTypeFilter=1,
                   PrincipalFilter=None, HostFilter=None, Operation=1, PermissionType=1)
        kafka.call("CreateAcls", v, "refused", Creations=[
            {"ResourceType": 2, "ResourceName": "data", "ResourcePatternType": 3, "Principal": "User:a", "Host": "*",
             "Operation": 3, "PermissionType": 3}])
        kafka.call("DeleteAcls", v, "refused", Filters=[
            {"ResourceTypeFilter": 2, "ResourceNameFilter": "data", "PatternTypeFilter": 3, "PrincipalFilter": None,
             "HostFilter": None, "Operation": 1, "PermissionType": 1}])


def broker_configs(kafka):
    """What is set on brokers while they run, on one and on all, and the levels of loggers."""
    one, every, logger = {"ResourceType": 4, "ResourceName": "1"}, {"ResourceType": 4, "ResourceName": ""}, {
        "ResourceType": 8, "ResourceName": "1"}
    op = lambda name, operation, value=None: {"Name": name, "ConfigOperation": operation, "Value": value}
    SET, DELETE, APPEND, SUBTRACT = range(4)
    refused = [
        (one, op("node.id", SET, "3")), (one, op("log.roll.ms", SET, "soon")), (one, op("log.roll.ms", SET)),
        (one, op("log.roll.ms", APPEND, "1")), (one, op("log.index.interval.bytes", SET, "-1")), (one, op("no.such", APPEND, "1")),
        (one | {"ResourceName": "7"}, op("log.roll.ms", SET, "1")), (one | {"ResourceName": "x"}, op("log.roll.ms", SET, "1")),
        (logger, op("no.such", SET, "INFO")), (logger, op("root", SET, "LOUD")), (logger, op("root", DELETE)),
        (logger, op("root", APPEND, "INFO")), (logger | {"ResourceName": "7"}, op("root", SET, "INFO")),
        (logger | {"ResourceName": ""}, op("root", SET, "INFO")), (logger | {"ResourceType": 1}, op("root", SET, "INFO"))]
    for v in each("IncrementalAlterConfigs"):
        alter = lambda case, *resources: kafka.call("IncrementalAlterConfigs", v, case, Resources=[
            resource | {"Configs": list(configs)} for resource, *configs in resources])
        for place, (resource, config) in enumerate(refused):
            alter(f"refused-{place}", (resource, config))
        alter("brokers-unset", (one, op("log.roll.ms", DELETE), op("node.id", DELETE), op("no.such", DELETE)), (every, op("log.roll.ms", DELETE)))
        alter("brokers-set", (one, op("log.roll.ms", SET, "90000000"), op("num.io.threads", SET, "8")),
              (every, op("log.roll.ms", SET, "95000000"), op("log.cleanup.policy", APPEND, "delete")))
        alter("loggers-set", (logger, op("root", SET, "WARN")))
    time.sleep(1)  # A broker hears of it a moment later.
    for v in each("DescribeConfigs"):
        describe = lambda case, resource, *keys: kafka.call("DescribeConfigs", v, case, IncludeSynonyms=True, Resources=[
            resource | {"ConfigurationKeys": list(keys) or None}])
        describe("one-broker", one, "log.roll.ms", "log.roll.hours", "log.cleanup.policy", "num.io.threads", "node.id", "no.such")
        describe("all-brokers", every)
        describe("topic-of-brokers", {"ResourceType": 2, "ResourceName": "data"}, "segment.ms", "cleanup.policy")
        describe("logger", logger, "root", "no.such")
        describe("another-broker", one | {"ResourceName": "7"})
        describe("no-broker", one | {"ResourceName": "x"})
        describe("another-logger", logger | {"ResourceName": "7"})
        describe("no-logger", logger | {"ResourceName": ""})
        describe("no-resource", one | {"ResourceType": 1})
    for v in each("AlterConfigs"):
        alter = lambda case, resource, *configs: kafka.call("AlterConfigs", v, case, Resources=[
            resource | {"Configs": [{"Name": name, "Value": value} for name, value in configs]}])
        alter("broker-replaced", one, ("num.io.threads", "8"))
        alter("broker-refused", one, ("node.id", "1"))
        alter("logger-refused", logger, ("root", "WARN"))
        alter("broker-cleared", one)


def placement(kafka):
    """What tools ask about leaders and replicas, of a broker that is alone."""
    for v in each("ElectLeaders"):
        kafka.call("ElectLeaders", v, "not-needed-and-refused", ElectionType=0, TimeoutMs=10000, TopicPartitions=[
            {"Topic": "data", "Partitions": [0, 9]}, {"Topic": "missing", "Partitions": [0]}])
        kafka.call("ElectLeaders", v, "all", ElectionType=0, TimeoutMs=10000, TopicPartitions=None)
    for v in each("AlterPartitionReassignments"):
        placed = [("data", 0, None), ("data", 1, [1]), ("data", 0, []), ("data", 0, [9]), ("data", 0, [1, 1]), ("missing", 0, [1])]
        for place, (name, index, replicas) in enumerate(placed):
            kafka.call("AlterPartitionReassignments", v, f"assigned-or-refused-{place}", TimeoutMs=10000, Topics=[
                {"Name": name, "Partitions": [{"PartitionIndex": index, "Replicas": replicas}]}])
    for v in each("ListConfigResources"):
        kafka.call("ListConfigResources", v, "all", ResourceTypes=[])
    kafka.call("ListConfigResources", 1, "brokers", ResourceTypes=[4, 8, 32])
    kafka.call("ListConfigResources", 1, "unknown", ResourceTypes=[3])
    named = [{"Name": name} for name in ("missing-topic", "data", "bad name")]
    kafka.call("DescribeTopicPartitions", 0, "named", Topics=named, ResponsePartitionLimit=2000, Cursor=None)
    kafka.call("DescribeTopicPartitions", 0, "page", Topics=[], ResponsePartitionLimit=3, Cursor=None)
    kafka.call("DescribeTopicPartitions", 0, "next-page", Topics=[], ResponsePartitionLimit=3,
               Cursor={"TopicName": "created-3", "PartitionIndex": 1})


def records(kafka, data_id, leader_epoch):
    missing_id = type(data_id)(int=7)
    for v in each("InitProducerId"):
        kafka.call("InitProducerId", v, "idempotent", TransactionalId=None, TransactionTimeoutMs=60000)
    for v in each("Produce"):
        partitions = lambda *values: {"PartitionData": [{"Index": i, "Records": record_batch(list(values))} for i in (0, 9)]}
        name = lambda name, topic_id: {"TopicId": topic_id, "Name": name}
        kafka.call("Produce", v, "stored-and-refused", TransactionalId=None, Acks=-1, TimeoutMs=10000, TopicData=[
            name("data", data_id) | partitions(b"first", b"second"),
            name("missing topic", missing_id) | partitions(b"lost")])
    for v in each("Fetch"):
        def fetch(case, offset, isolation=0, last_epoch=-1, **more):
            partition = {"CurrentLeaderEpoch": -1, "FetchOffset": offset, "PartitionMaxBytes": 300,
                         "LastFetchedEpoch": last_epoch}
            topic = topic_ref("data", data_id) | {
                "Partitions": [partition | {"Partition": i} for i in (0, 1)]}
            other = topic_ref("missing", missing_id) | {"Partitions": [partition | {"Partition": 0}]}
            return kafka.call("Fetch", v, case, MaxWaitMs=100, MinBytes=1, MaxBytes=1 << 20,
                              IsolationLevel=isolation, Topics=[topic, other], **more)
        fetch("uncommitted", 0)
        fetch("committed", 2, 1)
        fetch("out-of-range", 1000)
        if v >= 7:
            session = fetch("session-opened", 0, SessionEpoch=0)
            kafka.call("Fetch", v, "session-continued", MaxWaitMs=100, MinBytes=1, MaxBytes=1 << 20,
                       SessionId=session["SessionId"], SessionEpoch=1, ForgottenTopicsData=[
                           topic_ref("data", data_id) | {"Partitions": [1]}])
        if v >= 12:
            fetch("diverging", 1000, last_epoch=leader_epoch)
    for v in each("ListOffsets"):
        for case, timestamp in [("latest", -1), ("earliest", -2), ("time", 1_700_000_000_001)] + (
                [("max-timestamp", -3)] if v >= 7 else []) + ([("latest-tiered", -5)] if v >= 9 else []):
            kafka.call("ListOffsets", v, case, ReplicaId=-1, IsolationLevel=1, TimeoutMs=10000, Topics=[
                {"Name": name, "Partitions": [{"PartitionIndex": 0, "Timestamp": timestamp}]}
                for name in ("data", "missing")])
    for v in each("OffsetForLeaderEpoch"):
        kafka.call("OffsetForLeaderEpoch", v, "known-and-missing", ReplicaId=-1, Topics=[
            {"Topic": name, "Partitions": [{"Partition": 0, "CurrentLeaderEpoch": -1, "LeaderEpoch": leader_epoch}]}
            for name in ("data", "missing")])
    for v in each("DeleteRecords"):
        kafka.call("DeleteRecords", v, "trimmed-and-refused", TimeoutMs=10000, Topics=[
            {"Name": "data", "Partitions": [{"PartitionIndex": 0, "Offset": v}, {"PartitionIndex": 1, "Offset": 99}]}])


def group(kafka, turn):
    """The life of one consumer group; turn n uses the n-th version of every API."""
    name = f"group-{turn}"
    at = lambda api: min(VERSIONS[api][0] + turn, VERSIONS[api][1])
    v = at("FindCoordinator")
    kafka.call("FindCoordinator", v, "found", KeyType=0, **({"CoordinatorKeys": [name]} if v >= 4 else {"Key": name}))
    v = at("JoinGroup")
    member = {"GroupId": name, "SessionTimeoutMs": 10000, "RebalanceTimeoutMs": 10000, "ProtocolType": "consumer",
              "Protocols": [{"Name": "range", "Metadata": SUBSCRIPTION}]} | ({"Reason": "golden"} if v >= 8 else {})
    kafka.call("JoinGroup", v, "unknown-member", MemberId="nobody", **member)
    joined = kafka.call("JoinGroup", v, "new-member", MemberId="", **member)
    if joined["ErrorCode"] == 79:
        joined = kafka.call("JoinGroup", v, "joined", MemberId=joined["MemberId"], **member)
    assert joined["ErrorCode"] == 0, joined
    me = {"GroupId": name, "GenerationId": joined["GenerationId"], "MemberId": joined["MemberId"]}
    kafka.call("SyncGroup", at("SyncGroup"), "assigned", ProtocolType="consumer", ProtocolName="range",
               Assignments=[{"MemberId": me["MemberId"], "Assignment": b"\0\1assignment"}], **me)
    kafka.call("Heartbeat", at("Heartbeat"), "alive", **me)
    kafka.call("Heartbeat", at("Heartbeat"), "fenced", **(me | {"GenerationId": 77}))
    kafka.call("DescribeGroups", at("DescribeGroups"), "stable-and-dead", Groups=[name, "missing"],
               IncludeAuthorizedOperations=True)
    offset = {"PartitionIndex": 0, "CommittedOffset": 42, "CommittedLeaderEpoch": 0, "CommittedMetadata": "note"}
    kafka.call("OffsetCommit", at("OffsetCommit"), "stored-and-refused", GroupId=name,
               GenerationIdOrMemberEpoch=me["GenerationId"], MemberId=me["MemberId"], RetentionTimeMs=-1,
               Topics=[{"Name": "data", "Partitions": [offset, offset | {"PartitionIndex": 99}]}])
    offsets(kafka, name, at("OffsetFetch"))
    kafka.call("ListGroups", at("ListGroups"), "all", StatesFilter=[], TypesFilter=[])
    v = at("LeaveGroup")
    leaver = {"MemberId": me["MemberId"]}
    kafka.call("LeaveGroup", v, "left", GroupId=name, **(
        {"Members": [leaver | {"Reason": "done" if v >= 5 else None}, {"MemberId": "nobody"}]} if v >= 3 else leaver))
    if turn == 0:
        kafka.call("OffsetDelete", 0, "deleted-and-refused", GroupId=name, Topics=[
            {"Name": topic, "Partitions": [{"PartitionIndex": 0}]} for topic in ("data", "missing")])
    kafka.call("DeleteGroups", at("DeleteGroups"), "deleted-and-refused", GroupsNames=[name, "missing"])


def offsets(kafka, name, version):
    """OffsetFetch by topic and, where null means all, of all."""
    chosen = [{"Name": "data", "PartitionIndexes": [0, 1]}]
    for case, wanted in [("some", chosen)] + ([("all", None)] if version >= 2 else []):
        values = {"Groups": [{"GroupId": name, "Topics": wanted}]} if version >= 8 else {"GroupId": name, "Topics": wanted}
        kafka.call("OffsetFetch", version, case, RequireStable=True, **values)


def consumers(kafka, version, data_id):
    """The life of a group of the consumer protocol (KIP-848). In version 0 the coordinator draws the ids of members."""
    name, drawn = f"consumers-{version}", "" if version == 0 else "golden-1"
    beat = lambda case, **said: kafka.call("ConsumerGroupHeartbeat", version, case, GroupId=name, **said)
    joining = {"MemberId": drawn, "RebalanceTimeoutMs": 60000, "SubscribedTopicNames": ["data"], "TopicPartitions": []}
    beat("no-group", MemberId="nobody", MemberEpoch=1)
    beat("no-timeout", **(joining | {"RebalanceTimeoutMs": -1}))
    beat("no-subscription", **(joining | {"SubscribedTopicNames": None}))
    beat("unknown-assignor", **joining, ServerAssignor="mine")
    if version >= 1:
        beat("bad-regex", **joining, SubscribedTopicRegex="data(")
    joined = beat("joined", **joining)
    if joined is None:
        return
    me = {"MemberId": joined["MemberId"], "MemberEpoch": joined["MemberEpoch"]}
    beat("nothing-new", **me)
    beat("everything", **(joining | me | {"TopicPartitions": [{"TopicId": data_id, "Partitions": [0, 1]}]}))
    beat("fenced", **(me | {"MemberEpoch": 77}))
    beat("unknown-member", MemberId="nobody", MemberEpoch=1)
    kafka.call("ConsumerGroupDescribe", version, "stable-and-missing", GroupIds=[name, "missing"], IncludeAuthorizedOperations=True)
    kafka.call("DescribeGroups", 5 + version, "of-consumers", Groups=[name])
    kafka.call("ListGroups", 5, "of-consumers", StatesFilter=[], TypesFilter=["consumer"])
    kafka.call("JoinGroup", 9, "into-consumers", GroupId=name, SessionTimeoutMs=10000, RebalanceTimeoutMs=10000, MemberId="",
               ProtocolType="connect", Protocols=[{"Name": "range", "Metadata": SUBSCRIPTION}])
    consumers_offsets(kafka, name, me["MemberId"], me["MemberEpoch"])
    kafka.call("DeleteGroups", 2, "of-consumers", GroupsNames=[name])
    beat("left", **(me | {"MemberEpoch": -1}))
    kafka.call("DeleteGroups", 2, "left-by-consumers", GroupsNames=[name])


def consumers_offsets(kafka, name, member, epoch):
    """Members of such a group commit and fetch by their epochs, since version 9."""
    offset = {"PartitionIndex": 0, "CommittedOffset": 42, "CommittedLeaderEpoch": 0, "CommittedMetadata": "note"}
    for case, v, group, who, at in [
            ("by-epoch", 9, name, member, epoch), ("by-another-epoch", 9, name, member, 77), ("by-nobody", 9, name, "nobody", 1),
            ("by-old-version", 8, name, member, epoch), ("without-group", 8, "missing", "nobody", 1),
            ("without-group", 9, "missing", "nobody", 1)]:
        kafka.call("OffsetCommit", v, case, GroupId=group, GenerationIdOrMemberEpoch=at, MemberId=who, RetentionTimeMs=-1,
                   Topics=[{"Name": "data", "Partitions": [offset]}])
        if v >= 9:
            kafka.call("OffsetFetch", v, case, RequireStable=True, Groups=[
                {"GroupId": group, "MemberId": who, "MemberEpoch": at, "Topics": [{"Name": "data", "PartitionIndexes": [0, 1]}]}])


def static_consumers(kafka, version):
    """A static member leaves for a while, comes back as another one, and the one before is fenced."""
    name = f"static-consumers-{version}"
    drawn = lambda member: "" if version == 0 else member
    beat = lambda case, **said: kafka.call("ConsumerGroupHeartbeat", version, case, GroupId=name, InstanceId="instance", **said)
    joining = {"RebalanceTimeoutMs": 60000, "SubscribedTopicNames": ["data"], "TopicPartitions": []}
    joined = beat("static-joined", MemberId=drawn("golden-2"), **joining)
    if joined is None:
        return
    beat("instance-in-use", MemberId="golden-3", **joining)
    beat("left-for-a-while", MemberId=joined["MemberId"], MemberEpoch=-2)
    kafka.call("ConsumerGroupDescribe", version, "static-member-away", GroupIds=[name])
    returned = beat("static-returned", MemberId=drawn("golden-4"), **joining)
    beat("instance-fenced", MemberId=joined["MemberId"], MemberEpoch=joined["MemberEpoch"])
    beat("static-left", MemberId=returned["MemberId"], MemberEpoch=-1)
    kafka.call("ConsumerGroupDescribe", version, "empty", GroupIds=[name])


def deletions(kafka):
    for v in each("DeleteTopics"):
        if v < 6:
            kafka.call("DeleteTopics", v, "deleted-and-refused", TimeoutMs=10000, TopicNames=[f"placed-{v + 1}", "missing"])
        else:
            kafka.call("DeleteTopics", v, "deleted-and-refused", TimeoutMs=10000,
                       Topics=[{"Name": "placed-7"}, {"Name": "missing"}])


def hold(kafka):
    """The whole conversation, with a broker that is new."""
    cluster(kafka)
    data_id, leader_epoch = topics(kafka)
    configs(kafka)
    broker_configs(kafka)
    placement(kafka)
    records(kafka, data_id, leader_epoch)
    for turn in range(10):
        group(kafka, turn)
    for version in each("ConsumerGroupHeartbeat"):
        consumers(kafka, version, data_id)
        static_consumers(kafka, version)
    deletions(kafka)
