"""Receives the messages of <<contract>> and stores them in a key-value store. A message's id is its key, so a message
that is delivered twice is stored once."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.<<python_module>> import DeliveryError_Reject, DeliveryError_Retry
from wit_world.exports.kept import Error_Unavailable
from wit_world.imports import key_value

# The label in `key_value_stores`.
STORE = "<<component>>"


class <<python_class>>(exports.<<python_class>>):
    def deliver(self, id: str, text: str) -> None:
        if not text:
            raise Err(DeliveryError_Reject("the text is empty"))
        try:
            with key_value.Store.open(STORE) as store:
                store.set(id, text.encode())
        except Err as error:
            raise Err(DeliveryError_Retry(f"the store does not answer: {error.value}"))


class Kept(exports.Kept):
    def read(self, id: str) -> str | None:
        try:
            with key_value.Store.open(STORE) as store:
                text = store.get(id)
        except Err as error:
            raise Err(Error_Unavailable(f"the store does not answer: {error.value}"))
        return None if text is None else text.decode(errors="replace")
