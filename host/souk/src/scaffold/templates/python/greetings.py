"""Exports the contract <<contract>>. It is granted nothing: it can only compute."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.<<python_module>> import Error_Invalid


class <<python_class>>(exports.<<python_class>>):
    def greet(self, name: str) -> str:
        if not name:
            raise Err(Error_Invalid("say whom to greet"))
        return f"Hello, {name}!"
