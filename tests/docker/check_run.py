#!/usr/bin/env python3
"""Reads the run of a Docker scenario and checks what is promised of its one fault: python3 check_run.py RUN_DIR NAME."""

import json
import pathlib
import sys

run, name = pathlib.Path(sys.argv[1]), sys.argv[2]
report = json.loads((run / "run.json").read_text())
[fault] = report["faults"]


def check(is_so, what):
    if not is_so:
        sys.exit(f"{name}: {what}\n{json.dumps(fault, indent=1)}\n{report['reasons']}\n"
                 + "\n".join(f"{e['at_s']:8.3f} {e['text']}" for e in report["platform_events"]))


check(report["clean"] and report["ending"] == "completed", f"clean {report['clean']}, {report['ending']}")
check(fault["proof"]["proven"] and fault["proof"]["level"] == "effect", "not proven")
check(report["environment"]["platform"] == "docker" and report["environment"]["replicas"] == 3, "environment")
for phase in report["phases"]:
    check(phase["planned"] == phase["ok"] + sum(phase["errors"].values()) + phase["shed"], "planned is not what came of it")
    check(phase["ok"] > 0.5 * phase["planned"], f"hardly any good answer in {phase['name']}")

texts = [e["text"] for e in report["platform_events"]]
applied = fault["applied_at_s"]
if name in ("kill", "failure"):
    [victim] = fault["targets"]
    number = int(victim.split()[1])
    about = [e for e in report["platform_events"] if e["text"].startswith(f"replica {number} ") and e["at_s"] >= applied - 0.1]
    order = [next((i for i, e in enumerate(about) if word in e["text"]), -1)
             for word in ("left the rotation", "ended with status 137", "is running", "is ready")]
    check(-1 not in order and order == sorted(order), f"events of the victim out of order: {order}")
    others = [t for t in texts if "ended" in t and not t.startswith(f"replica {number} ")]
    check(not others, f"others ended too: {others}")
if name == "pause":
    check(any("is paused" in t for t in texts) and any("goes on" in t for t in texts), "the engine showed no pause")
    check(any("left the rotation" in t for t in texts), "a frozen replica stayed in rotation")
if name == "cut":
    check("off network shop" in fault["proof"]["evidence"], "evidence")
print(f"{name}: {report['verdict']}; {fault['mechanism']}; proof: {fault['proof']['evidence']}")
