#!/usr/bin/env python3
"""Runs every shipped scenario, shortened, through a built binary and checks what is promised of any run.

    python3 tests/smoke.py target/release/resbench [scenarios/pod-kill.toml ...]

Promised: exit code 0, 1 or 3 (5 with the reason, said loudly, where packets cannot be dropped); planned = ok + errors + shed in every phase and span; every fault proven; all files there; no
process, mount or journal left. Verdicts are not judged: these runs are too short for them. Takes some 15 s a scenario.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import tomllib

QUIET, HIT, HELD = "3s", "8s", "4s"  # a phase without faults, a phase with some, a fault that lasts


def shortened(scenario):
    """`--set` for phases of seconds, with every fault in the first two of its phase."""
    sets, seen = [], {}
    for fault in scenario.get("fault", []):
        phase, plus, _ = fault["at"].partition("+")
        assert plus, f"{fault['name']}: `at` names no phase: teach tests/smoke.py to shorten it"
        nth = seen[phase] = seen.get(phase, 0) + 1
        sets.append(f"fault.{fault['name']}.at={phase}+{nth}s")
        if "for" in fault:
            sets.append(f"fault.{fault['name']}.for={HELD}")
    for phase in scenario["phase"]:
        length = HIT if phase["name"] in seen else QUIET
        sets.append(f"phase.{phase['name']}.duration={length}")
    return [word for s in sets for word in ("--set", s)]


def ours(binary):
    """Processes that run this very binary."""
    found = []
    for exe in pathlib.Path("/proc").glob("[0-9]*/exe"):
        try:
            if os.readlink(exe).removesuffix(" (deleted)") == str(binary):
                found.append(int(exe.parent.name))
        except OSError:
            pass  # ended meanwhile, or not ours to look at
    return found


def left_behind(binary, before, mounts):
    new = [pid for pid in ours(binary) if pid not in before]
    mounted = [line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if line not in mounts]
    return [f"process {pid}" for pid in new] + [f"mount {line}" for line in mounted if "fuse" in line]


def check(binary, path, dir):
    scenario = tomllib.loads(path.read_text())
    before, mounts = ours(binary), set(pathlib.Path("/proc/self/mounts").read_text().splitlines())
    env = os.environ | {"XDG_STATE_HOME": str(dir / "state")}
    command = [binary, "run", path, "--quiet", "--reports", dir / "reports", *shortened(scenario)]
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180)
    wrong = []
    if done.returncode == 5 and "network-loss" in path.read_text() and "nftables" in done.stdout + done.stderr:
        [run] = (dir / "reports").glob("*/*/run.json")
        reasons = json.loads(run.read_text())["reasons"]
        print(f"!!! NOT TESTED: {path}: refused: {'; '.join(reasons)}")
        return [] if any("nftables" in reason for reason in reasons) else [f"refused without its reason: {reasons}"]
    if done.returncode not in (0, 1, 3):
        return [f"exit code {done.returncode}", done.stdout, done.stderr]
    if done.stderr:
        wrong.append(f"stderr: {done.stderr}")

    [run] = (dir / "reports").glob("*/*/run.json")
    report = json.loads(run.read_text())
    if report["exit_code"] != done.returncode or not report["clean"] or report["ending"] != "completed":
        wrong.append(f"exit code {done.returncode}; run.json: {[report[k] for k in ('exit_code', 'clean', 'ending')]}")
    for part in report["phases"] + report["spans"]:
        if part["planned"] != part["ok"] + sum(part["errors"].values()) + part["shed"]:
            wrong.append(f"{part['name']}: planned is not ok + errors + shed: {json.dumps(part)[:300]}")
    if not all(phase["ok"] for phase in report["phases"]):
        wrong.append("a phase without a good answer")
    if [f["name"] for f in report["faults"]] != [f["name"] for f in scenario.get("fault", [])]:
        wrong.append(f"faults: {[f['name'] for f in report['faults']]}")
    wrong += [f"{f['name']} is not proven: {f['proof']}" for f in report["faults"] if not f["proof"]["proven"]]
    for name in ("windows.csv", "phases.csv", "latency.hlog", "journal.jsonl", "junit.xml", "summary.md", "report.html"):
        if not (run.parent / name).stat().st_size:
            wrong.append(f"{name} is empty")

    until = time.monotonic() + 5
    while (left := left_behind(binary, before, mounts)) and time.monotonic() < until:
        time.sleep(0.1)
    wrong += [f"left behind: {what}" for what in left]
    revert = subprocess.run([binary, "revert"], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    if revert.returncode or "nothing is left" not in revert.stdout:
        wrong.append(f"revert: {revert.stdout}{revert.stderr}")
    if not wrong:
        proven = ", ".join(f["name"] for f in report["faults"])
        planned = sum(phase["planned"] for phase in report["phases"])
        print(f"ok      {path}: {report['verdict']}, {planned} planned, proven: {proven}")
    return wrong


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    root = pathlib.Path(__file__).resolve().parent.parent
    binary = pathlib.Path(sys.argv[1]).resolve()
    paths = [pathlib.Path(p) for p in sys.argv[2:]] or sorted((root / "scenarios").glob("*.toml"))
    failed = 0
    for path in paths:
        if "io-" in path.read_text() and not os.path.exists("/dev/fuse"):
            print(f"!!! SKIPPED, NOT TESTED: {path}: /dev/fuse is not here")
            continue
        with tempfile.TemporaryDirectory(prefix="resbench-smoke-") as dir:
            wrong = check(binary, path, pathlib.Path(dir))
        if any("less than half" in line for line in wrong):
            # A machine whose CPUs are full has none left to burn, and the fault says so: once more before that counts.
            print(f"!!! again: {path}: {'; '.join(wrong)}")
            with tempfile.TemporaryDirectory(prefix="resbench-smoke-") as dir:
                wrong = check(binary, path, pathlib.Path(dir))
        for line in wrong:
            failed += 1
            print(f"FAILED  {path}: {line}")
        sys.stdout.flush()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
