"""What came out: every report as a line of JSON, and tables of medians with their spread."""

import json
import pathlib
import statistics

from .tools import Failed


class Results:
    """The reports of a run, by broker, work and round."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.raw = open(self.folder / "raw.jsonl", "w")
        self.reports = {}
        self.failures = []

    def attempt(self, number, server, work, load):
        """Keeps the report of a load, or why there is none: a long run does not end because one load did."""
        try:
            report = load()
        except (Failed, OSError) as failure:
            self.failures.append(f"round {number}, {server}, {work}: {failure}")
            self.keep(number, server, work, {"failure": str(failure)})
            print(f"FAILED {self.failures[-1]}", flush=True)
            return None
        self.add(number, server, work, report)
        return report

    def add(self, number, server, work, report):
        """Keeps a report; rounds count from 1, and round 0 warmed up."""
        self.keep(number, server, work, report)
        if number > 0:
            self.reports.setdefault((server, work), {})[number] = report

    def keep(self, number, server, work, report):
        line = {"round": number, "server": server, "work": work, "report": report}
        self.raw.write(json.dumps(line) + "\n")
        self.raw.flush()

    def values(self, server, work, name):
        """A figure of each round; `name` may be a path such as `broker.cpu_seconds`."""
        found = {}
        for number, report in self.reports.get((server, work), {}).items():
            value = report
            for step in name.split("/"):
                value = value.get(step) if isinstance(value, dict) else None
            if value is not None:
                found[number] = value
        return found

    def ratios(self, server, other, work, name):
        """The figure of one broker by that of another, round by round."""
        ours, theirs = self.values(server, work, name), self.values(other, work, name)
        return [ours[number] / theirs[number] for number in ours if theirs.get(number)]

    def write(self, name, text):
        """Writes a table, with what failed in front of it."""
        if self.failures:
            text = "**Failed:**\n\n" + "".join(f"- {line.splitlines()[0]}\n" for line in self.failures) + "\n" + text
        (self.folder / name).write_text(text)
        print(text)


def spread(values, unit=1.0, digits=None):
    """`median [lowest to highest]`, in this unit; a dash if there is none."""
    values = [value / unit for value in (values.values() if isinstance(values, dict) else values)]
    if not values:
        return "-"
    middle = statistics.median(values)
    if digits is None:
        digits = 0 if middle >= 100 else 1 if middle >= 10 else 2

    def shown(value):
        return f"{value:,.{digits}f}"

    if len(values) == 1:
        return shown(middle)
    return f"{shown(middle)} [{shown(min(values))} to {shown(max(values))}]"


def table(header, rows):
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
