"""Takes what is delivered by <<contract>>, and keeps it in a database. The id is the primary key: what is delivered twice
is kept once."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.<<python_module>> import DeliveryError_Reject, DeliveryError_Retry
from wit_world.exports.kept import Error_Unavailable
from wit_world.imports import sqlite

# The label in `sqlite_databases`.
DATABASE = "<<component>>"
KEEP = "INSERT INTO messages (id, text) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING"
READ = "SELECT text FROM messages WHERE id = ?1"


class <<python_class>>(exports.<<python_class>>):
    def deliver(self, id: str, text: str) -> None:
        if not text:
            raise Err(DeliveryError_Reject("the text is empty"))
        try:
            query(KEEP, id, text)
        except Err as error:
            print(f"the database does not answer: {error.value}")
            raise Err(DeliveryError_Retry("the database does not answer"))


class Kept(exports.Kept):
    def read(self, id: str) -> str | None:
        try:
            rows = query(READ, id)
        except Err as error:
            print(f"the database does not answer: {error.value}")
            raise Err(Error_Unavailable("the database does not answer"))
        return rows[0].values[0].value if rows else None


def query(statement: str, *texts: str) -> list[sqlite.RowResult]:
    """The rows that a statement answers with."""
    with sqlite.Connection.open(DATABASE) as database:
        return database.execute(statement, [sqlite.Value_Text(text) for text in texts]).rows
