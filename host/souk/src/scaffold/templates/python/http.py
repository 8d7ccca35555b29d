"""Answers every request."""

from spin_sdk import http
from spin_sdk.http import Request, Response


class HttpHandler(http.Handler):
    async def handle_request(self, request: Request) -> Response:
        path = request.uri.partition("?")[0]
        return Response(200, {"content-type": "text/plain"}, f"Hello from {path}\n".encode())
