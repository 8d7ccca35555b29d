"""For the tests: the application that `souk test` has started."""

import json
import os
import subprocess
import urllib.error
import urllib.request


def request(path: str, method: str = "GET", body: str | None = None) -> tuple[int, str]:
    """Sends a request; the status and the text of its response."""
    data = None if body is None else body.encode()
    asked = urllib.request.Request(os.environ["SOUK_URL"] + path, data, method=method)
    try:
        with urllib.request.urlopen(asked) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def souk(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of `souk` on the application."""
    application = ["--from", os.environ["SOUK_MANIFEST"], "--state-dir", os.environ["SOUK_STATE_DIR"]]
    return subprocess.run([os.environ["SOUK_PROGRAM"], *command, *application], capture_output=True, text=True)


def call(component: str, function: str, **arguments):
    """Calls a function of any component; the error of its `result` is `{"err": ...}`."""
    output = souk("call", component, function, json.dumps(arguments))
    if output.returncode == 0:
        return json.loads(output.stdout)
    for line in output.stderr.splitlines():
        if line.startswith('{"err":'):
            return json.loads(line)
    raise AssertionError(output.stderr)


def wait_for_deliveries() -> None:
    """Waits until every message of durable links is delivered or is a dead letter."""
    output = souk("events", "wait")
    if output.returncode != 0:
        raise AssertionError(output.stderr)
