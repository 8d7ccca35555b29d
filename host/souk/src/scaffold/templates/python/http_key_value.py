"""`PUT <<base>>/KEY` keeps the request's body under a key, `GET <<base>>/KEY` reads it."""

from componentize_py_types import Err
from spin_sdk import http, key_value
from spin_sdk.http import Request, Response

# The label in `key_value_stores`.
STORE = "<<component>>"


class HttpHandler(http.Handler):
    async def handle_request(self, request: Request) -> Response:
        key = request.uri.partition("?")[0].removeprefix("<<base>>/")
        try:
            with await key_value.open(STORE) as store:
                if request.method == "PUT":
                    await store.set(key, request.body or b"")
                    return Response(204, {}, None)
                value = await store.get(key)
        except Err as error:
            print(f"the store does not answer: {error.value}")
            return Response(503, {}, None)
        if value is None:
            return Response(404, {}, None)
        return Response(200, {"content-type": "text/plain"}, value)
