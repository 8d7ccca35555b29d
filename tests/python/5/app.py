"""A component as users of Spin's SDK 5 for Python build it: WASI 0.3 beside its release candidate."""

from spin_sdk import http, key_value, llm, sqlite, variables
from spin_sdk.http import Request, Response


class HttpHandler(http.Handler):
    async def handle_request(self, request: Request) -> Response:
        path, _, query = request.uri.partition("?")
        match path.removeprefix("/python-5"):
            case "/echo":
                body = request.body or b""
            case "/key-value":
                with await key_value.open_default() as store:
                    await store.set("python", b"five")
                    body = await store.get("python")
            case "/sqlite":
                with await sqlite.Connection.open_default() as database:
                    columns, rows, done = await database.execute("SELECT ? || '!'", [sqlite.Value_Text("five")])
                    with rows, done:
                        [row] = await rows.read(1)
                    body = row.values[0].value.encode()
            case "/variable":
                body = (await variables.get(query)).encode()
            case "/fetch":
                body = (await http.send(Request("GET", query, {}, None))).body
            case "/infer":
                body = llm.infer("llama2-chat", "Hello?").text.encode()
            case _:
                body = f"Hello from {path}".encode()
        return Response(200, {"content-type": "text/plain"}, body)
