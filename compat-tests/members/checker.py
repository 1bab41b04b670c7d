"""What must hold of a group, whatever happens to it. One `Group` hears the events of its members, and remembers what is wrong.

A partition has one reader: the times between `assigned` and `revoked` of two members do not overlap, and no generation of the
classic protocol gives a partition to two. A member that was thrown out while it stood still learns of it late (`lost`); until
then it thinks that it has what others have by now, in a later generation, which Kafka allows. How often that was is counted.

Committed offsets never go back: what a member is told when it gets a partition, and what is acknowledged, is not below what had
been acknowledged or told before it was asked. Once a commit was acknowledged, nobody is told that there is none, or 0.

Every record is read at least once; a member begins where the group had committed, and leaves nothing out.
"""

import collections

from clients import offsets, partitions

# What a member has: since when, and in which generation.
Tenure = collections.namedtuple("Tenure", "since generation")


class Group:
    """A group of one protocol that reads one topic of so many partitions."""

    def __init__(self, name, protocol, partition_count):
        self.name, self.protocol, self.partition_count = name, protocol, partition_count
        # Who should have a share, and who was asked to go.
        self.members, self.leaving = set(), set()
        self.had = collections.defaultdict(dict)
        self.past = collections.defaultdict(list)
        self.by_generation = {}
        self.known = collections.defaultdict(list)
        self.reads = collections.defaultdict(list)
        self.next = {}
        self.wrong = []
        self.counts = collections.Counter()

    def joins(self, member):
        self.members.add(member)

    def leaves(self, member):
        self.members.discard(member)
        self.leaving.add(member)

    def hear(self, event):
        """An event of one of its members."""
        getattr(self, event.kind)(event.at, event.name, *event.words)
        self.counts[event.kind] += 1

    def complain(self, at, text):
        self.wrong.append(f"{self.name}: {text} (at {at})")

    def assigned(self, at, member, generation, word):
        generation, mine = int(generation), partitions(word)
        had = self.had[member]
        for partition in set(had) - mine:
            self.complain(at, f"{member} has no longer {partition}, and never gave it up")
            self.ends(at, member, partition)
        for partition in mine:
            if self.protocol != "consumer":
                owner = self.by_generation.setdefault((generation, partition), member)
                if owner != member:
                    self.complain(at, f"in generation {generation} {owner} and {member} have {partition}")
            if partition not in had:
                had[partition] = Tenure(at, generation)
                self.next.pop((member, partition), None)

    def revoked(self, at, member, word):
        for partition in partitions(word):
            self.ends(at, member, partition)

    def lost(self, at, member, word):
        for partition in partitions(word):
            tenure = self.had[member].pop(partition, None)
            # Since when it was somebody else's nobody told it.
            if tenure:
                self.past[partition].append((tenure.since, tenure.since, member))

    def ends(self, at, member, partition):
        tenure = self.had[member].pop(partition, None)
        if tenure:
            self.past[partition].append((tenure.since, at, member))

    def left(self, at, member):
        self.goes(at, member)

    def goes(self, at, member):
        """It left, or its process was killed."""
        for partition in list(self.had[member]):
            self.ends(at, member, partition)
        self.members.discard(member)
        self.leaving.discard(member)

    def told(self, at, member, begun, word=""):
        for partition, offset in offsets(word).items():
            self.is_not_below(int(begun), partition, offset, f"{member} is told")
            self.next[member, partition] = offset or 0
            if offset is not None:
                self.known[partition].append((at, offset))

    def commit(self, at, member, begun, word=""):
        for partition, offset in offsets(word).items():
            self.is_not_below(int(begun), partition, offset, f"{member} commits")
            self.known[partition].append((at, offset))

    def is_not_below(self, begun, partition, offset, who):
        known = [one for at, one in self.known[partition] if at < begun]
        if known and (offset is None or offset < max(known)):
            self.complain(begun, f"{who} {offset} for {partition}, where {max(known)} was known")

    def untold(self, at, member, why):
        pass

    def uncommitted(self, at, member, why):
        pass

    def read(self, at, member, *words):
        partition, first, last, count = map(int, words)
        self.reads[partition].append((first, last))
        if last - first + 1 != count:
            self.complain(at, f"{member} was given {count} records of {partition} from {first} to {last}")
        expected = self.next.get((member, partition))
        if expected is not None and first != expected:
            self.complain(at, f"{member} reads {partition} at {first} and not at {expected}")
        self.next[member, partition] = last + 1
        self.counts["records"] += count

    def failed(self, at, member, *why):
        self.complain(at, f"{member} failed: {' '.join(why)}")

    def is_settled(self):
        """Whether every partition has a reader, everybody has its share, and nobody is still without a word."""
        if not self.members:
            return True
        shares = [len(self.had[member]) for member in self.members]
        least, most = divmod(self.partition_count, len(self.members))
        return sum(shares) == self.partition_count and min(shares) >= least and max(shares) <= least + (most > 0)

    def finish(self, ends, committed):
        """All is over: `ends` of the partitions, and what an administrator is told was `committed`."""
        for partition, tenures in self.past.items():
            for (_, until, one), (since, _, other) in zip(sorted(tenures), sorted(tenures)[1:]):
                if since < until and one != other:
                    self.complain(since, f"{one} and {other} had {partition} at the same time")
        for partition, end in ends.items():
            missing = missing_of(self.reads[partition], end)
            if missing is not None:
                self.complain(0, f"record {missing} of {partition} was never read")
            if end and committed.get(partition) != end:
                self.complain(0, f"{committed.get(partition)} is committed for {partition}, which ends at {end}")
        return self.wrong


def missing_of(reads, end):
    """The first offset below `end` that is in none of these pairs of first and last."""
    expected = 0
    for first, last in sorted(reads):
        if first > expected:
            break
        expected = max(expected, last + 1)
    return expected if expected < end else None
