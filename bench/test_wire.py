"""Tests of the requests of groups as bytes: python3 -m unittest discover bench."""

import struct
import unittest

from drive import wire
from drive.tools import Failed


class Requests(unittest.TestCase):
    def test_the_length_in_front_is_that_of_what_follows(self):
        for made in (wire.find_coordinator("g"), wire.offset_fetch("g", "t", 3), wire.consumer_heartbeat("g", "m", "t"),
                     wire.offset_commit("g", "t", 1)[0]):
            self.assertEqual(struct.unpack_from(">i", made)[0], len(made) - 4)
            self.assertEqual(bytes(made[wire.CORRELATION_AT:wire.CORRELATION_AT + 4]), bytes(4))

    def test_the_offset_of_a_commit_is_where_it_is_said_to_be(self):
        made, at = wire.offset_commit("g", "t", 1)
        made[at:at + 8] = (42).to_bytes(8, "big")
        self.assertEqual(struct.unpack_from(">iqi", made, at - 4), (1, 42, -1))


class Answers(unittest.TestCase):
    def test_a_coordinator_is_read(self):
        head = struct.pack(">ii", 0, 0)
        answer = head + struct.pack(">hhih", 0, -1, 2, 9) + b"localhost" + struct.pack(">i", 9092)
        self.assertEqual(wire.coordinator_of(answer), ("localhost", 9092))
        with self.assertRaisesRegex(Failed, "error 15"):
            wire.coordinator_of(head + struct.pack(">hhih", 15, -1, -1, 0) + struct.pack(">i", -1))

    def test_offsets_are_read_and_an_error_is_no_offset(self):
        def answer(code, last):
            lines = struct.pack(">iqhh", 0, 7, -1, 0) + struct.pack(">iqh", 1, -1, 2) + b"no" + struct.pack(">h", code)
            return struct.pack(">iiih", 0, 0, 1, 1) + b"t" + struct.pack(">i", 2) + lines + struct.pack(">h", last)

        self.assertEqual(wire.offsets_of(answer(0, 0)), {0: 7, 1: -1})
        for broken in (answer(14, 0), answer(0, 16)):
            with self.assertRaises(Failed):
                wire.offsets_of(broken)


if __name__ == "__main__":
    unittest.main()
