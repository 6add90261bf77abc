#!/usr/bin/env python3
"""Opens a report.html in headless Chromium and checks what people rely on:

- from disk, without network: the page asks for nothing but itself, and says so in its policy;
- readable without scripts: verdict, tables and the words of every chart are there with scripts off;
- no error on the console; the cross-hair shows the numbers of a column;
- it prints.

usage: browser_report.py REPORT_HTML [CHROMIUM]
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-extensions --window-size=1200,1600 --virtual-time-budget=3000"
).split()

# Moves the pointer over the middle of the time-line after everything else has run.
POINT = """<script>
addEventListener("load", () => {
  const svg = document.querySelector("#timeline svg"), box = svg.getBoundingClientRect();
  svg.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + box.width / 2, clientY: box.top + 40 }));
});
</script>"""


def chromium(binary, page, *flags):
    """Runs it on the page; returns (stdout, stderr)."""
    with tempfile.TemporaryDirectory() as profile:
        command = [binary, *FLAGS, f"--user-data-dir={profile}", *flags, page.resolve().as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        sys.exit(f"chromium failed with {done.returncode}:\n{done.stderr}")
    return done.stdout, done.stderr


def words(html):
    """What a reader sees of it: text without markup, scripts and styles."""
    html = re.sub(r"(?s)<(script|style)\b.*?</\1>", " ", html)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def check_static(html, problems):
    if "default-src 'none'" not in html:
        problems.append("no content security policy")
    for attribute, value in re.findall(r"""\b(src|href|action|data|poster|srcset)\s*=\s*["']([^"']*)""", html):
        if not value.startswith(("data:", "#")):
            problems.append(f"{attribute}={value} leads outside")
    if re.search(r"url\(|@import", html):
        problems.append("a style leads outside")
    for image in re.findall(r"<svg\b[^>]*role=\"img\"[^>]*>", html):
        if "aria-labelledby" not in image:
            problems.append(f"a picture without words: {image[:80]}")
    tables, captions = html.count("<table"), html.count("<caption")
    if tables != captions:
        problems.append(f"{tables} tables, {captions} captions")


def check_without_scripts(binary, page, problems):
    # Chromium dumps the page by a script of its own, so that only the page's may be switched off: by its policy.
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "report.html"
        html = page.read_text(encoding="utf-8").replace("script-src 'unsafe-inline'", "script-src 'none'")
        copy.write_text(html, encoding="utf-8")
        dom, _ = chromium(binary, copy, "--dump-dom")
    text = words(dom)
    wanted = ["Objectives", "Proof of the faults", "Phases and spans", "Load generator", "Environment"]
    wanted += ["Requests and latency over time", "Share of good requests", "Latency by nines", "Latency heat map"]
    wanted += ["per second, by due", "time since the start", "p99.9"]
    for want in wanted:
        if want not in text:
            problems.append(f"without scripts `{want}` is not there")
    if not re.search(r"\b(Met|Violated|Inconclusive)\b", text):
        problems.append("without scripts there is no verdict")
    if 'class="tip"' in dom:
        problems.append("scripts ran although they were off")


def check_console_and_network(binary, page, problems):
    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder) / "net.json"
        copy = pathlib.Path(folder) / "report.html"
        copy.write_text(page.read_text(encoding="utf-8").replace("</body>", POINT + "</body>"), encoding="utf-8")
        dom, err = chromium(binary, copy, "--enable-logging=stderr", f"--log-net-log={log}", "--dump-dom")
        net = json.loads(log.read_text(encoding="utf-8"))
    problems += [f"console: {line}" for line in err.splitlines() if "CONSOLE" in line]
    problems += [f"the page asked for {url}" for url in asked(net) if not url.startswith(("file:", "data:"))]
    tip = re.search(r'<div class="tip".*?</div>', dom, re.S)
    shown = words(tip.group(0)) if tip else ""
    if "offered" not in shown or "p99" not in shown or "hidden" in (tip.group(0)[:60] if tip else ""):
        problems.append(f"the cross-hair shows nothing: `{shown}`")


def asked(net):
    """Addresses that a page asked for; what the browser does by itself has no initiator."""
    for event in net["events"]:
        params = event.get("params") or {}
        if "url" in params and params.get("initiator", "not an origin") != "not an origin":
            yield params["url"]


def check_print(binary, page, problems):
    with tempfile.TemporaryDirectory() as folder:
        pdf = pathlib.Path(folder) / "report.pdf"
        chromium(binary, page, f"--print-to-pdf={pdf}", "--no-pdf-header-footer")
        size = pdf.stat().st_size if pdf.exists() else 0
    if size < 20_000:
        problems.append(f"printed {size} bytes")


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    page = pathlib.Path(sys.argv[1])
    binary = sys.argv[2] if len(sys.argv) == 3 else "chromium"
    problems = []
    check_static(page.read_text(encoding="utf-8"), problems)
    check_without_scripts(binary, page, problems)
    check_console_and_network(binary, page, problems)
    check_print(binary, page, problems)
    if problems:
        sys.exit("\n".join(problems))
    print(f"{page.name}: opens without network, reads without scripts, prints")


if __name__ == "__main__":
    main()
