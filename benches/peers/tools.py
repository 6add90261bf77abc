"""Every client of the bench: how it is asked for a case, and how its answer reads. One class each, all with the same shape."""

import json
import pathlib
import re
import shutil
import subprocess
from dataclasses import dataclass

import lab


@dataclass(frozen=True)
class Case:
    """What every client is asked for."""

    name: str
    title: str
    connections: int
    rate: int | None = None  # requests/s of an open loop; none: a closed loop
    tls: bool = False
    http2: bool = False
    streams: int = 1  # at once per connection
    workers: int = 1
    shared: bool = False  # the clients have two CPUs, and the server has two workers


@dataclass
class Result:
    """What a client says of a run."""

    requests: int
    rps: float
    errors: int
    p50_us: float | None = None
    p99_us: float | None = None
    load_cpu_s: float | None = None


class Unreadable(Exception):
    """A client failed, or answered in a way that this file does not know."""


def found(pattern, text):
    match = re.search(pattern, text, re.MULTILINE)
    if not match:
        raise Unreadable(f"no {pattern!r} in {text[-300:]!r}")
    return match[1]


def micros(words):
    """`1.21ms` → 1210."""
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", words).groups()
    return float(number) * {"us": 1, "ms": 1e3, "s": 1e6, "m": 60e6}[unit]


class Tool:
    name = get = ""
    from_due = True  # latencies of an open loop count from when a request was due

    def __init__(self, program):
        self.program = program

    @classmethod
    def find(cls):
        program = shutil.which(cls.name)
        return cls(program) if program else None

    def version(self):
        return lab.words_of([self.program, "--version"]).splitlines()[0]

    def can(self, case, folder, server):
        """Whether it has a part in the case."""
        raise NotImplementedError

    def command(self, case, seconds, folder, server):
        """What to run. May write files into the folder, where it is run."""
        raise NotImplementedError

    def read(self, ran, seconds):
        """What it said."""
        raise NotImplementedError


class Resbench(Tool):
    name = "resbench"

    def scenario(self, case, seconds, server):
        load = f'rate = {case.rate}' if case.rate else f"concurrency = {case.connections * case.streams}"
        target = f"ca = '{server.ca}'\n" * case.tls + "http2 = true\n" * case.http2
        traffic = f"connections = {case.connections}\nstreams = {case.streams}\n" * case.http2
        return (
            f'name = "{case.name}"\n[target]\nprotocol = "http"\nmethod = "POST"\nurl = "{server.url(case.tls, case.http2)}"\n'
            f"{target}[traffic]\nbody = '{lab.REQUEST}'\narrivals = \"uniform\"\ntimeout = \"5s\"\n{traffic}"
            f'[[phase]]\nname = "load"\nduration = "{round(seconds * 1000)}ms"\n{load}\n'
        )

    def can(self, case, folder, server):
        path = folder / "check.toml"
        path.write_text(self.scenario(case, 1, server))
        good = subprocess.run([self.program, "check", path], capture_output=True, timeout=20).returncode == 0
        return good and (not case.shared or "--workers" in lab.words_of([self.program, "run", "--help"]))

    def command(self, case, seconds, folder, server):
        (folder / "scenario.toml").write_text(self.scenario(case, seconds, server))
        workers = ["--workers", case.workers] if case.shared else []
        return [self.program, "run", "scenario.toml", "--yes", "--quiet", "--output", "json", "--reports", "reports", *workers]

    def read(self, ran, seconds):
        if ran.status not in (0, 1, 3):
            raise Unreadable(ran.stderr.strip()[-300:])
        run = json.loads(ran.stdout)
        (phase,) = run["phases"]
        latency = phase["latency_us"]
        failed = phase["shed"] + sum(phase["errors"].values())
        # What was planned and not answered took for ever: a percentile among those is infinite, which JSON cannot say.
        p50, p99 = (float("inf") if latency[key] is None else latency[key] for key in ("p50", "p99"))
        return Result(phase["ok"], phase["throughput_rps"], failed, p50, p99, run["generator"]["cpu_s"])


class Floor(Tool):
    """What a bare loop does, no product."""

    name = "floor"

    def version(self):
        return f"{self.name} (benches/peers/floor)"

    def can(self, case, folder, server):
        return not (case.tls or case.http2 or case.shared)

    def command(self, case, seconds, folder, server):
        mode, rate = ("open", [case.rate]) if case.rate else ("closed", [])
        return [self.program, mode, server.address(), lab.PATH, case.connections, seconds, *rate]

    def read(self, ran, seconds):
        if ran.status != 0:
            raise Unreadable(ran.stderr.strip()[-300:])
        said = json.loads(ran.stdout)
        return Result(said["requests"], said["rps"], 0, said["p50_us"], said["p99_us"])


class Wrk(Tool):
    name, get = "wrk", "apt install wrk"

    def version(self):
        return lab.words_of([self.program, "-v"]).split(" Copyright")[0]

    def can(self, case, folder, server):
        return not (case.http2 or case.rate)

    def command(self, case, seconds, folder, server):
        # Without a function of its own in it, wrk makes the request once and sends the same bytes each time.
        (folder / "post.lua").write_text(
            f"wrk.method, wrk.body = 'POST', '{lab.REQUEST}'\nwrk.headers['Content-Type'] = 'application/json'\n"
        )
        rate = ["-R", case.rate] if case.rate else []
        options = ["-t", case.workers, "-c", case.connections, "-d", f"{round(seconds)}s", "--latency", "-s", "post.lua"]
        return [self.program, *options, *rate, server.url(case.tls)]

    def read(self, ran, seconds):
        out = ran.stdout
        requests = int(found(r"^\s*(\d+) requests in", out))
        errors = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", out))
        errors += sum(int(n) for line in re.findall(r"Socket errors: (.*)", out) for n in re.findall(r"\d+", line))
        quantile = lambda q: micros(found(rf"^\s*{q}%\s+(\S+)", out))  # noqa: E731
        return Result(requests, float(found(r"Requests/sec:\s+([\d.]+)", out)), errors, quantile(r"50(?:\.000)?"), quantile(r"99(?:\.000)?"))


class Wrk2(Wrk):
    name, get = "wrk2", "git clone https://github.com/giltene/wrk2 && make, its `wrk` onto PATH as wrk2"

    def version(self):
        return f"wrk2 (calls itself {super().version()})"

    def can(self, case, folder, server):
        return bool(case.rate)


class Oha(Tool):
    name, get = "oha", "cargo install --locked oha"

    def can(self, case, folder, server):
        return not case.shared

    def command(self, case, seconds, folder, server):
        options = ["-z", f"{round(seconds * 1000)}ms", "-c", case.connections, "-m", "POST", "-d", lab.REQUEST, "-T", "application/json"]
        options += ["--no-tui", "--output-format", "json"]
        options += ["--insecure"] * case.tls
        options += ["--http2", "-p", case.streams] if case.http2 else []
        options += ["-q", case.rate, "--latency-correction"] if case.rate else []
        return [self.program, *options, server.url(case.tls, case.http2)]

    def read(self, ran, seconds):
        if ran.status != 0:
            raise Unreadable(ran.stderr.strip()[-300:])
        said = json.loads(ran.stdout)
        codes, percentiles = said["statusCodeDistribution"], said["latencyPercentiles"]
        # What is under way at the end is cut off, and called an error.
        errors = sum(n for why, n in said["errorDistribution"].items() if "deadline" not in why)
        errors += sum(n for code, n in codes.items() if code != "200")
        requests = codes.get("200", 0)
        return Result(requests, requests / said["summary"]["total"], errors, percentiles["p50"] * 1e6, percentiles["p99"] * 1e6)


class Hey(Tool):
    name, get = "hey", "go install github.com/rakyll/hey@latest"

    def version(self):
        built = re.search(r"^\s*mod\s+\S+\s+(\S+)", lab.words_of(["go", "version", "-m", self.program]), re.MULTILINE)
        return f"hey {built[1] if built else '(tells no version)'}"

    def can(self, case, folder, server):
        # Its rate is one per worker and its latencies count from sent: no open loop.
        return not (case.http2 or case.rate or case.shared)

    def command(self, case, seconds, folder, server):
        options = ["-z", f"{round(seconds)}s", "-c", case.connections, "-cpus", 1, "-m", "POST", "-d", lab.REQUEST, "-T", "application/json"]
        return [self.program, *options, server.url(case.tls)]

    def read(self, ran, seconds):
        out = ran.stdout
        requests = int(found(r"^\s*\[200\]\s+(\d+) responses", out))
        errors = sum(int(n) for n in re.findall(r"^\s*\[(?!200\])\d+\]\s+(\d+)", out, re.MULTILINE))
        # hey divides by its own time, and keeps the latencies of a million requests at most.
        rps = float(found(r"Requests/sec:\s+([\d.]+)", out))
        quantile = lambda q: float(found(rf"^\s*{q}%+ in ([\d.]+) secs", out)) * 1e6  # noqa: E731
        return Result(requests, rps, errors, quantile(50), quantile(99))


class H2load(Tool):
    name, get = "h2load", "apt install nghttp2-client"

    def can(self, case, folder, server):
        return not (case.rate or case.shared)

    def command(self, case, seconds, folder, server):
        (folder / "body.json").write_text(lab.REQUEST)
        options = ["-D", round(seconds), "-t", 1, "-c", case.connections, "-m", case.streams, "-d", "body.json"]
        options += ["-H", "content-type: application/json", *(["--h1"] * (not case.http2))]
        return [self.program, *options, server.url(case.tls, case.http2)]

    def read(self, ran, seconds):
        counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", ran.stdout)
        if not counts:
            raise Unreadable(ran.stderr.strip()[-300:])
        good, failed, _errored, timeouts = (int(n) for n in counts.groups())
        return Result(good, float(found(r"finished in .*?, ([\d.]+) req/s", ran.stdout)), failed + timeouts)


class K6(Tool):
    name, get = "k6", "go install go.k6.io/k6@latest"
    from_due = False

    def version(self):
        return lab.words_of([self.program, "version"]).splitlines()[0]

    def can(self, case, folder, server):
        return not (case.http2 or case.shared)

    def command(self, case, seconds, folder, server):
        duration = f"duration: '{round(seconds * 1000)}ms', gracefulStop: '1s'"
        load = f"executor: 'constant-vus', vus: {case.connections}"
        if case.rate:
            load = f"executor: 'constant-arrival-rate', rate: {case.rate}, timeUnit: '1s', preAllocatedVUs: 256, maxVUs: 1024"
        (folder / "load.js").write_text(
            "import http from 'k6/http';\n"
            f"export const options = {{ scenarios: {{ load: {{ {load}, {duration} }} }}, discardResponseBodies: true,\n"
            "  insecureSkipTLSVerify: true, summaryTrendStats: ['med', 'p(99)'] };\n"
            f"const body = '{lab.REQUEST}', params = {{ headers: {{ 'Content-Type': 'application/json' }} }};\n"
            f"export default function () {{ http.post('{server.url(case.tls)}', body, params); }}\n"
            "export function handleSummary(data) { return { 'summary.json': JSON.stringify(data.metrics) }; }\n"
        )
        self.summary = folder / "summary.json"
        return [self.program, "run", "--quiet", "--no-usage-report", "load.js"]

    def read(self, ran, seconds):
        if ran.status != 0 or not self.summary.exists():
            raise Unreadable(ran.stderr.strip()[-300:])
        said = json.loads(self.summary.read_text())
        value = lambda metric, key: said.get(metric, {}).get("values", {}).get(key, 0)  # noqa: E731
        requests = value("http_reqs", "count")
        # The rate that was asked for and not sent is no error of k6, but it is one here.
        errors = round(value("http_req_failed", "rate") * requests) + value("dropped_iterations", "count")
        latency = "http_req_duration"
        return Result(requests, requests / seconds, errors, value(latency, "med") * 1e3, value(latency, "p(99)") * 1e3)


PEERS = [Wrk, Wrk2, Oha, Hey, H2load, K6]


def resbench(path):
    program = pathlib.Path(path).resolve()
    if not program.exists():
        raise lab.Trouble(f"{path} is not here; make it with: cargo build --release")
    return Resbench(str(program))
