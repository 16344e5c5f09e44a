"""From YAML text to the types of :mod:`consumers.maps_model`, keeping the line of everything that was read.

msgspec stops at the first error and does not know lines, so the walk over the tree is done here and msgspec judges
the leaves: every error of a file is found in one go, and each says where it stands and what to write instead.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Union, get_args, get_origin

import msgspec
import yaml

from consumers.maps_model import UNSAFE_HASH

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a map: where, and what to do."""

    file: str
    line: int
    key: Path
    text: str

    @property
    def path(self) -> str:
        """The place within the map, as people write it."""
        return dotted(self.key)

    def __str__(self) -> str:
        place = f" ({self.path})" if self.path else ""
        return f"{self.file}:{self.line}: {self.text}{place}"


class MapError(Exception):
    """A data map cannot be used. ``problems`` has all of them, in the order of the file."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.text)))
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(slots=True)
class Source:
    """A file being read: its lines by path, and the problems found so far."""

    file: str
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """The line (from 1) of what stands at ``path``, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def problem(self, path: Path, text: str) -> None:
        """Note one problem at ``path``."""
        self.problems.append(Problem(self.file, self.line(path), path, text))


def dotted(path: Path) -> str:
    """A path as people write it: ``datasets.users.match[0].column``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


NO_HASH = (
    "a hash of an identifier is still personal data, for whoever can list the identifiers can undo it; "
    "empty the column, give it a fixed value, or delete the row"
)


class Bad:
    """Stands where a value could not be read; its problem is noted already."""


BAD = Bad()


def read(text: str, file: str) -> tuple[Any, Source]:
    """The plain data of a YAML document, with the line of each key and item.

    Raises :class:`MapError` when the text is no YAML, or has no mapping at its top.
    """
    source = Source(file)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise MapError([Problem(file, line, (), f"this is not YAML: {error.problem or error.context}")]) from None
    if not isinstance(node, yaml.MappingNode):
        raise MapError([Problem(file, 1, (), "a data map is a mapping; begin with `product:`")])
    data = _plain(node, (), source)
    return data, source


def _plain(node: yaml.Node, path: Path, source: Source) -> Any:
    source.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _plain_mapping(node, path, source)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, i), source) for i, item in enumerate(node.value)]
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node)
    except (yaml.YAMLError, ValueError):
        source.problem(path, "this value cannot be read; put it in quotes")
        return BAD
    finally:
        loader.dispose()


def _plain_mapping(node: yaml.MappingNode, path: Path, source: Source) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        here = (*path, key)
        if key in data:
            source.problem(path, f"`{key}` stands here twice (again in line {key_node.start_mark.line + 1}); keep one")
            continue
        source.lines[here] = key_node.start_mark.line + 1
        data[key] = _plain(value_node, here, source)
    return data


def decode(form: Any, value: Any, path: Path, source: Source) -> Any:
    """``value`` as ``form``, or :data:`BAD` with every problem noted in ``source``."""
    if value is BAD:
        return BAD
    if get_origin(form) is typing.Annotated and _is_plain_form(form):
        return _leaf(form, value, path, source)
    if isinstance(form, type) and issubclass(form, msgspec.Struct):
        return _struct(form, value, path, source)
    origin, args = get_origin(form), get_args(form)
    if origin in (Union, types.UnionType):
        return _union(args, value, path, source)
    if origin is dict:
        return _dict(args, value, path, source)
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return _tuple(args[0], value, path, source)
    return _leaf(form, value, path, source)


def _is_plain_form(form: Any) -> bool:
    inner = get_args(form)[0]
    return not (isinstance(inner, type) and issubclass(inner, msgspec.Struct))


def _struct(form: type[msgspec.Struct], value: Any, path: Path, source: Source) -> Any:
    if not isinstance(value, Mapping):
        source.problem(path, f"expected a mapping with {_names(form)}")
        return BAD
    known, hints = _fields(form)
    for name in value:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"known here: {_names(form)}"
            source.problem((*path, name), f"unknown key `{name}`; {hint}")
    made: dict[str, Any] = {}
    for name, info in known.items():
        if name in value:
            made[info.name] = decode(hints[info.name], value[name], (*path, name), source)
        elif info.required:
            source.problem(path, f"`{name}` is missing here")
            made[info.name] = BAD
    if any(part is BAD for part in made.values()) or not value.keys() <= known.keys():
        return BAD
    return form(**made)


@cache
def _fields(form: type[msgspec.Struct]) -> tuple[dict[str, msgspec.structs.FieldInfo], dict[str, Any]]:
    """The fields of a struct by the names they have in YAML, and their types by the names they have here."""
    fields = {info.encode_name: info for info in msgspec.structs.fields(form)}
    return fields, typing.get_type_hints(form, include_extras=True)


def _names(form: type[msgspec.Struct]) -> str:
    return ", ".join(f"`{f.encode_name}`" for f in msgspec.structs.fields(form))


def _union(forms: tuple[Any, ...], value: Any, path: Path, source: Source) -> Any:
    structs = [f for f in forms if isinstance(f, type) and issubclass(f, msgspec.Struct)]
    if structs and isinstance(value, Mapping):
        return _struct_of(structs, value, path, source)
    others = [f for f in forms if f not in structs]
    tuples = [f for f in others if get_origin(f) is tuple]
    if tuples and isinstance(value, list):
        return _tuple(get_args(tuples[0])[0], value, path, source)
    if others:
        joined: Any = Union[tuple(f for f in others if f not in tuples)]  # noqa: UP007 - built at run time
        return _leaf(joined, value, path, source, structs)
    source.problem(path, f"expected a mapping with {_markers(structs)}")
    return BAD


def _struct_of(forms: list[type[msgspec.Struct]], value: Mapping[str, Any], path: Path, source: Source) -> Any:
    """The one struct of a union whose marking key stands in the mapping."""
    if len(forms) == 1:
        return _struct(forms[0], value, path, source)
    fits = [form for form in forms if _marker(form) in value]
    if len(fits) == 1:
        return _struct(fits[0], value, path, source)
    wanted = "exactly one of " + _markers(forms)
    bad = next(iter(value), "")
    if not fits and UNSAFE_HASH.search(bad):
        source.problem(path, NO_HASH)
    elif not fits and len(value) == 1:
        source.problem(path, f"unknown treatment or reference `{bad}`; write {wanted}")
    else:
        source.problem(path, f"this needs {wanted}")
    return BAD


def _marker(form: type[msgspec.Struct]) -> str:
    return str(getattr(form, "marker", ""))


def _markers(forms: list[type[msgspec.Struct]]) -> str:
    return ", ".join(f"`{_marker(form) or form.__name__.lower()}:`" for form in forms)


def _dict(args: tuple[Any, ...], value: Any, path: Path, source: Source) -> Any:
    if not isinstance(value, Mapping):
        source.problem(path, "expected a mapping")
        return BAD
    made = {}
    for name, item in value.items():
        key = _leaf(args[0], name, (*path, name), source)
        made[key] = decode(args[1], item, (*path, name), source)
    return BAD if BAD in made or any(item is BAD for item in made.values()) else made


def _tuple(form: Any, value: Any, path: Path, source: Source) -> Any:
    if not isinstance(value, list):
        source.problem(path, "expected a list, written [a, b] or with a dash per line")
        return BAD
    items = [decode(form, item, (*path, i), source) for i, item in enumerate(value)]
    return BAD if any(item is BAD for item in items) else tuple(items)


def _leaf(form: Any, value: Any, path: Path, source: Source, structs: list[type[msgspec.Struct]] | None = None) -> Any:
    try:
        return msgspec.convert(value, form)
    except msgspec.ValidationError as error:
        text = str(error).split(" - at ")[0]
        choices = _choices(form)
        if choices and UNSAFE_HASH.search(str(value)):
            text = NO_HASH
        elif choices:
            text = f"`{value}` is not known here; write one of {', '.join(choices)}"
            if structs:
                text += f", or a mapping with {_markers(structs)}"
        elif "matching regex" in text:
            text = f"`{value}` is no name that may stand here: letters, digits and underscores, no SQL"
        source.problem(path, text)
        return BAD


def _choices(form: Any) -> list[str]:
    forms = get_args(form) if get_origin(form) in (Union, types.UnionType) else (form,)
    words = [str(member.value) for f in forms if hasattr(f, "__members__") for member in f.__members__.values()]
    return [*words, "null"] if words and type(None) in forms else words
