#!/usr/bin/env python3
"""The comparison must be able to fail: every field of Kafka's answers, altered, is found, and so is every byte too many or too few.

    test_comparison.py JAR
"""

import collections
import contextlib
import copy
import io
import sys
import unittest

sys.dont_write_bytecode = True
from check import compare, recorded  # noqa: E402
from answers import Answers, Undecodable  # noqa: E402
from comparison import PER_RUN, Allowed, differences, matches, matches_any  # noqa: E402
from kafka_schema import Schemas  # noqa: E402

ONE = """
[[difference]]
api = "Produce"
versions = "3-4"
case = "stored*"
paths = ["responses[*].partition"]
kafka = "1"
ours = "2"
reason = "a test"
"""


def newest():
    """The answers to the newest version of each case of each API, decoded: (API, version, case, answer)."""
    last = {}
    for api, version, case in recorded():
        if case != "unsupported":
            last[api, case] = max(version, last.get((api, case), 0))
    return [(api, version, case, decoded(api, version, case)) for (api, case), version in sorted(last.items())]


def decoded(api, version, case):
    return DECODERS.decode(api, version, recorded()[api, version, case])


def fields(value, place=(), name=""):
    """Every field below, structs' arrays included: (how to get there, its name without the elements)."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from fields(below, place + (key,), f"{name}.{key}")
    else:
        if name:
            yield place, name
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield from fields(value[0], place + (0,), f"{name}[]")


def alter(answer, place):
    """The answer with another value in this place."""
    altered = copy.deepcopy(answer)
    *way, last = place
    holder = altered
    for step in way:
        holder = holder[step]
    holder[last] = other(holder[last])
    return altered


def other(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1000
    if isinstance(value, list):
        return value[1:] if value else None
    if isinstance(value, (set, frozenset)):
        return set(value) ^ {99}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)[:-1] + bytes([bytes(value)[-1] ^ 1]) if value else b"x"
    return "other" if value is None or isinstance(value, str) else None


class Comparison(unittest.TestCase):
    def test_an_answer_is_no_different_from_itself(self):
        for api, version, case, answer in newest():
            self.assertEqual(differences(api, copy.deepcopy(answer), answer, 0), [], (api, version, case))

    def test_every_altered_field_is_found(self):
        tried, unseen = 0, []
        for api, version, case, answer in newest():
            seen = set()
            for place, name in fields(answer):
                pattern = name.lstrip(".").replace("[]", "[0]")
                if name in seen or name.endswith(".log_dir") or matches_any(PER_RUN["*"] + PER_RUN.get(api, ()), pattern):
                    continue
                if api == "DescribeLogDirs" and matches_any(PER_RUN[api], pattern.replace("results[0]", "folder")):
                    continue
                seen.add(name)
                tried += 1
                if not differences(api, copy.deepcopy(answer), alter(answer, place), 0):
                    unseen.append((api, version, case, name))
        self.assertEqual(unseen, [])
        self.assertGreater(tried, 400)

    def test_a_value_of_every_run_that_is_gone_is_found(self):
        answer = decoded("Metadata", 12, "named")
        self.assertEqual(differences("Metadata", answer, answer | {"cluster_id": "another"}, 0), [])
        self.assertEqual(differences("Metadata", answer, answer | {"cluster_id": None}, 0), [("cluster_id", "some", "none")])

    def test_another_order_is_found(self):
        answer = decoded("OffsetCommit", 8, "stored-and-refused")
        turned = copy.deepcopy(answer)
        turned["topics"][0]["partitions"].reverse()
        self.assertEqual([path for path, _, _ in differences("OffsetCommit", answer, turned, 0)], ["topics[data].partitions.order"])

    def test_an_epoch_that_is_one_too_many_is_found(self):
        answer = decoded("ListOffsets", 8, "latest")
        ours = copy.deepcopy(answer)
        ours["topics"][0]["partitions"][0]["leader_epoch"] += 1
        self.assertEqual(differences("ListOffsets", answer, ours, 1), [])
        self.assertEqual(len(differences("ListOffsets", answer, ours, 0)), 1)


class Decoding(unittest.TestCase):
    def test_a_byte_too_many_or_too_few_is_no_answer(self):
        count = collections.Counter()
        for (api, version, case), frame in recorded().items():
            version = 0 if case == "unsupported" else version
            DECODERS.decode(api, version, frame)
            for altered in (frame + b"\0", frame[:-1]):
                with self.assertRaises(Undecodable, msg=(api, version, case)):
                    DECODERS.decode(api, version, altered)
                count[api] += 1
        self.assertGreater(len(count), 30)

    def test_the_header_of_another_version_is_no_answer(self):
        frame = recorded()["Metadata", 9, "named"]
        with self.assertRaises(Undecodable):
            DECODERS.decode("Metadata", 9, frame[:4] + frame[5:])


class Told:
    """A broker that gave these answers, all of Kafka's if nothing else is said, and advertises what it answered."""

    first_epoch = 0

    def __init__(self, answers, advertised=frozenset()):
        self.schemas, self.answers = DECODERS.schemas, answers
        self.shown = {cell[:2] for cell in recorded() if cell[2] != "unsupported"} | advertised

    def advertised(self):
        return self.shown


class Judgement(unittest.TestCase):
    def complaints(self, told, allowed=""):
        with contextlib.redirect_stdout(io.StringIO()):
            return list(compare(told, Allowed(allowed)))

    def test_kafka_differs_in_nothing_from_kafka(self):
        self.assertEqual(self.complaints(Told(recorded())), [])

    def test_a_bit_of_one_answer_is_one_complaint(self):
        answers = recorded()
        frame = bytearray(answers["Heartbeat", 4, "alive"])
        frame[-2] ^= 1
        answers["Heartbeat", 4, "alive"] = bytes(frame)
        self.assertEqual(self.complaints(Told(answers)), ["Heartbeat v4 alive: error_code: Kafka: 0; here: 1"])

    def test_an_answer_that_cannot_be_decoded_is_a_complaint(self):
        answers = recorded()
        answers["Produce", 9, "stored-and-refused"] += b"\0"
        self.assertEqual([line[:30] for line in self.complaints(Told(answers))], ["Produce v9 stored-and-refused:"])

    def test_a_case_that_was_not_reached_is_a_complaint(self):
        answers = recorded()
        del answers["JoinGroup", 9, "joined"]
        self.assertEqual(self.complaints(Told(answers)), ["JoinGroup v9 joined: not asked"])

    def test_a_case_that_kafka_was_not_asked_is_a_complaint(self):
        answers = recorded()
        answers["JoinGroup", 9, "another"] = answers["JoinGroup", 9, "joined"]
        self.assertEqual(self.complaints(Told(answers)), ["JoinGroup v9 another: not recorded"])

    def test_an_advertised_version_without_a_case_is_a_complaint(self):
        told = Told(recorded(), frozenset({("OffsetCommit", 10)}))
        expect = ["OffsetCommit v10: advertised, and there is no answer of Kafka's to compare with"]
        self.assertEqual(self.complaints(told), expect)

    def test_an_allowed_difference_that_is_none_is_a_complaint(self):
        complaints = self.complaints(Told(recorded()), ONE)
        self.assertEqual([line[:10] for line in complaints], ["Produce v3", "Produce v4"])


class List(unittest.TestCase):
    def test_a_difference_is_allowed_in_its_versions_with_its_values_only(self):
        allowed = Allowed(ONE)
        self.assertTrue(allowed.allows("Produce", 3, "stored", "responses[data].partition", "1", "2"))
        for other_difference in (
                ("Produce", 5, "stored", "responses[data].partition", "1", "2"),
                ("Fetch", 3, "stored", "responses[data].partition", "1", "2"),
                ("Produce", 3, "refused", "responses[data].partition", "1", "2"),
                ("Produce", 3, "stored", "responses[data].partitions", "1", "2"),
                ("Produce", 3, "stored", "responses[data].partition", "0", "2"),
                ("Produce", 3, "stored", "responses[data].partition", "1", "3")):
            self.assertFalse(allowed.allows(*other_difference), other_difference)

    def test_what_no_longer_differs_in_one_of_its_versions_is_stale(self):
        allowed = Allowed(ONE)
        allowed.allows("Produce", 3, "stored", "responses[data].partition", "1", "2")
        self.assertEqual(list(allowed.stale()), [("Produce", 4, "stored*", "responses[*].partition")])

    def test_a_difference_without_a_reason_is_refused(self):
        with self.assertRaises(ValueError):
            Allowed(ONE.replace("a test", ""))

    def test_a_star_stands_for_anything(self):
        for pattern, whole, expect in [("a[*].b", "a[x].b", True), ("*", "", True), ("a*b*c", "abc", True), ("a*a", "a", False),
                                       ("a", "ab", False), ("*b", "abc", False), ("a*b*b", "ab", False)]:
            self.assertEqual(matches(pattern, whole), expect, (pattern, whole))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    DECODERS = Answers(Schemas(sys.argv.pop()))
    unittest.main()
