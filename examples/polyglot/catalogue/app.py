"""The catalogue: answers the contract `store:products/catalog` from a SQLite database, and reaches nothing else."""

from __future__ import annotations

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.catalog import (
    Error_Internal,
    Error_Invalid,
    Error_NotFound,
    Error_Unavailable,
    Money,
    NewProduct,
    NextPage,
    Page,
    Product,
    ProductChanges,
)
from wit_world.imports import sqlite

COLUMNS = "id, name, price_cents, available, created_at, updated_at"
COUNT = "SELECT count(*) FROM products WHERE available = 1"
NOW = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
# The schema's bounds: a number of a row, and a price.
MAX_ID = 2**63 - 1
MAX_CENTS = 1_000_000_000_000
MAX_PAGE = 1000


def query(statement: str, *parameters: int | str | None) -> list[list[int | str | None]]:
    """The rows of a statement, each with its values."""
    try:
        with sqlite.Connection.open("products") as database:
            result = database.execute(statement, [value(parameter) for parameter in parameters])
    except Err as error:
        match error.value:
            case sqlite.Error_Io(detail):
                print(f"the database refused a statement: {detail}")
                raise Err(Error_Internal("the database refused a statement"))
            case other:
                print(f"the database cannot be used: {other}")
                raise Err(Error_Unavailable("the database cannot be used"))
    return [[getattr(column, "value", None) for column in row.values] for row in result.rows]


def value(parameter: int | str | None) -> sqlite.Value:
    match parameter:
        case int():
            return sqlite.Value_Integer(parameter)
        case str():
            return sqlite.Value_Text(parameter)
        case None:
            return sqlite.Value_Null()


def product(row: list) -> Product:
    number, name, cents, available, created_at, updated_at = row[:6]
    return Product(number, name, Money(cents), available == 1, created_at, updated_at)


def one(rows: list) -> Product:
    if not rows:
        raise Err(Error_NotFound())
    return product(rows[0])


def key(number: int) -> int:
    """A number that no row can have is simply not found."""
    if number > MAX_ID:
        raise Err(Error_NotFound())
    return number


def checked_name(name: str) -> str:
    if not name:
        raise Err(Error_Invalid("name should not be empty"))
    if "\0" in name:
        raise Err(Error_Invalid("name must not contain the character U+0000"))
    return name


def checked_cents(price: Money) -> int:
    if price.cents > MAX_CENTS:
        raise Err(Error_Invalid(f"price must not be greater than {MAX_CENTS} cents"))
    return price.cents


class Catalog(exports.Catalog):
    """One object of the component: it has no state, and another call may meet another instance."""

    def create(self, product: NewProduct) -> Product:
        name, cents = checked_name(product.name), checked_cents(product.price)
        return one(query(f"INSERT INTO products (name, price_cents) VALUES (?1, ?2) RETURNING {COLUMNS}", name, cents))

    def list(self, page: int, limit: int) -> Page:
        if page == 0:
            raise Err(Error_Invalid("page must be a positive number"))
        if not 1 <= limit <= MAX_PAGE:
            raise Err(Error_Invalid(f"limit must be from 1 to {MAX_PAGE}"))
        rows = query(
            f"SELECT {COLUMNS}, ({COUNT}) FROM products WHERE available = 1 ORDER BY id LIMIT ?1 OFFSET ?2",
            limit,
            (page - 1) * limit,
        )
        total = rows[0][6] if rows else query(COUNT)[0][0]
        return Page([product(row) for row in rows], total)

    def list_after(self, after: int | None, limit: int) -> NextPage:
        if not 1 <= limit <= MAX_PAGE:
            raise Err(Error_Invalid(f"limit must be from 1 to {MAX_PAGE}"))
        # One more than asked for says whether there are more; no product has a number beyond the database's.
        rows = query(
            f"SELECT {COLUMNS} FROM products WHERE available = 1 AND id > ?1 ORDER BY id LIMIT ?2",
            min(after or 0, MAX_ID),
            limit + 1,
        )
        products = [product(row) for row in rows[:limit]]
        return NextPage(products, products[-1].id if len(rows) > limit else None)

    def get(self, id: int) -> Product:
        return one(query(f"SELECT {COLUMNS} FROM products WHERE id = ?1 AND available = 1", key(id)))

    def update(self, id: int, changes: ProductChanges) -> Product:
        if changes.name is None and changes.price is None:
            raise Err(Error_Invalid("nothing to change: give a name or a price"))
        name = None if changes.name is None else checked_name(changes.name)
        cents = None if changes.price is None else checked_cents(changes.price)
        return one(
            query(
                "UPDATE products SET name = coalesce(?2, name), price_cents = coalesce(?3, price_cents), "
                f"updated_at = {NOW} WHERE id = ?1 AND available = 1 RETURNING {COLUMNS}",
                key(id),
                name,
                cents,
            )
        )

    def delete(self, id: int) -> Product:
        return one(
            query(
                f"UPDATE products SET available = 0, updated_at = {NOW} WHERE id = ?1 AND available = 1 "
                f"RETURNING {COLUMNS}",
                key(id),
            )
        )

    def validate(self, ids: list[int]) -> list[Product]:
        numbers = sorted(set(ids))
        if not numbers:
            return []
        key(numbers[-1])
        if len(numbers) > MAX_PAGE:
            raise Err(Error_Invalid(f"at most {MAX_PAGE} products at once"))
        rows = query(
            f"SELECT {COLUMNS} FROM products WHERE available = 1 AND id IN (SELECT value FROM json_each(?1)) ORDER BY id",
            json.dumps(numbers),
        )
        if len(rows) != len(numbers):
            raise Err(Error_NotFound())
        return [product(row) for row in rows]
