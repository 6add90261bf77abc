"""What `run.py`, `soak.py` and `where.py` stand on: an nginx of our own, clients on CPUs of their own, and what the kernel counted.

Loopback only; every process has a time limit and is ended by its pid.
"""

import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATH = "/invocations"
REQUEST = '{"dataframe_split":{"columns":["amount","country"],"data":[[14.05,4900]]}}'
ANSWER = '{"predictions":[0.125],"model":"fraud","version":"2026-11-22-1"}'
assert (len(REQUEST), len(ANSWER)) == (74, 64), (len(REQUEST), len(ANSWER))


class Trouble(Exception):
    """Something that ends the whole bench, in words for the person before it."""


def need(program, package):
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")  # where Debian keeps nginx, for everyone
    if not found:
        raise Trouble(f"`{program}` is not here; get it with: apt install {package}")
    return found


def end_as_interrupted():
    """SIGTERM takes the same road out as Ctrl-C, so that nothing stays behind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def raise_file_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def first():
    """resbench's workers go first where they may (nice −10), so here every client and the server do: nobody has an advantage."""
    allowed = os.geteuid() == 0 and subprocess.run(["nice", "-n", "-10", "true"], stderr=subprocess.PIPE).stderr == b""
    return ["nice", "-n", "-10"] if allowed else []


# --- the server ----------------------------------------------------------------------------------------


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def make_certificate(folder):
    """A certificate for localhost that signs itself, as a leaf: some clients refuse an authority in its place."""
    config = folder / "openssl.cnf"
    config.write_text(
        "[req]\nprompt = no\ndistinguished_name = name\nx509_extensions = extensions\n[name]\nCN = localhost\n"
        "[extensions]\nbasicConstraints = critical, CA:FALSE\nsubjectAltName = DNS:localhost, IP:127.0.0.1\n"
    )
    command = [need("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-config", config, "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run(command, check=True, capture_output=True, timeout=30)


class Nginx:
    """nginx with a 64-byte JSON answer: HTTP/1.1 and HTTP/2, each plain and over TLS. A context manager."""

    def __init__(self, folder, cpus, workers=1):
        self.folder, self.cpus, self.workers = folder, cpus, workers
        folder.mkdir()
        make_certificate(folder)
        self.ca = folder / "cert.pem"
        self.ports = dict(zip([(False, False), (True, False), (False, True), (True, True), "status"], free_ports(5)))
        self.process = None

    def url(self, tls=False, http2=False):
        host = "localhost" if tls else "127.0.0.1"
        return f"{'https' if tls else 'http'}://{host}:{self.ports[tls, http2]}{PATH}"

    def address(self):
        return f"127.0.0.1:{self.ports[False, False]}"

    def config(self):
        listen = "".join(
            f"    listen 127.0.0.1:{self.ports[tls, http2]} reuseport backlog=4096{' ssl' * tls}{' http2' * http2};\n"
            for tls in (False, True)
            for http2 in (False, True)
        )
        temporary = "".join(f"  {kind}_temp_path tmp;\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        # Connections are never ended from this side: `keepalive_requests` is 1000 by default.
        return (
            f"daemon off;\nworker_processes {self.workers};\nworker_rlimit_nofile 16384;\npid nginx.pid;\nerror_log error.log;\n"
            "events { worker_connections 8192; }\n"
            f"http {{\n  access_log off;\n{temporary}  keepalive_requests 1000000000;\n  keepalive_timeout 600s;\n"
            "  http2_max_concurrent_streams 256;\n"
            "  ssl_certificate cert.pem;\n  ssl_certificate_key key.pem;\n  ssl_protocols TLSv1.2 TLSv1.3;\n"
            f"  server {{\n{listen}    default_type application/json;\n"
            f"    location = {PATH} {{ return 200 '{ANSWER}'; }}\n  }}\n"
            f"  server {{\n    listen 127.0.0.1:{self.ports['status']};\n    location = /status {{ stub_status; }}\n  }}\n}}\n"
        )

    def __enter__(self):
        (self.folder / "nginx.conf").write_text(self.config())
        command = [*first(), "taskset", "-c", self.cpus, need("nginx", "nginx-light"), "-p", self.folder, "-c", self.folder / "nginx.conf"]
        log = (self.folder / "start.log").open("w")
        self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            try:
                self.requests()
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    raise Trouble(f"nginx does not start: {(self.folder / 'start.log').read_text().strip()}")
                time.sleep(0.05)

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def requests(self):
        """Requests served so far, this one included."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['status']}/status", timeout=5) as answer:
            return int(answer.read().split(b"\n")[2].split()[2])

    def cpu_s(self):
        pid = self.process.pid
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return sum(cpu_of(p) for p in [pid, *children])


def cpu_of(pid):
    """CPU seconds of a process, all its threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- clients -------------------------------------------------------------------------------------------


@dataclass
class Ran:
    """A client that has ended."""

    status: int
    stdout: str
    stderr: str
    cpu_s: float
    rss_kib: int
    others: float  # share of the machine that was neither this client's nor the server's


def memory_kib(pid, key):
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(rf"^{key}:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) if found else 0


def busy_s():
    """CPU seconds that the machine has spent on anything, time stolen from it included."""
    fields = [int(n) for n in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def run_client(command, cpus, limit_s, server, folder, env=None):
    """Runs a client to its end on these CPUs and says what the kernel counted for it, children included."""
    with (folder / "stdout").open("w") as out, (folder / "stderr").open("w") as err:
        began, busy, served = time.monotonic(), busy_s(), server.cpu_s()
        process = subprocess.Popen(
            [*first(), "taskset", "-c", cpus, *map(str, command)],
            stdout=out, stderr=err, stdin=subprocess.DEVNULL, cwd=folder, env=os.environ | (env or {}),
        )  # fmt: skip
        peak = 0
        try:
            while True:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    break
                peak = max(peak, memory_kib(process.pid, "VmHWM"))
                if time.monotonic() - began > limit_s:
                    process.kill()
                time.sleep(0.1)
        except BaseException:
            process.kill()
            os.wait4(process.pid, 0)
            process.returncode = -9
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        took = time.monotonic() - began
    cpu = usage.ru_utime + usage.ru_stime
    # `ru_maxrss` outlives `exec`, so it is never below what this very script had when it started the client: then the peak
    # that was looked up ten times a second must do.
    rss = usage.ru_maxrss if usage.ru_maxrss > memory_kib("self", "VmHWM") + 1024 else peak
    others = (busy_s() - busy - cpu - (server.cpu_s() - served)) / took / os.cpu_count()
    out, err = ((folder / name).read_text(errors="replace") for name in ("stdout", "stderr"))
    return Ran(process.returncode, out, err, cpu, rss, min(max(others, 0.0), 1.0))


# --- this machine and what is on it --------------------------------------------------------------------


def machine():
    cpu = re.search(r"^model name\s*:\s*(.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    uname = os.uname()
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "cpu": f"{cpu[1] if cpu else uname.machine}, {os.cpu_count()} logical CPUs",
        "kernel": f"{uname.sysname} {uname.release}",
        "priority": "nice -10 for every client and the server" if first() else "the usual, for all",
    }


def words_of(command):
    """What a program prints, on whichever of its outputs, whatever its exit code."""
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    except OSError:
        return ""
    return (ran.stdout + ran.stderr).strip()


def floor_binary(name="floor"):
    """A bare client, built as cargo builds a bench."""
    command = ["cargo", "bench", "--locked", "--bench", name, "--no-run", "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    for line in built.stdout.splitlines():
        made = json.loads(line)
        if made.get("target", {}).get("name") == name and made.get("executable"):
            return made["executable"]
    raise Trouble(f"cargo made no bench named {name}")


def say(words):
    print(words, file=sys.stderr, flush=True)
