#!/usr/bin/env python3
"""Where the CPU of a request goes in the open loop, and which system calls it takes: resbench, the bare loops, and peers.

    python3 benches/peers/where.py target/release/resbench [SECONDS] [RATE] [--tools TOOL,...] [--out DIR]

`just bench-where` calls this. Each client runs alone against nginx, each on a CPU of its own, at full pace: system calls are counted
by the kernel's trace points, which slow a client by some per cent (`strace` slows it so far that requests become late and leave in
batches, and a batch needs fewer calls). What a request costs is the scheduler's own count of the client's threads ÷ what nginx
counted. Then stacks are sampled, for the shares. Needs root and `perf`; leaves nothing behind: the trace file system is mounted in a
namespace of its own. Writes where.csv. Loopback only; ends within CLIENTS × (3 × SECONDS + some).
"""

import argparse
import collections
import csv
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import lab
import tools
from tools import Case

# Where a sampled stack belongs, by the functions in it; the first that fits. Under a hypervisor the first three are mostly its work:
# sending an interrupt to a CPU that sleeps, setting the timer and going to sleep each leave the guest.
PLACES = [
    ("waking the server", lambda on: "sock_def_readable" in on),
    ("sleeping, waking up", lambda on: on & {"schedule", "__schedule"}),
    ("setting the timer", lambda on: any(f.startswith(("hrtimer_", "schedule_hrtimeout", "io_cqring_")) for f in on)),
    ("TCP, sending", lambda on: "tcp_sendmsg" in on),
    ("TCP, receiving", lambda on: "tcp_recvmsg" in on),
    ("kernel, otherwise", lambda on: on & {"entry_SYSCALL_64_after_hwframe", "do_syscall_64", "asm_sysvec_apic_timer_interrupt", "el0t_64_sync"}),
    ("the client's own code", lambda on: True),
]
SAMPLES_PER_S = 4000
# Told apart by name; the rest is counted together.
CALLS = ["sendto", "recvfrom", "read", "write", "writev", "epoll_wait", "epoll_pwait", "epoll_pwait2", "io_uring_enter", "futex"]
TRACING = "/sys/kernel/tracing"


def arguments():
    parser = argparse.ArgumentParser(description="where the CPU of a request goes")
    parser.add_argument("resbench")
    parser.add_argument("seconds", nargs="?", type=int, default=4, help="of each of the two looks at a client")
    parser.add_argument("rate", nargs="?", type=int, default=20_000)
    parser.add_argument("--out", type=pathlib.Path, default=lab.ROOT / "target/bench-where")
    parser.add_argument("--tools", type=lambda s: s.split(","), help="beside resbench; all that are found otherwise")
    parser.add_argument("--client-cpu", default="0")
    parser.add_argument("--server-cpu", default="1")
    parser.add_argument("--floors", help="a folder that holds `floor` and `floor-uring`, built already")
    options = parser.parse_args()
    if options.seconds < 2 or options.rate < 1:
        parser.error("at least two seconds at one request per second")
    return options


class Look:
    """One client, looked at while it runs."""

    def __init__(self, options, tool, server, folder):
        self.options, self.tool, self.server, self.folder = options, tool, server, folder
        self.calls, self.shares = {}, {}
        self.cpu_us = self.rate = 0.0

    def take(self):
        # Time for the client to begin, for both looks, and for perf to begin and end.
        seconds = 2 * self.options.seconds + 6
        case = Case("open", "", 64, rate=self.options.rate)
        command = self.tool.command(case, seconds, self.folder, self.server)
        with (self.folder / "out").open("w") as out:
            process = subprocess.Popen(
                [*lab.first(), "taskset", "-c", self.options.client_cpu, *map(str, command)],
                stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=self.folder,
                env=os.environ | {"XDG_STATE_HOME": str(self.folder / "state"), "GOMAXPROCS": "1"},
            )  # fmt: skip
        try:
            time.sleep(1.5)
            self.count(process.pid)
            self.sample(process.pid)
            if process.poll() is not None:
                raise lab.Trouble(f"{self.tool.name} ended too early: {(self.folder / 'out').read_text()[-300:]}")
        finally:
            # It is cut off here: its own numbers are not asked for.
            process.kill()
            process.wait()

    def count(self, pid):
        """System calls by their names, and CPU, per request."""
        events = ["raw_syscalls:sys_enter", *(f"syscalls:sys_enter_{name}" for name in CALLS)]
        served, cpu, began = self.server.requests(), exec_ns(pid), time.monotonic()
        counted = self.perf(["stat", "-x", ";", "-e", ",".join(events), "-p", str(pid), "--", "sleep", str(self.options.seconds)])
        took = time.monotonic() - began
        requests = self.server.requests() - served - 1
        self.rate, self.cpu_us = requests / took, (exec_ns(pid) - cpu) / 1e3 / max(requests, 1)
        lines = [line.split(";") for line in counted.splitlines() if line.count(";") > 2]
        values = {line[2].removeprefix("syscalls:sys_enter_"): int(line[0]) for line in lines if line[0].isdigit()}
        every = values.pop("raw_syscalls:sys_enter")
        values["others"] = max(every - sum(values.values()), 0)  # each counter is read at a moment of its own
        # perf counts for as long as `sleep` runs.
        self.calls = {name: n / self.options.seconds / self.rate for name, n in values.items()}

    def sample(self, pid):
        """Shares of the CPU by place."""
        data = self.folder / "perf.data"
        self.perf(
            ["record", "-q", "-g", "-e", "cpu-clock", "-F", str(SAMPLES_PER_S), "-o", str(data), "-p", str(pid)]
            + ["--", "sleep", str(self.options.seconds)]
        )
        counts = collections.Counter(place_of(stack) for stack in stacks(self.perf(["script", "-i", str(data), "-F", "ip,sym"])))
        total = sum(counts.values())
        if total < 100:
            raise lab.Trouble(f"{self.tool.name}: perf took {total} samples only")
        self.shares = {place: counts[place] / total for place, _ in PLACES}

    def perf(self, words):
        # `perf` needs the trace file system, which is mounted for it alone.
        script = f'mount -t tracefs tracefs {TRACING} 2>/dev/null; exec perf "$@"'
        ran = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh", *words],
            capture_output=True, text=True, timeout=self.options.seconds + 60, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if ran.returncode != 0:
            raise lab.Trouble(f"perf {words[0]}: {ran.stderr.strip()[-400:]}")
        return ran.stderr if words[0] == "stat" else ran.stdout


def exec_ns(pid):
    """What the scheduler has counted for all threads that a process has now."""
    threads = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)


def stacks(script):
    """The functions on each sampled stack."""
    for sample in script.split("\n\n"):
        functions = {line.split()[1] for line in sample.splitlines() if len(line.split()) > 1}
        if functions:
            yield functions


def place_of(functions):
    return next(place for place, fits in PLACES if fits(functions))


def floor(name, folder):
    tool = tools.Floor(f"{folder}/{name}" if folder else lab.floor_binary(name))
    tool.name = name
    return tool


def table(looks):
    width = max(14, *(len(look.tool.name) + 2 for look in looks))
    line = lambda head, values: f"  {head:<26}" + "".join(f"{value:>{width}}" for value in values)  # noqa: E731
    out = [line("", [look.tool.name for look in looks]), line("requests/s", [f"{look.rate:,.0f}" for look in looks])]
    out += [line("CPU µs/request", [f"{look.cpu_us:.1f}" for look in looks])]
    out += [line(f"  {place}", [f"{look.shares[place] * look.cpu_us:.1f}" for look in looks]) for place, _ in PLACES]
    out += [line("system calls/request", [f"{sum(look.calls.values()):.2f}" for look in looks])]
    shown = [name for name in [*CALLS, "others"] if any(look.calls[name] >= 0.005 for look in looks)]
    out += [line(f"  {name}", [f"{look.calls[name]:.2f}" for look in looks]) for name in shown]
    return "\n".join(out)


def write(out, looks):
    out.mkdir(parents=True, exist_ok=True)
    with (out / "where.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["tool", "what", "per_request", "unit"])
        for look in looks:
            name = look.tool.name
            writer.writerow([name, "CPU", round(look.cpu_us, 3), "us"])
            writer.writerows([name, place, round(share * look.cpu_us, 3), "us"] for place, share in look.shares.items())
            writer.writerows([name, call, round(n, 3), "calls"] for call, n in look.calls.items())


def main():
    options = arguments()
    lab.end_as_interrupted()
    lab.need("perf", "linux-perf")
    if os.geteuid() != 0:
        raise lab.Trouble("only root may look at the kernel's trace points")
    found = [tools.resbench(options.resbench), floor("floor", options.floors), floor("floor-uring", options.floors)]
    found += [tool for tool in (peer.find() for peer in (tools.Oha, tools.Wrk2)) if tool]
    if options.tools:
        found = [t for t in found if t.name == "resbench" or t.name in options.tools]
    looks = []
    with tempfile.TemporaryDirectory(prefix="resbench-where-") as work, lab.Nginx(pathlib.Path(work) / "nginx", options.server_cpu) as server:
        for tool in found:
            look = Look(options, tool, server, pathlib.Path(tempfile.mkdtemp(dir=work)))
            look.take()
            looks.append(look)
            lab.say(f"{tool.name}: {look.cpu_us:.1f} µs CPU, {sum(look.calls.values()):.2f} system calls per request")
    facts = lab.machine()
    print(f"{facts['date']} · {facts['cpu']} · {facts['kernel']} · {options.rate:,} requests/s asked for, 64 connections, uniform")
    print(table(looks))
    write(options.out, looks)
    lab.say(json.dumps({"written": str(options.out / "where.csv")}))


if __name__ == "__main__":
    try:
        main()
    except (lab.Trouble, OSError, subprocess.TimeoutExpired) as why:
        sys.exit(f"bench-where: {why}")
    except KeyboardInterrupt:
        sys.exit("bench-where: interrupted; everything that was started is ended")
