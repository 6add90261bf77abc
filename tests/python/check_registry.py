#!/usr/bin/env python3
"""Checks a run against a real MLflow registry: who answered when, and that each move of the alias was proven and taken back.

usage: check_registry.py RUN_FOLDER EXIT_CODE
"""

import json
import sys
from pathlib import Path

from expecting import expect, finish


def main():
    run = json.loads((Path(sys.argv[1]) / "run.json").read_text())
    expect(run["exit_code"] == int(sys.argv[2]) and run["clean"], f"exit code {sys.argv[2]}, clean")
    phases = {p["name"]: p["quality"]["versions"] for p in run["phases"]}
    for name, versions in phases.items():
        print(f"versions in {name}: {versions}")
    expect(set(phases["baseline"]) == {"1"}, "version 1 alone answers at baseline")
    expect(phases["promoted"].get("2", 0) > 100, "version 2 answers while the alias names it")
    expect(set(phases["damaged"]) <= {"1", "2"} and phases["damaged"].get("1", 0) > 400, "the damaged version never answers")
    expect(set(phases["missing"]) == {"1"}, "without the alias version 1 goes on")
    expect(set(phases["recovery"]) == {"1"}, "version 1 alone answers afterwards")
    for fault in run["faults"]:
        expect(fault["proof"]["proven"] and fault["proof"]["level"] == "effect", f"{fault['name']}: {fault['proof']['evidence']}")
        if fault["kind"] == "registry-alias":
            expect("(3." in fault["mechanism"] or "(2." in fault["mechanism"], f"{fault['name']}: {fault['mechanism']}")
            expect(fault["reverted_at_s"] is not None, f"{fault['name']} was taken back")
    kill = next(f for f in run["faults"] if f["name"] == "kill-one")
    ready = [e["at_s"] for e in run["platform_events"] if e["kind"] == "ready" and e["at_s"] > kill["applied_at_s"]]
    lost = next(f for f in run["faults"] if f["name"] == "lose-alias")
    expect(ready and min(ready) > lost["reverted_at_s"], f"the killed replica was out until the alias was back ({ready})")
    finish()


if __name__ == "__main__":
    main()
