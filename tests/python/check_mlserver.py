#!/usr/bin/env python3
"""Checks a pod-kill run on real MLServers against what is known from elsewhere: the model's own accuracy, the version that its
settings name, and that nothing but the fault makes answers fail.

usage: check_mlserver.py RUN_FOLDER MODEL_JSON EXIT_CODE
"""

import json
import math
import sys
from pathlib import Path

from expecting import expect, finish


def check_sums(run, exit_code):
    for span in run["phases"] + run["spans"]:
        got = span["ok"] + sum(span["errors"].values()) + span["shed"]
        expect(got == span["planned"], f"{span['name']}: ok + errors + shed = {got} of {span['planned']} planned")
        odd = {k: n for k, n in span["errors"].items() if k in ("bad_answer", "status_4xx", "status_5xx")}
        expect(not odd, f"{span['name']}: every whole answer is a good one: {odd}")
    expect(run["exit_code"] == exit_code, f"run.json says exit code {run['exit_code']}, the run exited {exit_code}")
    expect(run["clean"], "nothing is left broken")
    (fault,) = run["faults"]
    expect(fault["proof"]["proven"], f"proven: {fault['proof']['evidence']}")
    expect(all(p["ok"] for p in run["phases"]), "good answers in every phase")


def check_quality(run, model):
    shares = [phase["quality"]["shares"]["accuracy"] for phase in run["phases"] if phase["ok"]]
    n = sum(share["n"] for share in shares)
    right = sum(share["value"] * share["n"] for share in shares)
    # Rows are those that the model was judged on, so that the difference is chance: four standard errors.
    slack = 4 * math.sqrt(model["accuracy"] * (1 - model["accuracy"]) / n)
    words = f"accuracy {right / n:.4f} over {n} rows, scikit-learn's own is {model['accuracy']:.4f} ± {slack:.4f}"
    expect(abs(right / n - model["accuracy"]) <= slack, words)
    versions = {name for phase in run["phases"] for name in phase["quality"]["versions"]}
    expect(versions == {"3"}, f"every answer names version 3 of the model's settings: {versions}")
    for phase in run["phases"]:
        same = phase["quality"]["shares"].get("agreement")
        expect(same is None or same["value"] == 1, f"{phase['name']}: the same row, the same answer: {same}")


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    check_sums(run, int(sys.argv[3]))
    check_quality(run, json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
    finish()


if __name__ == "__main__":
    main()
