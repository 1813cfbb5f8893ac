#!/usr/bin/env python3
"""Looks at the status page in headless Chromium, and decides whether it does what it must.

`browser.py CHROMIUM URL FOLDER SCREENSHOT`, or `--planted` in place of the last, where an agent has announced markup. The browser is driven over a pipe: no port, no package. Beside the page itself it
looks at copies of it that are broken in one way each, and each must be found broken.
"""
import base64
import html
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
         "--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--remote-debugging-pipe"]
# The page asks every two seconds, and says that it is old after seven.
ALIVE, OLD = 6, 11
LOOK = """JSON.stringify({
  html: document.documentElement.className, live: document.documentElement.dataset.live || '',
  look: Number(document.documentElement.dataset.look || 0), updates: Number(document.documentElement.dataset.updates || 0),
  hostile: document.documentElement.dataset.hostile || '', images: document.querySelectorAll('img').length,
  scripts: document.scripts.length, title: document.title, stale: getComputedStyle(document.getElementById('stale')).display,
  verdict: document.querySelector('#verdict strong')?.textContent || '', text: document.body.innerText,
  groups: [...document.querySelectorAll('#groups tbody tr th .id')].map((of) => of.title),
  drawn: document.querySelectorAll('#space svg rect.edge').length,
  hosts: document.querySelectorAll('#hosts tbody tr').length, stars: document.querySelectorAll('#hosts td.leads').length,
  outside: performance.getEntriesByType('resource').filter((of) => !of.name.startsWith(location.origin)).length})"""


class Browser:
    def __init__(self, program, folder):
        (theirs_in, to), (back, theirs_out) = os.pipe(), os.pipe()
        # The browser reads from descriptor 3 and writes to 4. Above those while they are put there.
        theirs_in, theirs_out = [os.dup(os.dup(os.dup(fd))) for fd in (theirs_in, theirs_out)]
        command = ["bash", "-c", f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}', program, *FLAGS,
                   f"--user-data-dir={folder}", "--window-size=1180,1000", "about:blank"]
        log = open(os.path.join(folder, "log"), "wb")
        self.process = subprocess.Popen(command, pass_fds=(theirs_in, theirs_out), stdout=log, stderr=log,
                                        start_new_session=True)
        os.close(theirs_out)
        self.to, self.back, self.rest, self.number, self.complaints = to, os.fdopen(back, "rb", 0), b"", 0, {}

    def say(self, method, session=None, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.hear()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise SystemExit(f"page: the browser refuses {method}: {answer['error']}")
                return answer["result"]

    def hear(self):
        while b"\0" not in self.rest:
            more = self.back.read(1 << 16)
            if not more:
                raise SystemExit("page: the browser has ended")
            self.rest += more
        message, self.rest = self.rest.split(b"\0", 1)
        message = json.loads(message)
        if message.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
            entry = message["params"].get("entry") or message["params"]["exceptionDetails"]
            self.complaints.setdefault(message["sessionId"], []).append(entry.get("text", "?"))
        return message

    def open(self, url):
        target = self.say("Target.createTarget", url="about:blank", newWindow=True)["targetId"]
        session = self.say("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.say(f"{domain}.enable", session)
        self.say("Page.navigate", session, url=url)
        return session

    def look(self, session):
        answer = self.say("Runtime.evaluate", session, expression=LOOK)["result"]
        if "value" not in answer:
            raise SystemExit(f"page: no status page there: {answer}")
        return json.loads(answer["value"])

    def picture(self, session, file):
        size = self.say("Page.getLayoutMetrics", session)["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": 1180, "height": size["height"], "scale": 1}
        data = self.say("Page.captureScreenshot", session, format="png", captureBeyondViewport=True, clip=clip)["data"]
        with open(file, "wb") as out:
            out.write(base64.b64decode(data))


def faults(before, after, complaints, truth, planted):
    """What is wrong with the page, by what the browser holds at first and some seconds later."""
    wrong = []
    words = {"well": "All is well", "attention": "Needs attention", "bad": "Bad"}
    if after["html"] != truth["verdict"] or after["verdict"] != words[truth["verdict"]]:
        wrong.append(f"the verdict is {truth['verdict']}, and the page says {after['verdict']!r}")
    if sorted(after["groups"]) != sorted(group["group"] for group in truth["groups"]):
        wrong.append(f"it shows the groups {after['groups']}")
    owned = sum(len(group["prefixes"]) for group in truth["groups"])
    if after["drawn"] < owned or owned == 0:
        wrong.append(f"{owned} prefixes are owned, and {after['drawn']} drawn")
    leaders = sum(1 for group in truth["groups"] if group["serves"])
    # Each that serves is marked in the table of groups too.
    if after["hosts"] < len(truth["hosts"]) or after["stars"] < leaders:
        wrong.append(f"it shows {after['hosts']} hosts and {after['stars']} leaders")
    if after["updates"] <= before["updates"] or after["look"] <= before["look"] or after["live"] != "live":
        wrong.append("it did not live: nothing new was shown")
    if after["stale"] != "none":
        wrong.append("it says that it is old")
    if after["images"] or after["scripts"] != 1 or after["hostile"]:
        wrong.append("markup of a stranger became part of it")
    if planted and "<img src=x" not in after["text"]:
        wrong.append("what a stranger announced is not shown as text")
    if after["outside"]:
        wrong.append("it asked for something from elsewhere")
    if complaints:
        wrong.append(f"the browser complains: {complaints[:3]}")
    return wrong


def serve_copies(url):
    """The page with one thing wrong: without its script, with markup let in, or the same for ever."""
    base = url.rsplit("/", 1)[0]
    kept = {}

    class Copy(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            with urllib.request.urlopen(f"{base}/status", timeout=10) as answer:
                page, policy = answer.read().decode(), answer.headers["Content-Security-Policy"]
            if self.server.how == "no script":
                page = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
            if self.server.how == "broken script":
                page = page.replace("'use strict';", "'use strict'; none();")
            if self.server.how == "markup":
                page = page.replace("&lt;img", "<img", 1)
            if self.server.how == "frozen":
                page = kept.setdefault("page", page)
            page = page.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Security-Policy", policy)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_):
            pass

    ports = {}
    for how in ("no script", "broken script", "markup", "frozen"):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Copy)
        server.how = how
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ports[how] = f"http://127.0.0.1:{server.server_port}/status"
    return ports


def told(url):
    with urllib.request.urlopen(url.rsplit("/", 1)[0] + "/status.json", timeout=10) as answer:
        return json.load(answer)


def await_announcement(url):
    """Until the agent asked has read what was planted."""
    for _ in range(40):
        with urllib.request.urlopen(url, timeout=10) as answer:
            if "onerror" in html.unescape(answer.read().decode()):
                return
        time.sleep(0.5)
    raise SystemExit("page: the planted announcement is not shown")


def main():
    program, url, folder, what = sys.argv[1:5]
    planted = what == "--planted"
    if planted:
        await_announcement(url)
    browser = Browser(program, folder)
    try:
        copies = {how: browser.open(copy) for how, copy in serve_copies(url).items()} if planted else {}
        session = browser.open(url)
        time.sleep(1.5)
        all_of = {"the page": session, **copies}
        before = {name: browser.look(of) for name, of in all_of.items()}
        time.sleep(ALIVE if not copies else OLD)
        truth = told(url)
        after = {name: browser.look(of) for name, of in all_of.items()}
        found = {name: faults(before[name], after[name], browser.complaints.get(of, []), truth, planted)
                 for name, of in all_of.items()}
        if not planted:
            browser.picture(session, what)
    finally:
        browser.process.kill()
        browser.process.wait()
    wrong = list(found.pop("the page"))
    for how, faulty in found.items():
        # Each for its own reason, not for another.
        needed = {"no script": "did not live", "broken script": "did not live", "markup": "became part",
                  "frozen": "says that it is old"}[how]
        if not any(needed in fault for fault in faulty):
            wrong.append(f"a page that is broken ({how}) was not noticed: {faulty}")
    if wrong:
        raise SystemExit("page: " + "\npage: ".join(wrong))
    seen = after["the page"]
    print(f"page: {seen['verdict']}; {len(seen['groups'])} groups, {seen['hosts']} hosts, {seen['updates']} updates seen; "
          f"{len(found)} broken copies were noticed")


main()
