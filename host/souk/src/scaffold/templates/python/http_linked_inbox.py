"""`PUT <<base>>/ID` hands the request's body over by the durable link <<contract>>.
`GET <<base>>/ID` reads it once it was delivered."""

from componentize_py_types import Err
from spin_sdk import http
from spin_sdk.http import Request, Response
from wit_world.imports import <<python_import>> as inbox
from wit_world.imports import <<python_import_kept>> as kept


class HttpHandler(http.Handler):
    async def handle_request(self, request: Request) -> Response:
        message = request.uri.partition("?")[0].removeprefix("<<base>>/")
        try:
            if request.method == "PUT":
                # Without an error, the message is on disk. It is delivered until the other component has it.
                inbox.deliver(message, (request.body or b"").decode(errors="replace"))
                return text(202, "stored, and delivered soon")
            body = kept.read(message)
        except Err as error:
            match error.value:
                case inbox.DeliveryError_Retry(reason) | inbox.DeliveryError_Reject(reason):
                    return text(503, reason)
                case kept.Error_Unavailable(reason):
                    return text(503, reason)
            raise
        return text(404, "there is no such message yet") if body is None else text(200, body)


def text(status: int, line: str) -> Response:
    return Response(status, {"content-type": "text/plain"}, f"{line}\n".encode())
