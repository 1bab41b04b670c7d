"""Tests of the checker: every kind of wrong is found, and what Kafka allows is none. python3 -m unittest discover compat-tests/members."""

import sys
import unittest

sys.dont_write_bytecode = True
from checker import Group, missing_of  # noqa: E402
from clients import offsets, parsed, partitions  # noqa: E402

GOOD = """\
10 a assigned 1 0,1
12 a told 11 0:-,1:-
13 a read 0 0 4 5
15 a commit 14 0:5
20 a revoked 1
21 a assigned 2 0
22 b assigned 2 1
24 b told 23 1:-
25 b read 1 0 9 10
27 b commit 26 1:10
"""
ENDS = {0: 5, 1: 10}


def wrong(lines, protocol="eager", ends=None, committed=None):
    """What is wrong with this history of a group of `a` and `b`."""
    group = Group("g", protocol, 2)
    group.joins("a")
    group.joins("b")
    for line in lines.splitlines():
        group.hear(parsed(line + "\n"))
    for member in "ab":
        group.goes(100, member)
    return group.finish(ends or ENDS, committed or ENDS)


class Checker(unittest.TestCase):
    def finds(self, text, *arguments, **named):
        found = wrong(*arguments, **named)
        self.assertTrue(any(text in line for line in found), f"{text!r} is not in {found}")

    def test_a_good_history_is_good(self):
        self.assertEqual(wrong(GOOD), [])
        self.assertEqual(wrong(GOOD, protocol="consumer"), [])

    def test_two_owners_in_one_generation(self):
        self.finds("in generation 2 a and b have 1", GOOD.replace("20 a revoked 1\n", "").replace("21 a assigned 2 0\n", "21 a assigned 2 0,1\n"))

    def test_two_readers_at_one_time_whatever_the_generation(self):
        spoiled = GOOD.replace("20 a revoked 1\n21 a assigned 2 0\n", "").replace("27 b", "26 a revoked 1\n27 b")
        self.finds("a and b had 1 at the same time", spoiled, protocol="consumer")

    def test_who_was_thrown_out_may_learn_of_it_late(self):
        late = GOOD.replace("20 a revoked 1\n21 a assigned 2 0\n", "").replace("27 b", "26 a lost 0,1\n27 b")
        self.assertEqual(wrong(late), [])

    def test_a_partition_that_is_gone_without_a_word(self):
        self.finds("never gave it up", GOOD.replace("20 a revoked 1\n", ""))

    def test_committed_offsets_that_go_back(self):
        self.finds("a commits 3 for 0, where 5", GOOD + "31 a commit 30 0:3\n")
        self.finds("b is told 4 for 0, where 5", GOOD + "31 b told 30 0:4\n")

    def test_no_offset_where_there_was_one(self):
        self.finds("b is told None for 0", GOOD + "31 b told 30 0:-\n")
        self.finds("b is told 0 for 0", GOOD + "31 b told 30 0:0\n")

    def test_who_asked_before_the_commit_was_acknowledged_may_be_told_what_was_before_it(self):
        self.assertEqual(wrong(GOOD + "31 b told 14 0:-\n"), [])

    def test_a_record_that_nobody_read(self):
        self.finds("record 5 of 0 was never read", GOOD, ends={0: 6, 1: 10}, committed={0: 6, 1: 10})

    def test_a_commit_that_is_not_there_at_the_end(self):
        self.finds("4 is committed for 0, which ends at 5", GOOD, committed={0: 4, 1: 10})
        self.finds("None is committed for 1", GOOD, committed={0: 5})

    def test_records_that_are_left_out(self):
        self.finds("was given 4 records of 0", GOOD.replace("read 0 0 4 5", "read 0 0 4 4"))
        self.finds("b reads 1 at 2 and not at 0", GOOD.replace("read 1 0 9 10", "read 1 2 9 8"))

    def test_a_member_that_fails(self):
        self.finds("a failed: Oops", GOOD + "40 a failed Oops\n")

    def test_a_group_at_rest_has_shared_everything(self):
        group = Group("g", "eager", 3)
        self.assertTrue(group.is_settled())
        group.joins("a")
        group.hear(parsed("1 a assigned 1 0,1,2\n"))
        self.assertTrue(group.is_settled())
        group.joins("b")
        self.assertFalse(group.is_settled())
        group.hear(parsed("2 a revoked 2\n"))
        self.assertFalse(group.is_settled())
        group.hear(parsed("3 b assigned 2 2\n"))
        self.assertTrue(group.is_settled())

    def test_words_are_read(self):
        self.assertEqual((partitions("-"), partitions("1,3")), (set(), {1, 3}))
        self.assertEqual((offsets(""), offsets("0:5,1:-")), ({}, {0: 5, 1: None}))
        self.assertEqual([missing_of([(0, 4), (6, 9)], 10), missing_of([(3, 5), (0, 2)], 6)], [5, None])


if __name__ == "__main__":
    unittest.main()
