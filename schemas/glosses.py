"""What the sources say about each field and member: texts for the generated documents."""

from __future__ import annotations

import ast
import inspect
import re
from types import ModuleType

_ROLE = re.compile(r":\w+:`~?([^`]+)`")


def glosses_of(*modules: ModuleType) -> dict[str, dict[str, str]]:
    """For each class of ``modules``, by name: the text of the class (key ``""``) and of each field or member.

    Read from the sources, since Python keeps no docstring of a field.
    """
    found: dict[str, dict[str, str]] = {}
    for module in modules:
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = _fields(node) | {"": plain(ast.get_docstring(node) or "")}
    return found


def _fields(node: ast.ClassDef) -> dict[str, str]:
    texts = {}
    for field, after in zip(node.body, node.body[1:], strict=False):
        if not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)):
            continue
        target = field.targets[0] if isinstance(field, ast.Assign) else getattr(field, "target", None)
        if isinstance(target, ast.Name):
            texts[target.id] = plain(str(after.value.value))
    return texts


def plain(text: str) -> str:
    """Markdown of a docstring: one line per paragraph, names in single backticks."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    joined = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    return _ROLE.sub(r"`\1`", joined).replace("``", "`").replace("`None`", "`null`")
