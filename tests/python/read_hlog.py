#!/usr/bin/env python3
"""Reads an HdrHistogram interval log with the Python port (package `hdrhistogram`) and prints, as JSON, for each tag
how many values there are, and p50 and p99 in nanoseconds. Untagged lines have the tag "". Fails on a line it cannot read,
and, with EXPECTED (the same JSON), on another count or a percentile more than 0.2 % off.

usage: read_hlog.py FILE [EXPECTED]
"""

import json
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

LOWEST, HIGHEST, DIGITS = 1_000, 3_600_000_000_000, 3


def tags_of(path):
    """Every tag of the log, in order, the untagged first; counts lines by ourselves, so that none is skipped silently."""
    tags = {}
    with open(path, encoding="utf-8") as log:
        for line in log:
            if line.startswith(("#", '"')) or not line.strip():
                continue
            tag = line[4 : line.index(",")] if line.startswith("Tag=") else ""
            tags[tag] = tags.get(tag, 0) + 1
    return tags


def read(path):
    merged = {}
    lines = {}
    reader = HistogramLogReader(path, HdrHistogram(LOWEST, HIGHEST, DIGITS))
    while True:
        interval = reader.get_next_interval_histogram()
        if interval is None:
            break
        tag = interval.get_tag() or ""
        lines[tag] = lines.get(tag, 0) + 1
        merged.setdefault(tag, HdrHistogram(LOWEST, HIGHEST, DIGITS)).add(interval)
    reader.close()
    if lines != tags_of(path):
        sys.exit(f"{path}: read {lines}, the file holds {tags_of(path)}")
    return {
        tag: {
            "lines": lines[tag],
            "count": h.get_total_count(),
            "p50": h.get_value_at_percentile(50),
            "p99": h.get_value_at_percentile(99),
        }
        for tag, h in sorted(merged.items())
    }


def differences(read, expected):
    if sorted(read) != sorted(expected):
        yield f"tags {sorted(read)}, expected {sorted(expected)}"
        return
    for tag, want in expected.items():
        got = read[tag]
        if got["count"] != want["count"]:
            yield f"{tag!r}: {got['count']} values, expected {want['count']}"
        for p in ("p50", "p99"):
            if abs(got[p] - want[p]) > 0.002 * want[p]:
                yield f"{tag!r}: {p} is {got[p]}, expected {want[p]}"


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    result = read(sys.argv[1])
    print(json.dumps(result, indent=1))
    if len(sys.argv) == 3:
        with open(sys.argv[2], encoding="utf-8") as file:
            wrong = list(differences(result, json.load(file)))
        if wrong:
            sys.exit("\n".join(wrong))
