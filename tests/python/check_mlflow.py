#!/usr/bin/env python3
"""Checks a pod-kill run on real MLflow servers against what is known from elsewhere: the model's own accuracy, and the
access logs of the servers.

usage: check_mlflow.py RUN_FOLDER MODEL_JSON EXIT_CODE
       check_mlflow.py --form RUN_FOLDER MODEL_JSON    (no fault: every answer must be good, and as right as the model is)
"""

import json
import math
import re
import sys
from pathlib import Path

from expecting import expect, finish


def check_sums(run, exit_code):
    for span in run["phases"] + run["spans"]:
        got = span["ok"] + sum(span["errors"].values()) + span["shed"]
        expect(got == span["planned"], f"{span['name']}: ok + errors + shed = {got} of {span['planned']} planned")
    expect(run["exit_code"] == exit_code, f"run.json says exit code {run['exit_code']}, the run exited {exit_code}")
    verdict = {0: "met", 1: "violated", 3: "inconclusive"}[exit_code]
    stopped = run["ending"] == "safety_stop" and exit_code == 1
    expect(run["verdict"] == verdict or stopped, f"verdict {run['verdict']} goes with exit code {exit_code}")
    expect(run["clean"], "nothing is left broken")


def check_fault(run):
    (fault,) = run["faults"]
    proof = fault["proof"]
    expect(proof["proven"] and proof["level"] == "effect", f"proven: {proof['evidence']}")
    (pid,) = re.findall(r"pid (\d+)", fault["targets"][0])
    events = [event for event in run["platform_events"] if event["at_s"] > 0]
    ended = [e for e in events if e["kind"] == "exited" and f"pid {pid})" in e["text"] and "SIGKILL" in e["text"]]
    expect(len(ended) == 1, f"the platform saw pid {pid} end by SIGKILL: {[e['text'] for e in ended]}")
    again = [e for e in events if e["kind"] == "started"]
    expect(len(again) == 1, f"and started one anew: {[e['text'] for e in again]}")
    expect(all(p["ok"] for p in run["phases"]), "good answers in every phase")


def check_accuracy(run, model):
    measured = [phase for phase in run["phases"] if phase["ok"]]
    n = sum(phase["ok"] for phase in measured)
    shares = [phase["quality"]["shares"]["accuracy"] for phase in measured]
    n = sum(share["n"] for share in shares)
    share = sum(one["value"] * one["n"] for one in shares) / n
    # Rows are drawn from those the model was judged on, so that the difference is chance: four standard errors.
    slack = 4 * math.sqrt(model["accuracy"] * (1 - model["accuracy"]) / n)
    words = f"accuracy {share:.4f} over {n} answers, scikit-learn's own is {model['accuracy']:.4f} ± {slack:.4f}"
    expect(abs(share - model["accuracy"]) <= slack, words)


def check_logs(run, folder):
    text = "".join(log.read_text(encoding="utf-8", errors="replace") for log in folder.glob("replica-*.log"))
    answered = len(re.findall(r'"POST /invocations HTTP/1\.1" 200', text))
    other = re.findall(r'"POST /invocations HTTP/1\.1" (?!200)(\d+)', text)
    ok = sum(phase["ok"] for phase in run["phases"])
    sent = sum(phase["sent"] for phase in run["phases"])
    probed = sum(probe["asked"] for probe in run["probes"])
    # A failed request may have been answered to nobody; before the load one more request finds out who answers.
    low, high = ok + probed, sent + probed + 1
    words = f"the servers answered {answered} predictions; resbench had {ok} good of {sent} sent, and {probed} probes"
    expect(low <= answered <= high, words)
    expect(not other, f"no other status in their logs: {other[:5]}")


def check_form(folder, model):
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    for span in run["phases"]:
        expect(span["ok"] == span["planned"] > 0, f"{span['name']}: {span['ok']} of {span['planned']} good: {span['errors']}")
    check_accuracy(run, model)


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "--form":
        check_form(Path(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text(encoding="utf-8")))
        finish()
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    check_sums(run, int(sys.argv[3]))
    check_fault(run)
    check_accuracy(run, json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
    check_logs(run, folder / "logs")
    finish()


if __name__ == "__main__":
    main()
