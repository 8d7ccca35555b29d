"""`POST <<base>>/` adds the request's body to a list, `GET <<base>>/` shows the list."""

from componentize_py_types import Err
from spin_sdk import http, sqlite
from spin_sdk.http import Request, Response

# The label in `sqlite_databases`.
DATABASE = "<<component>>"
# The most characters of one line.
MAX_LINE = 1000


class HttpHandler(http.Handler):
    async def handle_request(self, request: Request) -> Response:
        try:
            if request.method != "POST":
                rows = await query("SELECT text FROM lines ORDER BY id LIMIT 100")
                lines = "".join(f"{row.values[0].value}\n" for row in rows)
                return Response(200, {"content-type": "text/plain"}, lines.encode())
            text = (request.body or b"").decode(errors="replace")
            if not 1 <= len(text) <= MAX_LINE:
                return Response(400, {}, f"send a text of 1 to {MAX_LINE} characters\n".encode())
            await query("INSERT INTO lines (text) VALUES (?1)", text)
            return Response(201, {}, None)
        except Err as error:
            print(f"the database does not answer: {error.value}")
            return Response(503, {}, None)


async def query(statement: str, *texts: str) -> list[sqlite.RowResult]:
    """The rows that a statement answers with."""
    with await sqlite.Connection.open(DATABASE) as database:
        _, stream, done = await database.execute(statement, [sqlite.Value_Text(text) for text in texts])
        rows = []
        with stream, done:
            while not stream.writer_dropped:
                rows += await stream.read(100)
        return rows
