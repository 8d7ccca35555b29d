"""What a customer does, at the store that serves argv[1]: registers, orders, pays at the sandbox, sees the order paid.

Only what Python brings along, since it runs where a package is tried out.
"""
import json
import sys
import time
import urllib.error
import urllib.request
import uuid

BASE = sys.argv[1]


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


OPENER = urllib.request.build_opener(NoRedirect)


def ask(method, path, body=None, token=None):
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(f"{BASE}{path}", data, headers, method=method)
    try:
        with OPENER.open(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        if error.code == 303:
            return 303, None
        sys.exit(f"{method} {path} answered {error.code}: {error.read().decode()}")


email = f"{uuid.uuid4().hex}@example.com"
_, account = ask("POST", "/api/auth/register", {"name": "Ann", "email": email, "password": "Abc123!x"})
token = account["token"]
_, made = ask("POST", "/api/orders", {"items": [{"productId": 1, "quantity": 2}]}, token)
page = made["paymentSession"]["url"]
status, _ = ask("POST", page[page.index("/stripe-sandbox/"):], {}, None)
assert status == 303, status
path = f"/api/orders/id/{made['order']['id']}"
for _ in range(1200):
    if ask("GET", path, token=token)[1]["status"] == "PAID":
        print(f"bought at {BASE}")
        sys.exit(0)
    time.sleep(0.1)
sys.exit("the order was not paid within two minutes")
