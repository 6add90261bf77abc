#!/usr/bin/env python3
"""What rows, labels and altered twins cost the load: the same requests with one fixed body, with a body for each row, with a check of
each answer against its label, and with half of them altered.

    python3 benches/peers/bodies.py target/release/resbench [ROUNDS] [SECONDS] [--rate R] [--out DIR]

`just bench-bodies` calls this. Every way sends bodies of about the same length (altered numbers may be longer) to the same nginx, in turn, several rounds; printed are ratios to
the fixed body within a round, median and spread: throughput, CPU and latency in an open loop at R/s (20,000), throughput and CPU in a
closed one, which is all that a CPU can do. Exits with 1 when the median throughput of any way is below 95 % of the fixed body's at R/s.
Loopback only; ends by itself.
"""

import argparse
import json
import pathlib
import shutil
import statistics
import sys
import tempfile

import lab

ROWS = 1000
BUDGET = 0.95
# Answers of 64 bytes have one prediction, 0.125, which is no label: an accuracy of nothing is as dear to find out as one of all.
WAYS = ("fixed", "rows", "labels", "altered")


def arguments():
    parser = argparse.ArgumentParser(description="what rows, labels and altered twins cost the load")
    parser.add_argument("resbench")
    parser.add_argument("rounds", nargs="?", type=int, default=5)
    parser.add_argument("seconds", nargs="?", type=int, default=4)
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--out", type=pathlib.Path, default=lab.ROOT / "target/bodies")
    parser.add_argument("--client-cpu", default="0")
    parser.add_argument("--server-cpu", default="1")
    return parser.parse_args()


def write_dataset(folder):
    """Rows whose MLflow bodies are all of one length, whatever their values."""
    rows = [f"{10 + i % 90}.{i % 10}5,{1000 + i % 9000}" for i in range(ROWS)]
    labelled = [f"{row},{i % 2}" for i, row in enumerate(rows)]
    (folder / "rows.csv").write_text("\n".join(["amount,country", *rows]) + "\n")
    (folder / "labelled.csv").write_text("\n".join(["amount,country,label", *labelled]) + "\n")


def scenario(way, seconds, server, load):
    traffic = {
        "fixed": f"body = '{lab.REQUEST}'",
        "rows": 'dataset = "rows.csv"',
        "labels": 'dataset = "labelled.csv"\nlabel = "label"',
        "altered": 'dataset = "labelled.csv"\nlabel = "label"',
    }[way]
    fault = (
        f'[[fault]]\nname = "drift"\nkind = "payload-drift"\nat = "0s"\nfor = "{seconds}s"\nshare = 0.5\nshift = 1.0\n' if way == "altered" else ""
    )
    return (
        f'name = "{way}"\n[target]\nprotocol = "mlflow"\nurl = "{server.url()}"\n'
        f'[traffic]\n{traffic}\narrivals = "uniform"\ntimeout = "5s"\n'
        f'[[phase]]\nname = "load"\nduration = "{seconds}s"\n{load}\n{fault}'
    )


def run(options, way, load, server, folder):
    """Requests/s, CPU µs per request, p50 and p99 in µs of one run."""
    (folder / "scenario.toml").write_text(scenario(way, options.seconds, server, load))
    command = [options.resbench, "run", "scenario.toml", "--yes", "--quiet", "--output", "json", "--reports", "reports"]
    ran = lab.run_client(command, options.client_cpu, options.seconds + 40, server, folder)
    if ran.status not in (0, 1, 3):
        raise lab.Trouble(f"{way}: exit code {ran.status}\n{ran.stderr}{ran.stdout[-500:]}")
    report = json.loads(ran.stdout)
    (phase,) = report["phases"]
    bad = sum(phase["errors"].values()) + phase["shed"]
    if bad or not phase["ok"]:
        raise lab.Trouble(f"{way}: {phase['ok']} good, {bad} not: {phase['errors']}")
    labelled = phase["metrics"].get("accuracy", {}).get("n", 0)
    if (way in ("labels", "altered")) != (labelled > 0):
        raise lab.Trouble(f"{way}: {labelled} answers were held against a label")
    latency = phase["latency_us"]
    return phase["throughput_rps"], report["generator"]["cpu_s"] / phase["ok"] * 1e6, latency["p50"], latency["p99"]


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def main():
    options = arguments()
    options.resbench = pathlib.Path(options.resbench).resolve()
    lab.end_as_interrupted()
    lab.raise_file_limit()
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    loads = {"closed": f"concurrency = {options.connections}", "open": f"rate = {options.rate}"}
    found = {(loop, way): [] for loop in loads for way in WAYS}
    lines = ["loop,round,way,requests_per_s,cpu_us,p50_us,p99_us"]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_dataset(folder)
        with lab.Nginx(folder / "nginx", options.server_cpu) as server:
            for loop, load in loads.items():
                for turn in range(options.rounds):
                    # Each round begins with another, so that none is always the one after a rest.
                    for way in WAYS[turn % len(WAYS) :] + WAYS[: turn % len(WAYS)]:
                        got = run(options, way, load, server, folder)
                        found[loop, way].append(got)
                        lines.append(",".join([loop, str(turn + 1), way, *(f"{x:.2f}" for x in got)]))
                        lab.say(f"{loop} round {turn + 1} {way}: {got[0]:,.0f}/s, {got[1]:.1f} µs CPU, p50 {got[2]:.0f} µs")
    (options.out / "bodies.csv").write_text("\n".join(lines) + "\n")
    machine = lab.machine()
    print(f"{machine['date']} · {machine['cpu']} · {machine['kernel']} · {options.rounds} rounds of {options.seconds} s\n")
    at = f"{options.rate:,}/s"
    print(f"| ÷ one fixed body, median (lowest–highest) | {at}: requests/s | {at}: CPU | {at}: p50 | closed loop: requests/s | closed loop: CPU |")
    print("|---|---|---|---|---|---|")
    missed = []
    for way in WAYS[1:]:
        ratio = {
            (loop, i): [a[i] / b[i] for a, b in zip(found[loop, way], found[loop, "fixed"])] for loop in loads for i in range(3)
        }
        cells = [ratio["open", 0], ratio["open", 1], ratio["open", 2], ratio["closed", 0], ratio["closed", 1]]
        print(f"| {way} | " + " | ".join(map(spread, cells)) + " |")
        if statistics.median(ratio["open", 0]) < BUDGET:
            missed.append(way)
    print(f"\nbudget: at most 5 % less throughput at {at}: {'missed by ' + ', '.join(missed) if missed else 'met'}")
    return 1 if missed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except lab.Trouble as trouble:
        sys.exit(str(trouble))
