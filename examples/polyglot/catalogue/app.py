"""The catalogue: answers `store:products/catalog` and `changes` from a SQLite database, and reaches nothing else."""

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
from wit_world.exports.changes import Change, What
from wit_world.imports import sqlite

COLUMNS = "id, name, price_cents, available, created_at, updated_at"
COUNT = "SELECT count(*) FROM products WHERE available = 1"
NOW = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
# The schema's bounds: the id of a row, and a price.
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
    product_id, name, cents, available, created_at, updated_at = row[:6]
    return Product(product_id, name, Money(cents), available == 1, created_at, updated_at)


def only_product(rows: list) -> Product:
    if not rows:
        raise Err(Error_NotFound())
    return product(rows[0])


def checked_id(product_id: int) -> int:
    """Refuses an id that SQLite cannot store, as `not-found`: no row can have it."""
    if product_id > MAX_ID:
        raise Err(Error_NotFound())
    return product_id


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


def created(by: str | None, new: NewProduct) -> Product:
    statement = f"INSERT INTO products (name, price_cents, changed_by) VALUES (?1, ?2, ?3) RETURNING {COLUMNS}"
    return only_product(query(statement, checked_name(new.name), checked_cents(new.price), by))


def updated(by: str | None, product_id: int, changes: ProductChanges) -> Product:
    if changes.name is None and changes.price is None:
        raise Err(Error_Invalid("nothing to change: give a name or a price"))
    name = None if changes.name is None else checked_name(changes.name)
    cents = None if changes.price is None else checked_cents(changes.price)
    statement = (
        "UPDATE products SET name = coalesce(?2, name), price_cents = coalesce(?3, price_cents), changed_by = ?4, "
        f"trace = NULL, updated_at = {NOW} WHERE id = ?1 AND available = 1 RETURNING {COLUMNS}"
    )
    return only_product(query(statement, checked_id(product_id), name, cents, by))


def set_available(by: str | None, product_id: int, available: int) -> Product:
    """Deletes a product (0), or restores it (1)."""
    statement = (
        f"UPDATE products SET available = ?2, changed_by = ?3, trace = NULL, updated_at = {NOW} "
        f"WHERE id = ?1 AND available = 1 - ?2 RETURNING {COLUMNS}"
    )
    return only_product(query(statement, checked_id(product_id), available, by))


def listed(available: int, after: int | None, limit: int) -> NextPage:
    if not 1 <= limit <= MAX_PAGE:
        raise Err(Error_Invalid(f"limit must be from 1 to {MAX_PAGE}"))
    # One row more than requested shows whether there is a next page. No product has an id above MAX_ID.
    rows = query(
        f"SELECT {COLUMNS} FROM products WHERE available = ?3 AND id > ?1 ORDER BY id LIMIT ?2",
        min(after or 0, MAX_ID),
        limit + 1,
        available,
    )
    products = [product(row) for row in rows[:limit]]
    return NextPage(products, products[-1].id if len(rows) > limit else None)


class Catalog(exports.Catalog):
    """The export `catalog`. It keeps no state, because each call may run in another instance."""

    def create(self, product: NewProduct) -> Product:
        return created(None, product)

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
        return listed(1, after, limit)

    def get(self, id: int) -> Product:
        return only_product(query(f"SELECT {COLUMNS} FROM products WHERE id = ?1 AND available = 1", checked_id(id)))

    def update(self, id: int, changes: ProductChanges) -> Product:
        return updated(None, id, changes)

    def delete(self, id: int) -> Product:
        return set_available(None, id, 0)

    def validate(self, ids: list[int]) -> list[Product]:
        unique = sorted(set(ids))
        if not unique:
            return []
        checked_id(unique[-1])
        if len(unique) > MAX_PAGE:
            raise Err(Error_Invalid(f"at most {MAX_PAGE} products at once"))
        rows = query(
            f"SELECT {COLUMNS} FROM products WHERE available = 1 AND id IN (SELECT value FROM json_each(?1)) ORDER BY id",
            json.dumps(unique),
        )
        if len(rows) != len(unique):
            raise Err(Error_NotFound())
        return [product(row) for row in rows]


class Changes(exports.Changes):
    """The export `changes`: changes on behalf of a user, and the history that triggers of the database record."""

    def create(self, by: str | None, product: NewProduct) -> Product:
        return created(by, product)

    def update(self, by: str | None, id: int, changes: ProductChanges) -> Product:
        return updated(by, id, changes)

    def delete(self, by: str | None, id: int) -> Product:
        return set_available(by, id, 0)

    def restore(self, by: str | None, id: int) -> Product:
        there = query(f"SELECT {COLUMNS} FROM products WHERE id = ?1 AND available = 1", checked_id(id))
        return product(there[0]) if there else set_available(by, id, 1)

    def list_deleted(self, after: int | None, limit: int) -> NextPage:
        return listed(0, after, limit)

    def history(self, id: int) -> list[Change]:
        rows = query(
            "SELECT at, changed_by, trace, what, old, new FROM product_history WHERE product_id = ?1 "
            "ORDER BY seq DESC LIMIT 1000",
            checked_id(id),
        )
        if not rows and not query("SELECT id FROM products WHERE id = ?1", checked_id(id)):
            raise Err(Error_NotFound())
        return [Change(at, by, trace, What[what], old, new) for at, by, trace, what, old, new in rows]
