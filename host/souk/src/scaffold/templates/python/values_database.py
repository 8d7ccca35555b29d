"""Exports the contract <<contract>>, and keeps its values in a database."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.<<python_module>> import Error_Unavailable
from wit_world.imports import sqlite

# The label in `sqlite_databases`.
DATABASE = "<<component>>"
GET = "SELECT value FROM entries WHERE key = ?1"
SET = "INSERT INTO entries (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value"


class <<python_class>>(exports.<<python_class>>):
    def get(self, key: str) -> str | None:
        rows = query(GET, key)
        return rows[0].values[0].value if rows else None

    def set(self, key: str, value: str) -> None:
        query(SET, key, value)


def query(statement: str, *texts: str) -> list[sqlite.RowResult]:
    """The rows that a statement answers with."""
    try:
        with sqlite.Connection.open(DATABASE) as database:
            return database.execute(statement, [sqlite.Value_Text(text) for text in texts]).rows
    except Err as error:
        print(f"the database does not answer: {error.value}")
        raise Err(Error_Unavailable("the values cannot be read now"))
