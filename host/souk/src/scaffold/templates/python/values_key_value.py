"""Exports the contract <<contract>>, and keeps its values in a key-value store."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.<<python_module>> import Error_Invalid, Error_Unavailable
from wit_world.imports import key_value

# The label in `key_value_stores`.
STORE = "<<component>>"


class <<python_class>>(exports.<<python_class>>):
    def get(self, key: str) -> str | None:
        try:
            with key_value.Store.open(STORE) as store:
                value = store.get(key)
        except Err as error:
            raise unavailable(error)
        return None if value is None else value.decode(errors="replace")

    def set(self, key: str, value: str) -> None:
        if not key:
            raise Err(Error_Invalid("the key is empty"))
        try:
            with key_value.Store.open(STORE) as store:
                store.set(key, value.encode())
        except Err as error:
            raise unavailable(error)


def unavailable(error: Err) -> Err:
    print(f"the store does not answer: {error.value}")
    return Err(Error_Unavailable("the values cannot be read now"))
