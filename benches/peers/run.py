#!/usr/bin/env python3
"""resbench beside its peers: the same server, the same CPUs, one after the other, several rounds.

    python3 benches/peers/run.py target/release/resbench [ROUNDS] [SECONDS] [--out DIR] [--only CASE,...] [--tools TOOL,...]

`just bench-peers` calls this. nginx answers 74 bytes with 64 on one CPU, each client has the other. A round runs every case, and
in a case every client in a row, backwards in every second round, so that no client always comes first. Shown are medians over the
rounds, and ratios resbench ÷ client made within a round (lowest–highest): on a machine with neighbours a ratio of one round means
more than numbers of two. Writes rounds.csv (every run), table.txt and ratios.svg. Loopback only; ends within
ROUNDS × CASES × CLIENTS × (SECONDS + some).
"""

import argparse
import csv
import os
import pathlib
import statistics
import sys
import tempfile

import chart
import lab
import tools
from tools import Case

CASES = [
    Case("closed-64", "closed loop, 64 connections", 64),
    Case("closed-1000", "closed loop, 1,000 connections", 1000),
    Case("open", "open loop, {rate:,} requests/s, 64 connections", 64, rate=20_000),
    Case("tls-64", "closed loop over TLS, 64 connections", 64, tls=True),
    Case("h2", "closed loop over HTTP/2, 8 connections × 16 streams", 8, http2=True, streams=16),
    Case("h2-tls", "closed loop over HTTP/2 and TLS, 8 connections × 16 streams", 8, http2=True, tls=True, streams=16),
    Case("workers-1", "one worker on two CPUs {where}, closed loop, 64 connections", 64, shared=True),
    Case("workers-2", "two workers on two CPUs {where}, closed loop, 64 connections", 64, workers=2, shared=True),
]
# Metric, its heading, digits, and whether more is better; which of them a case is about.
METRICS = {
    "rps": ("requests/s", 0, True),
    "cpu_us": ("CPU µs/request", 2, False),
    "p50_us": ("p50 µs", 0, False),
    "p99_us": ("p99 µs", 0, False),
    "rss_mib": ("RSS MiB", 1, False),
}
CLOSED, OPEN = ("rps", "cpu_us", "rss_mib"), ("p50_us", "p99_us", "cpu_us", "rss_mib")
# What resbench has to reach: case, client, metric, at most or at least, ratio.
BUDGETS = [
    ("closed-64", "wrk", "rps", "≥", 1.0),
    ("closed-64", "wrk", "cpu_us", "≤", 1.1),
    ("closed-1000", "wrk", "rps", "≥", 1.0),
    ("open", "floor", "p50_us", "≤", 1.5),
    ("open", "floor", "p99_us", "≤", 1.5),
    ("open", "oha", "cpu_us", "≤", 1.0),
    ("tls-64", "wrk", "rps", "≥", 0.9),
    ("h2", "h2load", "rps", "≥", 1.0),
    ("h2-tls", "h2load", "rps", "≥", 1.0),
]
RSS_MAX_MIB, TWO_WORKERS = 64, 1.8


def arguments():
    parser = argparse.ArgumentParser(description="resbench beside its peers")
    parser.add_argument("resbench")
    parser.add_argument("rounds", nargs="?", type=int, default=5)
    parser.add_argument("seconds", nargs="?", type=float, default=5)
    parser.add_argument("--out", type=pathlib.Path, default=lab.ROOT / "target/bench-peers")
    parser.add_argument("--only", type=lambda s: s.split(","), help=f"cases: {','.join(c.name for c in CASES)}")
    parser.add_argument("--tools", type=lambda s: s.split(","), help="beside resbench; all that are found otherwise")
    parser.add_argument("--rate", type=int, default=20_000, help="of the open loop, requests/s")
    parser.add_argument("--client-cpu", default="0")
    parser.add_argument("--server-cpu", default="1")
    parser.add_argument("--floor", type=lambda s: str(pathlib.Path(s).resolve()), help="a floor client that is built already")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds < 2:
        parser.error("at least one round of two seconds: in less, wrk2 may not have begun")
    unknown = set(options.only or []) - {c.name for c in CASES}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    return options


# --- measuring -----------------------------------------------------------------------------------------


class Bench:
    """Runs clients against the two servers and keeps a row of each run."""

    def __init__(self, options, clients, work):
        self.options, self.clients, self.work = options, clients, work
        self.cpus = (options.client_cpu, options.server_cpu)
        # Two clients' CPUs and two servers' where the machine has four; else all share two.
        self.shared_cpus = ("0,1", "2,3" if (os.cpu_count() or 1) >= 4 else "0,1")
        self.rows, self.absent, self.servers = [], {}, {}

    def cases(self):
        where = "of their own" if self.shared_cpus[0] != self.shared_cpus[1] else "that nginx shares"
        chosen = [c for c in CASES if not self.options.only or c.name in self.options.only]
        if (os.cpu_count() or 1) < 2:
            raise lab.Trouble("one CPU is not enough: the server and the clients need one each")
        changed = [dict(c.__dict__) for c in chosen]
        for case in changed:
            case["title"] = case["title"].format(rate=self.options.rate, where=where)
            case["rate"] = self.options.rate if case["rate"] else None
        return [Case(**c) for c in changed]

    def measure(self):
        cases, parts = self.cases(), {}
        with (
            lab.Nginx(self.work / "nginx", self.cpus[1]) as one,
            lab.Nginx(self.work / "nginx-two", self.shared_cpus[1], workers=2) as two,
        ):
            self.servers = {False: one, True: two}
            for case in cases:
                able = [t for t in self.clients if t.can(case, self.work, self.servers[case.shared])]
                self.absent[case.name] = self.clients[0] not in able
                # Without resbench there is nothing to compare with; its peers are run all the same, for their numbers.
                parts[case.name] = able
            for number in range(self.options.rounds):
                for case in cases:
                    able = parts[case.name]
                    for tool in able if number % 2 == 0 else reversed(able):
                        self.rows.append(self.run(number + 1, case, tool))
        return cases

    def run(self, number, case, tool):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.work))
        server, seconds = self.servers[case.shared], self.options.seconds
        cpus = self.shared_cpus[0] if case.shared else self.cpus[0]
        env = {"XDG_STATE_HOME": str(folder / "state"), "GOMAXPROCS": str(case.workers)}
        command = tool.command(case, seconds, folder, server)
        ran = lab.run_client(command, cpus, 3 * seconds + 30, server, folder, env)
        row = {"round": number, "case": case.name, "tool": tool.name, "version": tool.words, "others": round(ran.others, 3)}
        try:
            result = tool.read(ran, seconds)
        except (tools.Unreadable, ValueError, KeyError, TypeError) as why:
            lab.say(f"round {number} {case.name} {tool.name}: FAILED, exit code {ran.status}: {why}")
            return row | {"failed": str(why)[:200]}
        row |= {
            "requests": result.requests,
            "errors": result.errors,
            "rps": result.rps,
            "cpu_us": ran.cpu_s * 1e6 / max(result.requests, 1),
            "p50_us": result.p50_us,
            "p99_us": result.p99_us,
            "rss_mib": ran.rss_kib / 1024,
            "load_cpu_us": result.load_cpu_s and result.load_cpu_s * 1e6 / max(result.requests, 1),
        }
        show = lambda key: "-" if row[key] is None else f"{row[key]:,.1f}"  # noqa: E731
        lab.say(
            f"round {number} {case.name} {tool.name}: {show('rps')}/s, {show('cpu_us')} µs CPU, p50 {show('p50_us')} µs, "
            f"p99 {show('p99_us')} µs, {show('rss_mib')} MiB, {result.errors} errors; others had {ran.others:.0%} of the machine"
        )
        return row


# --- telling -------------------------------------------------------------------------------------------


class Numbers:
    """Medians and ratios of the rows."""

    def __init__(self, rows):
        self.by_key = {(r["case"], r["tool"], r["round"]): r for r in rows}
        self.rounds = sorted({r["round"] for r in rows})

    def values(self, case, tool, metric):
        """One per round that has it."""
        rows = (self.by_key.get((case, tool, number), {}) for number in self.rounds)
        return [row[metric] for row in rows if row.get(metric) is not None]

    def ratios(self, case, tool, metric, than=None):
        """(median, lowest, highest) of resbench in `than` (the same case) ÷ this client, round by round; none without both."""
        found = []
        for number in self.rounds:
            ours = self.by_key.get((than or case, "resbench" if not than else tool, number), {}).get(metric)
            theirs = self.by_key.get((case, tool, number), {}).get(metric)
            if ours and theirs:
                found.append(ours / theirs)
        return (statistics.median(found), min(found), max(found)) if found else None


def ratio_words(ratio):
    return "-" if ratio is None else chart.words_of(ratio)


def table(cases, bench, numbers):
    """The whole result as text."""
    out = []
    for case in cases:
        metrics = OPEN if case.rate else CLOSED
        out += ["", case.title + (": resbench cannot do this yet (not available)" if bench.absent[case.name] else "")]
        heads = [word for m in metrics for word in ([METRICS[m][0]] if m == "rss_mib" else [METRICS[m][0], "resbench ÷ it"])]
        widths = [width for m in metrics for width in ([9] if m == "rss_mib" else [15, 20])]
        out.append(f"  {'':<10}" + "".join(f"{head:>{width}}" for head, width in zip(heads, widths)))
        for tool in bench.clients:
            if not any(key[:2] == (case.name, tool.name) for key in numbers.by_key):
                continue
            out.append(row_of(case, tool, metrics, numbers))
    out += ["", *notes(cases, bench, numbers)]
    return "\n".join(out)


def row_of(case, tool, metrics, numbers):
    line = f"  {tool.name:<10}"
    for metric in metrics:
        values = numbers.values(case.name, tool.name, metric)
        star = "*" if metric in ("p50_us", "p99_us") and not tool.from_due else ""
        median = f"{statistics.median(values):,.{METRICS[metric][1]}f}{star}".replace("inf", "∞") if values else "-"
        if metric == "rss_mib":
            line += f"{median:>9}"
        else:
            ratio = "" if tool.name == "resbench" else ratio_words(numbers.ratios(case.name, tool.name, metric))
            line += f"{median:>15}{ratio:>20}"
    # In a closed loop failures make a client faster; in an open one what was not sent is missing from its latencies.
    errors = max(numbers.values(case.name, tool.name, "errors"), default=0)
    failed = sum(1 for key, row in numbers.by_key.items() if key[:2] == (case.name, tool.name) and "failed" in row)
    return line + (f"   {errors:,} errors or unsent" if errors else "") + (f"   {failed} runs FAILED" if failed else "")


def notes(cases, bench, numbers):
    out, names = [], [c.name for c in cases]
    if {"workers-1", "workers-2"} <= set(names):
        gains = [(t.name, numbers.ratios("workers-1", t.name, "rps", than="workers-2")) for t in bench.clients]
        gains = [f"{name} {ratio_words(gain)}" for name, gain in gains if gain]
        out.append(f"requests/s of two workers ÷ one: {' · '.join(gains) or 'nothing to compare'}")
    if any(c.rate for c in cases) and any(not t.from_due for t in bench.clients):
        out.append("* from sent, not from due: what waited to be sent is not in it")
    loads = [
        (total - load, name)
        for name in names
        for total, load in zip(numbers.values(name, "resbench", "cpu_us"), numbers.values(name, "resbench", "load_cpu_us"))
    ]
    if loads:
        low, high = min(loads)[0], max(loads)[0]
        out.append(f"of resbench's CPU per request {low:.2f}–{high:.2f} µs are start, records and reports, in runs as short as these")
    others = [row["others"] for row in numbers.by_key.values()]
    out.append(f"others had {statistics.median(others):.0%} of the machine in the median run, {max(others):.0%} in the worst one")
    return out + ["", *budgets(names, numbers)]


def budgets(names, numbers):
    """What has to be reached, and whether it was: medians of the ratios."""
    out = ["budgets (median over the rounds)"]

    def line(what, value, sign, bound):
        state = "not measured" if value is None else "reached" if (value >= bound if sign == "≥" else value <= bound) else "MISSED"
        out.append(f"  {what:<58} {sign} {bound:<5} {'-' if value is None else format(value, '.2f'):>7}  {state}")

    for case, tool, metric, sign, bound in BUDGETS:
        if case in names:
            ratio = numbers.ratios(case, tool, metric)
            line(f"{case}: {METRICS[metric][0]}, × {tool}", ratio and ratio[0], sign, bound)
    if "open" in names:
        values = numbers.values("open", "resbench", "rss_mib")
        line("open: RSS MiB", statistics.median(values) if values else None, "≤", RSS_MAX_MIB)
    if {"workers-1", "workers-2"} <= set(names):
        gain = numbers.ratios("workers-1", "resbench", "rps", than="workers-2")
        line("two workers: requests/s, × one (if nginx has CPUs left)", gain and gain[0], "≥", TWO_WORKERS)
    return out


def head(options, bench):
    facts = lab.machine()
    out = [f"{facts['date']} · {facts['cpu']} · {facts['kernel']} · priority: {facts['priority']}"]
    out.append(f"{options.rounds} rounds of {options.seconds:g} s; clients on CPU {bench.cpus[0]}, nginx on CPU {bench.cpus[1]}; POST 74 B → 64 B")
    return out + [f"  {tool.words}" for tool in bench.clients] + [f"  {lab.words_of([lab.need('nginx', 'nginx-light'), '-v'])}"]


def write(options, cases, bench, numbers, text):
    options.out.mkdir(parents=True, exist_ok=True)
    keys = ["round", "case", "tool", "version", "requests", "errors", "rps", "cpu_us", "p50_us", "p99_us", "rss_mib", "load_cpu_us"]
    with (options.out / "rounds.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*keys, "others", "failed"])
        writer.writeheader()
        rounded = lambda row: {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}  # noqa: E731
        writer.writerows(rounded(row) for row in bench.rows)
    (options.out / "table.txt").write_text(text + "\n")
    groups = []
    for case in cases:
        lines = [
            (f"{METRICS[m][0]} · {tool.name}", numbers.ratios(case.name, tool.name, m), METRICS[m][2])
            for m in (OPEN if case.rate else CLOSED)
            if m != "rss_mib"
            for tool in bench.clients[1:]
        ]
        groups.append((case.title, [line for line in lines if line[1]]))
    facts = lab.machine()
    below = f"{facts['date']} · {facts['cpu']} · {options.rounds} rounds of {options.seconds:g} s · dot: median, line: lowest to highest round"
    (options.out / "ratios.svg").write_text(chart.ratios("resbench ÷ peer", below, [g for g in groups if g[1]]))


def main():
    options = arguments()
    lab.end_as_interrupted()
    lab.raise_file_limit()
    clients = [tools.resbench(options.resbench), tools.Floor(options.floor or lab.floor_binary())]
    for peer in tools.PEERS:
        tool = peer.find()
        if tool:
            clients.append(tool)
        else:
            lab.say(f"{peer.name} is not on PATH; get it with: {peer.get}")
    if options.tools:
        clients = [t for t in clients if t.name == "resbench" or t.name in options.tools]
    for tool in clients:
        tool.words = tool.version()
    with tempfile.TemporaryDirectory(prefix="resbench-peers-") as work:
        bench = Bench(options, clients, pathlib.Path(work))
        cases = bench.measure()
    numbers = Numbers(bench.rows)
    text = "\n".join([*head(options, bench), table(cases, bench, numbers)])
    write(options, cases, bench, numbers, text)
    print(text)
    lab.say(f"\nevery run, this table and a chart: {options.out}")


if __name__ == "__main__":
    try:
        main()
    except lab.Trouble as why:
        sys.exit(f"bench-peers: {why}")
    except KeyboardInterrupt:
        sys.exit("bench-peers: interrupted; everything that was started is ended")
