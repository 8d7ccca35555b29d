"""`PUT <<base>>/KEY` keeps the request's body under a key, `GET <<base>>/KEY` reads it. Another component keeps it,
through the contract <<contract>>."""

from componentize_py_types import Err
from spin_sdk import http
from spin_sdk.http import Request, Response
from wit_world.imports import <<python_import>> as values


class HttpHandler(http.Handler):
    async def handle_request(self, request: Request) -> Response:
        key = request.uri.partition("?")[0].removeprefix("<<base>>/")
        try:
            if request.method == "PUT":
                values.set(key, (request.body or b"").decode(errors="replace"))
                return Response(204, {}, None)
            value = values.get(key)
        except Err as error:
            match error.value:
                case values.Error_Invalid(reason):
                    return text(400, f"{reason}\n")
                case values.Error_Unavailable(reason):
                    return text(503, f"{reason}\n")
            raise
        return Response(404, {}, None) if value is None else text(200, value)


def text(status: int, body: str) -> Response:
    return Response(status, {"content-type": "text/plain"}, body.encode())
