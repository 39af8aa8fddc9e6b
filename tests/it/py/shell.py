"""Drives a program on a pseudo-terminal: types what it is told to and waits for what it expects."""

import json
import os
import pty
import select
import sys
import time

job = json.load(sys.stdin)
pid, terminal = pty.fork()
if pid == 0:
    os.environ.update(job["environment"])
    os.execv(job["command"][0], job["command"])

screen = ""
seen = 0


def wait(expected):
    """Waits until the text comes, behind what was waited for before."""
    global screen, seen
    deadline = time.monotonic() + 60
    while screen.find(expected, seen) < 0:
        left = deadline - time.monotonic()
        ready = select.select([terminal], [], [], max(left, 0))[0]
        if not ready:
            sys.exit(f"'{expected}' did not come; on the screen is:\n{screen}")
        try:
            more = os.read(terminal, 65536)
        except OSError:
            more = b""
        if not more:
            sys.exit(f"'{expected}' did not come before the end; on the screen is:\n{screen}")
        screen += more.decode(errors="replace")
    seen = screen.find(expected, seen) + len(expected)


for step in job["steps"]:
    if "wait" in step:
        wait(step["wait"])
    elif "sleep" in step:
        time.sleep(step["sleep"])
    else:
        os.write(terminal, step["type"].encode())
while True:
    try:
        more = os.read(terminal, 65536)
    except OSError:
        break
    if not more:
        break
    screen += more.decode(errors="replace")
_, status = os.waitpid(pid, 0)
print(json.dumps({"status": os.waitstatus_to_exitcode(status), "screen": screen}))
