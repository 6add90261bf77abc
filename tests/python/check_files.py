#!/usr/bin/env python3
"""Reads the files of a run as other programs would, and checks that they agree with run.json and with each other.

usage: check_files.py RUN_FOLDER RUN_SCHEMA EXIT_CODE
"""

import csv
import json
import math
import struct
import sys
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path

import jsonschema
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}
WITHIN = 0.002  # of a value, which is what three digits and the rounding of two writers may differ by

problems = []


def same(what, got, want):
    if got != want:
        problems.append(f"{what}: {got}, expected {want}")


def near(what, got, want):
    if got is None or not abs(got - want) <= WITHIN * want:
        problems.append(f"{what}: {got}, expected {want} within {WITHIN:.1%}")


def done(words, before):
    """Says that a check passed, if it did."""
    if len(problems) == before:
        print(f"ok: {words}")


# --- latency.hlog ------------------------------------------------------------------------------------


def read_log(path):
    """Everything under each tag; lines without one are under None."""
    tags, lines = {}, 0
    reader = HistogramLogReader(str(path), HdrHistogram(1_000, 3_600_000_000_000, 3))
    while (interval := reader.get_next_interval_histogram()) is not None:
        lines += 1
        tags.setdefault(interval.get_tag(), HdrHistogram(1_000, 3_600_000_000_000, 3)).add(interval)
    reader.close()
    # The reader ends at a line it does not know, without a word: so count them ourselves.
    text = path.read_text(encoding="utf-8").splitlines()
    same("lines that HdrHistogram reads", lines, sum(1 for line in text if line and line[0] not in '#"'))
    return tags


def values(histogram):
    """(value in µs, count), upwards."""
    for item in histogram.get_recorded_iterator():
        yield histogram.get_highest_equivalent_value(item.value_iterated_to) / 1e3, item.count_at_value_iterated_to


def at_rank(pairs, rank):
    seen = 0
    for value, count in pairs:
        seen += count
        if seen >= rank:
            return value
    return math.inf


def check_log(run, path):
    before = len(problems)
    tags = read_log(path)
    empty = HdrHistogram(1_000, 3_600_000_000_000, 3)
    total = 0
    for phase in run["phases"]:
        name = phase["name"]
        ok, failed = (tags.get(f"phase:{name}.{outcome}", empty) for outcome in ("ok", "failed"))
        total += phase["sent"]
        same(f"{name}: good answers in the log", ok.get_total_count(), phase["ok"])
        # A shed request was never sent and has no latency, so it is not in the log.
        same(f"{name}: failed requests in the log", failed.get_total_count(), sum(phase["errors"].values()))
        check_percentiles(name, phase, ok)
    same("requests in the untagged lines", tags[None].get_total_count(), total)
    done(f"latency.hlog: counts and percentiles of {len(tags) - 1} tags, {total} requests", before)


def check_percentiles(name, phase, ok):
    pairs = list(values(ok))
    n = phase["ok"]
    if n == 0:
        return
    for key, q in QUANTILES.items():
        # Nearest rank. Good answers only, then all that was planned, where what failed or was shed took for ever.
        near(f"{name}: latency_ok_us.{key}", phase["latency_ok_us"][key], at_rank(pairs, math.ceil(q * n)))
        want = at_rank(pairs, math.ceil(q * phase["planned"]))
        if math.isinf(want):
            same(f"{name}: latency_us.{key}, infinite", phase["latency_us"][key], None)
        else:
            near(f"{name}: latency_us.{key}", phase["latency_us"][key], want)
        # HdrHistogram's own answer rounds the rank instead of taking the next: one value to either side.
        own = ok.get_value_at_percentile(q * 100) / 1e3
        low, high = at_rank(pairs, max(1, math.ceil(q * n) - 1)), at_rank(pairs, min(n, math.ceil(q * n) + 1))
        if not low * (1 - WITHIN) <= own <= high * (1 + WITHIN):
            problems.append(f"{name}: HdrHistogram says {key} is {own} µs, not within {low} … {high}")
    near(f"{name}: latency_ok_us.max", phase["latency_ok_us"]["max"], pairs[-1][0])


# --- run.json, CSV -----------------------------------------------------------------------------------


def check_run(run, schema, exit_code):
    before = len(problems)
    jsonschema.Draft202012Validator.check_schema(schema)
    for error in jsonschema.Draft202012Validator(schema).iter_errors(run):
        problems.append(f"run.json at {error.json_path}: {error.message}")
    same("exit_code in run.json", run["exit_code"], exit_code)
    for span in run["phases"] + run["spans"]:
        name = span["name"]
        same(f"{name}: ok + errors + shed", span["ok"] + sum(span["errors"].values()) + span["shed"], span["planned"])
        same(f"{name}: sent + shed", span["sent"] + span["shed"], span["planned"])
        near(f"{name}: error_rate", 1 - span["error_rate"], span["ok"] / span["planned"])
        near(f"{name}: offered_rps", span["offered_rps"], span["planned"] / span["duration_s"])
    if not all(fault["proof"]["proven"] for fault in run["faults"]):
        problems.append(f"a fault is not proven: {run['faults']}")
    same("clean", run["clean"], True)
    done(f"run.json: fits its schema; planned = ok + errors + shed in {len(run['phases'])} phases", before)


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def number(cell):
    """An empty cell is missing and `inf` infinite; run.json has null for both."""
    return None if cell in ("", "inf") else float(cell)


def check_phases(run, path):
    before = len(problems)
    table = rows(path)
    spans = run["phases"] + run["spans"]
    same("rows of phases.csv", [row["name"] for row in table], [span["name"] for span in spans])
    for row, span in zip(table, spans):
        for key in ("planned", "sent", "ok", "shed", "altered"):
            same(f"phases.csv {span['name']} {key}", int(row[key]), span[key])
        for times in ("latency", "latency_ok", "service", "connect", "lag"):
            for key, value in span[f"{times}_us"].items():
                cell = f"{times}_{key}" if key in ("n", "overflow") else f"{times}_{key}_us"
                same(f"phases.csv {span['name']} {cell}", number(row[cell]), value)
        errors = {key.removeprefix("errors_"): int(row[key]) for key in row if key.startswith("errors_")}
        same(f"phases.csv {span['name']} errors", {k: v for k, v in errors.items() if v}, span["errors"])
    done(f"phases.csv: {len(table)} rows say what run.json says", before)


def check_windows(run, path):
    before = len(problems)
    table = rows(path)
    sums = {}
    for row in table:
        for key, cell in row.items():
            if key in ("due_planned", "due_ok", "due_failed", "due_shed") or key.startswith("due_errors_"):
                sums.setdefault(row["phase"], {}).setdefault(key, 0)
                sums[row["phase"]][key] += int(cell)
    for phase in run["phases"]:
        got = sums[phase["name"]]
        want = {f"due_{key}": phase[key] for key in ("planned", "ok", "shed")}
        want["due_failed"] = sum(phase["errors"].values())
        want |= {f"due_errors_{key}": count for key, count in phase["errors"].items()}
        same(f"windows.csv {phase['name']}", {k: v for k, v in got.items() if v or k in want}, want)
    for key, total in (("done_ok", "ok"), ("done_failed", "errors")):
        got = sum(int(row[key]) for row in table)
        want = sum(p["ok"] if total == "ok" else sum(p["errors"].values()) for p in run["phases"])
        # What ended after the last window is in none; what was never answered ended nowhere.
        if not want - run["generator"]["max_in_flight"] <= got <= want:
            problems.append(f"windows.csv: {key} sums up to {got}, run.json has {want}")
    done(f"windows.csv: {len(table)} windows sum up to run.json", before)


# --- reports -----------------------------------------------------------------------------------------


def check_junit(run, path):
    before = len(problems)
    root = ET.parse(path).getroot()
    cases = root.findall(".//testcase")
    count = lambda verdict: sum(o["verdict"] == verdict for o in run["objectives"])
    want = {
        "failure": count("violated") + (run["ending"] == "safety_stop"),
        "skipped": count("inconclusive"),
        "error": sum(not f["proof"]["proven"] for f in run["faults"])
        + (run["ending"] in ("interrupted", "not_started"))
        + (not run["clean"]),
    }
    for kind, expected in want.items():
        same(f"junit.xml <{kind}>", sum(case.find(kind) is not None for case in cases), expected)
    totals = {"tests": len(cases), "failures": want["failure"], "skipped": want["skipped"], "errors": want["error"]}
    for element in [root, *root.findall("testsuite")]:
        same(f"junit.xml <{element.tag}>", {k: int(element.get(k, 0)) for k in totals}, totals)
    names = [(case.get("classname"), case.get("name")) for case in cases]
    same("junit.xml: names that occur twice", len(names) - len(set(names)), 0)
    done(f"junit.xml: {len(cases)} cases, {want}", before)


def check_charts(folder):
    before = len(problems)
    svgs, pngs = sorted(folder.glob("*.svg")), sorted(folder.glob("*.png"))
    same("names of the charts", [p.stem for p in pngs], [s.stem for s in svgs])
    if len(svgs) < 4:
        problems.append(f"only {len(svgs)} charts")
    for svg in svgs:
        root = ET.parse(svg).getroot()
        same(f"{svg.name}: root", root.tag, "{http://www.w3.org/2000/svg}svg")
        if not any("".join(text.itertext()).strip() for text in root.iter("{http://www.w3.org/2000/svg}text")):
            problems.append(f"{svg.name} has no words")
    for png in pngs:
        check_png(png)
    done(f"charts: {len(svgs)} SVG and {len(pngs)} PNG files are whole", before)


def check_png(path):
    """Every chunk's checksum, and as many pixels as the head promises."""
    data = path.read_bytes()
    same(f"{path.name}: signature", data[:8], b"\x89PNG\r\n\x1a\n")
    at, kinds, pixels, head = 8, [], b"", None
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        (crc,) = struct.unpack(">I", data[at + 8 + length : at + 12 + length])
        same(f"{path.name}: checksum of {kind}", zlib.crc32(kind + body), crc)
        kinds.append(kind)
        pixels += body if kind == b"IDAT" else b""
        head = struct.unpack(">IIBBBBB", body) if kind == b"IHDR" else head
        at += 12 + length
    same(f"{path.name}: first and last chunk", (kinds[0], kinds[-1]), (b"IHDR", b"IEND"))
    width, height, bits, colour, *_ = head
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    same(f"{path.name}: bytes of pixels", len(zlib.decompress(pixels)), height * (1 + (width * channels * bits + 7) // 8))
    if width < 400 or height < 200:
        problems.append(f"{path.name} is only {width} × {height}")


def check_summary(run, path):
    before = len(problems)
    text = path.read_text(encoding="utf-8").replace("\\", "")  # Markdown's escapes
    if not len(text.encode()) < 200 * 1024:
        problems.append(f"summary.md has {len(text.encode())} bytes; a CI job summary takes less")
    for word in [run["scenario"]["name"], run["verdict"]] + [o["metric"] for o in run["objectives"]]:
        if word.lower() not in text.lower():
            problems.append(f"summary.md does not speak of `{word}`")
    done(f"summary.md: {len(text.encode())} bytes", before)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    check_run(run, json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")), int(sys.argv[3]))
    check_log(run, folder / "latency.hlog")
    check_phases(run, folder / "phases.csv")
    check_windows(run, folder / "windows.csv")
    check_junit(run, folder / "junit.xml")
    check_charts(folder / "charts")
    check_summary(run, folder / "summary.md")
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
