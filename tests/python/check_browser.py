#!/usr/bin/env python3
"""Opens a run's report.html in headless Chromium, from disk, and checks what people rely on:

- nothing on the console, no request beyond the file itself, no error when a pointer moves over it;
- everything there with scripts off: the verdict, each phase, fault and objective, and a picture with words per chart;
- no sideways scrolling on a telephone; light, dark and print each have a picture to look at.

Speaks the DevTools protocol over a pipe, so that there is no port and nothing to install.

usage: check_browser.py RUN_FOLDER CHROMIUM PICTURES_FOLDER
"""

import base64
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-extensions --remote-debugging-pipe"
).split()
PATIENCE = 60.0  # seconds for one answer

problems = []


class Browser:
    """A Chromium at the other end of two pipes: messages are JSON, each ended by a zero byte."""

    def __init__(self, binary, profile):
        to_browser, self.out = os.pipe()
        self.back, from_browser = os.pipe()

        def pipes():
            # Chromium reads commands from 3 and writes to 4. Copies first, lest one overwrites the other.
            a, b = os.dup(to_browser), os.dup(from_browser)
            os.dup2(a, 3)
            os.dup2(b, 4)

        command = [binary, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        with open(f"{profile}.log", "wb") as log:
            self.process = subprocess.Popen(command, preexec_fn=pipes, close_fds=False, stdout=log, stderr=log)
        os.close(to_browser)
        os.close(from_browser)
        self.buffer, self.events, self.last, self.session = b"", [], 0, None

    def open_tab(self):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.last:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def receive(self):
        until = time.monotonic() + PATIENCE
        while b"\0" not in self.buffer:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.back], [], [], left)[0]:
                sys.exit(f"chromium said nothing for {PATIENCE:.0f} s")
            piece = os.read(self.back, 1 << 16)
            if not piece:
                sys.exit(f"chromium ended with {self.process.wait()}")
            self.buffer += piece
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def go(self, url):
        """Loads the page, and returns what happened meanwhile."""
        self.events = []
        self.call("Page.navigate", url=url)
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self.receive())

    def evaluate(self, expression):
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def words(self):
        """What a reader, or a screen reader, is given: the accessibility tree, and the names of its pictures."""
        nodes = [n for n in self.call("Accessibility.getFullAXTree")["nodes"] if not n.get("ignored")]
        text = lambda n: str(n.get("name", {}).get("value", ""))
        role = lambda n: n.get("role", {}).get("value")
        pictures = [text(n) for n in nodes if role(n) in ("image", "img", "graphics-document", "figure") and text(n)]
        return squeeze(" ".join(text(n) for n in nodes if role(n) in ("StaticText", "heading", "image"))), pictures

    def close(self):
        self.session = None
        self.call("Browser.close")
        os.close(self.out)
        self.process.wait(timeout=PATIENCE)


def squeeze(text):
    return re.sub(r"\s+", " ", text)


def complaints(events):
    """Errors and warnings that the page caused."""
    for event in events:
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                yield params["exceptionDetails"].get("exception", {}).get("description", "an exception")
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                yield f"console.{params['type']}: {[a.get('value') for a in params['args']]}"
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                yield f"{params['entry']['source']}: {params['entry']['text']}"


def asked(events):
    for event in events:
        if event.get("method") == "Network.requestWillBeSent":
            yield event["params"]["request"]["url"]


def check_quiet(browser, url):
    browser.go(url)
    width, height = (browser.evaluate(f"document.documentElement.scroll{side}") for side in ("Width", "Height"))
    for y in range(20, min(height, 6000), 97):  # over everything that may listen to a pointer
        browser.evaluate(f"scrollTo(0, {y} - 300)")
        top = browser.evaluate(f"{y} - scrollY")
        browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=width // 2, y=int(top))
    browser.evaluate("scrollTo(0, 0)")
    problems.extend(complaints(browser.events))
    outside = [u for u in asked(browser.events) if u != url and not u.startswith("data:")]
    problems.extend(f"the page asked for {u}" for u in outside)
    resources = browser.evaluate("performance.getEntriesByType('resource').map(e => e.name).join(' ')")
    if resources:
        problems.append(f"the page loaded {resources}")
    if [u for u in asked(browser.events)] == []:
        problems.append("not even the page itself was seen to be asked for: this check sees nothing")
    print(f"ok: {width} × {height} points, {len(outside)} requests beyond the file, pointer moved over all of it")


def check_words(browser, url, run):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.go(url)
    text, pictures = browser.words()
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    wanted = [run["scenario"]["name"], run["verdict"], run["id"], run["reproduce"].split(" --")[0]]
    for part in ("phases", "faults"):
        wanted += [item["name"] for item in run[part]]
    wanted += [fault["kind"] for fault in run["faults"]] + [fault["mechanism"] for fault in run["faults"]]
    wanted += [o["metric"] for o in run["objectives"]]
    wanted += [f"{phase['planned']:,}" for phase in run["phases"] if phase["measured"]]
    for want in wanted:
        if squeeze(want).lower() not in text.lower():
            problems.append(f"with scripts off, `{want}` is not there")
    if len(pictures) < 4:
        problems.append(f"only {len(pictures)} pictures have words for those who do not see them: {pictures}")
    print(f"ok: {len(text.split())} words with scripts off, {len(wanted)} looked for; {len(pictures)} pictures with names")
    html = browser.call("DOM.getOuterHTML", nodeId=browser.call("DOM.getDocument")["root"]["nodeId"])["outerHTML"]
    if not (len(re.findall(r'<svg\b[^>]*\brole="img"', html)) >= 4):
        problems.append('fewer than four charts have role="img"')


def take_pictures(browser, url, folder):
    for scheme, width in (("light", 1200), ("dark", 1200), ("light", 390)):
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        browser.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        browser.go(url)
        if browser.evaluate("document.documentElement.scrollWidth > innerWidth"):
            problems.append(f"at {width} points the page scrolls sideways")
        name = scheme if width > 600 else "phone"
        shot = browser.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        (folder / f"{name}.png").write_bytes(base64.b64decode(shot))
        yield name, browser.evaluate("getComputedStyle(document.body).backgroundColor")
    browser.call("Emulation.clearDeviceMetricsOverride")
    printed = base64.b64decode(browser.call("Page.printToPDF", printBackground=True)["data"])
    (folder / "print.pdf").write_bytes(printed)
    if not printed.startswith(b"%PDF") or len(printed) < 20_000:
        problems.append(f"printed {len(printed)} bytes")


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    run_folder, binary, pictures = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    run = json.loads((run_folder / "run.json").read_text(encoding="utf-8"))
    url = (run_folder / "report.html").resolve().as_uri()
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(binary, f"{profile}/profile")
        browser.open_tab()
        check_quiet(browser, url)
        check_words(browser, url, run)
        colours = dict(take_pictures(browser, url, pictures))
        browser.close()
    if colours["light"] == colours["dark"]:
        problems.append(f"light and dark have one background: {colours}")
    if problems:
        sys.exit("\n".join(problems))
    print(f"ok: pictures in {pictures}: light, dark, phone, print")


if __name__ == "__main__":
    main()
