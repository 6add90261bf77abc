#!/usr/bin/env python3
"""A long run at a steady rate: memory flat, lag flat, every count exact, no drift.

    python3 benches/peers/soak.py target/release/resbench [SECONDS] [RATE] [--out DIR]

`just soak` calls this: 10 minutes at 20,000/s against nginx on a CPU of its own. Nothing here is taken on resbench's word alone:
memory is read from /proc, and what was sent, and how fast, from nginx's own counter on this script's own clock. Exits with 1 when
a bound is broken. Writes soak.csv. Loopback only; ends within SECONDS + 60.
"""

import argparse
import csv
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import lab

MIB = 1024  # KiB
RSS_MAX_MIB, RSS_GROWTH_MIB, DRIFT_MAX = 64, 4, 0.001
# The last minute's lag against the first's: so many times it, and so much above it, are a neighbour's noise and no trend.
LAG_TIMES, LAG_SLACK_US = 2, {"p50": 50, "p99": 1000}


def arguments():
    parser = argparse.ArgumentParser(description="a long run at a steady rate")
    parser.add_argument("resbench")
    parser.add_argument("seconds", nargs="?", type=int, default=600)
    parser.add_argument("rate", nargs="?", type=int, default=20_000)
    parser.add_argument("--out", type=pathlib.Path, default=lab.ROOT / "target/soak")
    parser.add_argument("--client-cpu", default="0")
    parser.add_argument("--server-cpu", default="1")
    options = parser.parse_args()
    if options.seconds < 20 or options.rate < 1:
        parser.error("at least 20 seconds at one request per second")
    return options


def edge_of(seconds):
    """Length of the first and of the last stretch that are compared: a minute, or a quarter of a short run."""
    return min(60, seconds // 4)


def scenario(url, seconds, rate):
    """Three phases at one rate: load does not pause between them, and each has its own percentiles."""
    edge = edge_of(seconds)
    phases = (("first", edge), ("middle", seconds - 2 * edge), ("last", edge))
    return (
        f'name = "soak"\n[target]\nprotocol = "http"\nmethod = "POST"\nurl = "{url}"\n'
        f"[traffic]\nbody = '{lab.REQUEST}'\narrivals = \"uniform\"\ntimeout = \"5s\"\n"
        + "".join(f'[[phase]]\nname = "{name}"\nduration = "{length}s"\nrate = {rate}\n' for name, length in phases)
    )


class Watch:
    """Samples of the client's memory and of the server's counter, one every few seconds."""

    def __init__(self, server, every):
        self.server, self.every, self.began, self.samples = server, every, time.monotonic(), []

    def look(self, pid):
        counted, at = self.server.requests(), time.monotonic()
        # Each look is one request more, which nobody else made.
        self.samples.append((at - self.began, lab.memory_kib(pid, "VmRSS"), counted - len(self.samples) - 1))

    def until_end(self, process, limit_s):
        while True:
            try:
                return process.wait(self.every)
            except subprocess.TimeoutExpired:
                self.look(process.pid)
            if time.monotonic() - self.began > limit_s:
                raise lab.Trouble(f"resbench did not end within {limit_s} s")

    def under_load(self):
        """The samples that lie wholly inside the load: requests were counted since the one before, and until the one after."""
        return [b for a, b, c in zip(self.samples, self.samples[1:], self.samples[2:]) if a[2] < b[2] < c[2] and a[2] > 0]

    def rate(self):
        """Requests per second that the server counted, a line laid through the samples by least squares."""
        points = [(at, count) for at, _, count in self.under_load()]
        if len(points) < 3:
            raise lab.Trouble("too few samples under load")
        middle_at, middle_count = (sum(column) / len(points) for column in zip(*points))
        above = sum((at - middle_at) * (count - middle_count) for at, count in points)
        return above / sum((at - middle_at) ** 2 for at, _ in points)


def soak(options, work):
    edge = edge_of(options.seconds)
    with lab.Nginx(work / "nginx", options.server_cpu) as server:
        (work / "soak.toml").write_text(scenario(server.url(), options.seconds, options.rate))
        before = server.requests()
        watch = Watch(server, every=min(5, options.seconds / 20))
        command = [*lab.first(), "taskset", "-c", options.client_cpu, os.path.realpath(options.resbench), "run", "soak.toml"]
        command += ["--yes", "--quiet", "--output", "json", "--reports", "reports"]
        with (work / "stdout").open("w") as out, (work / "stderr").open("w") as err:
            env = os.environ | {"XDG_STATE_HOME": str(work / "state")}
            process = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, cwd=work, env=env)
            try:
                status = watch.until_end(process, options.seconds + 60)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        # Every look, the count before and this last one were requests too.
        served = server.requests() - before - len(watch.samples) - 1
    if status not in (0, 1, 3):
        raise lab.Trouble(f"resbench ended with {status}: {(work / 'stderr').read_text().strip()}")
    return json.loads((work / "stdout").read_text()), watch, served, edge


def judged(options, run, watch, served, edge):
    """(what, measured, bound, held)."""
    phases = {phase["name"]: phase for phase in run["phases"]}
    rss = [(at, kib / MIB) for at, kib, _ in watch.under_load()]
    early = [mib for at, mib in rss if at <= edge + rss[0][0]][-1]
    late, most = rss[-1][1], max(mib for _, mib in rss)
    yield "RSS at the end of the first stretch, MiB", f"{early:.1f}", "", True
    yield "RSS at the end of the load, MiB", f"{late:.1f}", f"grown ≤ {RSS_GROWTH_MIB}", late - early <= RSS_GROWTH_MIB
    yield "most RSS seen, MiB", f"{most:.1f}", f"≤ {RSS_MAX_MIB}", most <= RSS_MAX_MIB
    for name, slack in LAG_SLACK_US.items():
        first, last = (phases[p]["lag_us"][name] for p in ("first", "last"))
        bound = LAG_TIMES * first + slack
        yield f"lag {name}, first → last {edge} s, µs", f"{first:,.1f} → {last:,.1f}", f"≤ {bound:,.0f}", last <= bound
    for phase in phases.values():
        planned, failed = phase["planned"], sum(phase["errors"].values())
        wanted = round(options.rate * phase["duration_s"])
        words = f"{planned:,} = {phase['ok']:,} + {failed:,} + {phase['shed']:,}"
        yield f"{phase['name']}: planned = ok + errors + shed", words, f"{wanted:,}", planned == wanted == phase["ok"] + failed + phase["shed"]
    sent = sum(phase["sent"] for phase in phases.values())
    # One request goes ahead of the load, to find out whether anybody answers.
    yield "requests that nginx counted", f"{served:,}", f"{sent:,} + 1", served == sent + 1
    rate = watch.rate()
    drift = rate / options.rate - 1
    yield "rate by nginx's counter, requests/s", f"{rate:,.2f} ({drift:+.4%})", f"± {DRIFT_MAX:.1%}", abs(drift) <= DRIFT_MAX


def main():
    options = arguments()
    lab.end_as_interrupted()
    with tempfile.TemporaryDirectory(prefix="resbench-soak-") as work:
        run, watch, served, edge = soak(options, pathlib.Path(work))
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "soak.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["at_s", "rss_kib", "requests_counted_by_nginx"])
        writer.writerows([round(at, 3), *rest] for at, *rest in watch.samples)
    facts = lab.machine()
    print(f"{facts['date']} · {facts['cpu']} · {facts['kernel']} · {lab.words_of([options.resbench, '--version'])}")
    print(f"{options.seconds} s at {options.rate:,} requests/s; CPU {run['generator']['cpu_s']:.1f} s in the load's workers")
    broken = 0
    for what, value, bound, held in judged(options, run, watch, served, edge):
        broken += not held
        print(f"  {what:<42} {value:>40}   {bound:<20} {'ok' if held else 'BROKEN'}")
    print(f"samples: {options.out / 'soak.csv'}")
    return 1 if broken else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except lab.Trouble as why:
        sys.exit(f"soak: {why}")
    except KeyboardInterrupt:
        sys.exit("soak: interrupted; everything that was started is ended")
