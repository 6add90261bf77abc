#!/usr/bin/env python3
"""Checks a run against a real MLflow on PostgreSQL and S3: who answered, when replicas came back, and what proved each fault.

usage: check_store.py RUN_FOLDER EXIT_CODE
"""

import json
import sys
from pathlib import Path

from expecting import expect, finish


def main():
    run = json.loads((Path(sys.argv[1]) / "run.json").read_text())
    expect(run["exit_code"] == int(sys.argv[2]) and run["clean"], f"exit code {sys.argv[2]}, clean")
    versions = {v for p in run["phases"] for v in p["quality"]["versions"]}
    expect(versions == {"1"}, f"version 1 alone answers, whatever the registry does: {versions}")
    faults = {f["name"]: f for f in run["faults"]}
    for name, fault in faults.items():
        expect(fault["proof"]["proven"] and fault["proof"]["level"] == "effect", f"{name}: {fault['proof']['evidence']}")

    def back(kill, until):
        """When the replica of this kill was ready again, seconds after the kill."""
        at = faults[kill]["applied_at_s"]
        own = [e for e in run["platform_events"] if e["kind"] == "ready" and at < e["at_s"] < until]
        return own[0]["at_s"] - at if own else None

    end = max(p["start_at_s"] + p["duration_s"] for p in run["phases"])
    # Without a fault it takes half a second to be started, and about as long to have its model.
    first = back("kill-first", faults["reset-objects"]["applied_at_s"])
    expect(first is not None and first > 2.0, f"with a late database the replica came back {first} s after its kill")
    second, gap = back("kill-second", end), faults["reset-objects"]["reverted_at_s"] - faults["kill-second"]["applied_at_s"]
    expect(second is not None and second > gap, f"it had no artifact until the store was back, {gap:.1f} s: {second} s")
    finish()


if __name__ == "__main__":
    main()
