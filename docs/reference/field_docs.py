"""What the source says of the fields of its nouns, and of the keys of its YAML files."""

import ast
import dataclasses
import inspect
import re
import textwrap
import types
import typing
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def field_docs(noun: type) -> dict[str, str]:
    """Returns the docstring below each field of a dataclass, and that of each of its properties."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(noun))).body
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for node, following in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.FunctionDef):
            found[node.name] = (ast.get_docstring(node) or "").removeprefix("Returns ")
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(following, ast.Expr):
            assert isinstance(following.value, ast.Constant)
            found[node.target.id] = inspect.cleandoc(str(following.value.value))
    return {name: one_line(text) for name, text in found.items() if text}


def yaml_comments(path: Path) -> dict[str, str]:
    """Returns the comment above each key of a YAML file, by the key's dotted path."""
    found: dict[str, str] = {}
    above: list[str] = []
    outer: list[tuple[int, str]] = []
    for line in path.read_text().splitlines():
        text = line.strip()
        if text.startswith("#"):
            above.append(text.lstrip("# "))
            continue
        key = re.match(r"( *)([\w-]+):", line)
        if key:
            depth = len(key.group(1))
            outer = [(level, name) for level, name in outer if level < depth] + [(depth, key.group(2))]
            if above:
                found[".".join(name for _, name in outer)] = one_line(" ".join(above))
        above = []
    return found


def sentence(text: str) -> str:
    """Returns the text with a capital letter and a full stop, unless it begins with a word of the configuration."""
    first = text[:1] if re.match(r"[\w, ]+(:| \\\|)", text) else text[:1].upper()
    return f"{first}{text[1:].removesuffix('.')}." if text else ""


def one_line(text: str) -> str:
    """Returns the text as a cell of a table: one line, bars escaped."""
    return re.sub(r"\bNone\b", "null", " ".join(text.split())).replace("|", "\\|")


def shown_type(hint: object) -> str:
    """Returns a type as people write it; what may be absent is said by the default."""
    args = [arg for arg in typing.get_args(hint) if arg is not type(None)]
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return shown_type(args[0])
    if typing.get_origin(hint) in (tuple, list):
        return {"a group of keys": "list of groups"}.get(one := shown_type(args[0]), f"list of {one}s")
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}.get(
        getattr(hint, "__name__", str(hint)), "a group of keys"
    )


def shown_default(field: "dataclasses.Field[object]") -> str:
    """Returns the default of a field: `required` where it has none, `empty` for null, nothing for a group of keys."""
    if field.default is dataclasses.MISSING:
        return "required" if field.default_factory is dataclasses.MISSING else ""
    if field.default in (None, "???"):
        return "empty" if field.default is None else "required"
    if isinstance(field.default, tuple):
        return f"`{list(field.default)}`"
    return "" if dataclasses.is_dataclass(field.default) else f"`{field.default}`"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Returns the lines of a Markdown table."""
    return [_row(head), f"|{'---|' * len(head)}", *map(_row, rows)]


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
