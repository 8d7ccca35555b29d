"""Answers requests with what another component says, through the contract <<contract>>: `GET <<base>>/NAME`."""

from componentize_py_types import Err
from spin_sdk import http
from spin_sdk.http import Request, Response
from wit_world.imports import <<python_import>> as greetings


class HttpHandler(http.Handler):
    async def handle_request(self, request: Request) -> Response:
        name = request.uri.partition("?")[0].rpartition("/")[2]
        try:
            return text(200, greetings.greet(name))
        except Err as error:
            match error.value:
                case greetings.Error_Invalid(reason):
                    return text(400, reason)
                case greetings.Error_Unavailable(reason):
                    return text(503, reason)
            raise


def text(status: int, line: str) -> Response:
    return Response(status, {"content-type": "text/plain"}, f"{line}\n".encode())
