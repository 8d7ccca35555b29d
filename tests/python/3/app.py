"""A component as users of Spin's SDK 3 for Python build it: WASI 0.2."""

from spin_sdk import http, key_value, llm, variables
from spin_sdk.http import Request, Response


class IncomingHandler(http.IncomingHandler):
    def handle_request(self, request: Request) -> Response:
        path, _, query = request.uri.partition("?")
        match path.removeprefix("/python-3"):
            case "/echo":
                body = request.body or b""
            case "/key-value":
                with key_value.open_default() as store:
                    store.set("python", b"three")
                    body = store.get("python")
            case "/variable":
                body = variables.get(query).encode()
            case "/fetch":
                body = http.send(Request("GET", query, {}, None)).body
            case "/infer":
                body = llm.infer("llama2-chat", "Hello?").text.encode()
            case _:
                body = f"Hello from {path}".encode()
        return Response(200, {"content-type": "text/plain"}, body)
