"""The reference: every public name of every public package, from its docstring, without importing it."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ._docstrings import described, paragraphs
from ._functions import LANGUAGE

PACKAGES = (
    "stepfold", "stepfold.cells", "stepfold.keras", "stepfold.torch", "stepfold.estimators", "stepfold.data",
    "stepfold.model", "stepfold.onnx", "stepfold.serve", "stepfold.probe", "stepfold.tasks",
    "stepfold.report", "stepfold.viewer",
)  # fmt: skip
"""The public packages in the order in which they are listed."""

_LONGEST = 160  # characters of a value that is shown

_HIDDEN = {"stepfold": {"cells"}, "stepfold.cells": None}
"""Names that stand elsewhere: submodules, and the cells, which the gallery has."""


@dataclass
class Reference:
    """The pages of the reference and the names that they document."""

    pages: dict[str, str] = field(default_factory=dict)
    objects: set[str] = field(default_factory=set)


def reference(source: Path) -> Reference:
    """Read the packages below `source` and return their pages as Markdown, place → text."""
    import griffe

    root = griffe.load("stepfold", search_paths=[str(source)], resolve_aliases=True)
    packages = {path: root if path == "stepfold" else root[path.partition(".")[2]] for path in PACKAGES}
    names = {path: _names(path, package) for path, package in packages.items()}
    found = Reference()
    found.objects = {f"{path}.{name}" for path, members in names.items() for name in members}
    found.objects |= set(names)
    for path, package in packages.items():
        found.pages[f"reference/{path}"] = _page(path, package, names[path], found)
    found.pages["reference/index"] = _index(packages)
    return found


def _names(path: str, package: Any) -> dict[str, Any]:
    """The members of a package that its page documents, by name, in the order of `__all__`."""
    hidden = _HIDDEN.get(path, set())
    chosen = (
        ["FAMILIES", "by_name", "names", "lstm_with", "gru_with", "simple_rnn_with"]
        if hidden is None
        else ([name for name in package.exports if name not in hidden])
    )
    members = {name: _resolved(package[name]) for name in chosen}
    return {name: member for name, member in members.items() if member is not None}


def _resolved(member: Any) -> Any:
    """The object that a name stands for, None for one of another package."""
    if not member.is_alias:
        return member
    try:
        return member.final_target
    except Exception as error:  # griffe's own error, of an alias that leads out of the package
        if type(error).__name__ != "AliasResolutionError":
            raise
        return None


def _index(packages: dict[str, Any]) -> str:
    rows = ["| package | what it is |", "|---|---|"]
    for path, package in packages.items():
        rows.append(f"| [`{path}`]({path}.md) | {_first(package)} |")
    tree = "\n".join(packages)
    return (
        "# Reference\n\nThe public names of every package. What is not listed here, and every module whose "
        "name begins with an underscore, is internal and may change.\n\n"
        + "\n".join(rows)
        + f"\n\n```{{toctree}}\n:hidden:\n\n{tree}\n```\n"
    )


def _first(member: Any) -> str:
    text = member.docstring.value if member.docstring else ""
    return " ".join(text.split("\n\n")[0].split()).replace("|", r"\|")


def _page(path: str, package: Any, members: dict[str, Any], found: Reference) -> str:
    parts = [f"# {path}\n", f"```{{py:module}} {path}\n```\n"]
    parts.append(_docstring(package, path, found))
    if path == "stepfold.cells":
        parts.append("Each built-in cell has a page in the [gallery](../gallery/index.md).\n")
    functions = {name: m for name, m in members.items() if m.kind.value == "function"}
    classes = {name: m for name, m in members.items() if m.kind.value == "class"}
    others = {name: m for name, m in members.items() if name not in functions | classes}
    if path == "stepfold":
        language = {name: m for name, m in functions.items() if m.module.path in LANGUAGE}
        functions = {name: m for name, m in functions.items() if name not in language}
    else:
        language = {}
    for title, group in (
        ("Functions", functions), ("Classes", classes), ("Values", others), ("The cell language", language),
    ):  # fmt: skip
        if group:
            parts.append(f"## {title}\n")
            parts += [_object(f"{path}.{name}", member, found) for name, member in group.items()]
    return "\n".join(parts)


def _object(path: str, member: Any, found: Reference, level: int = 0) -> str:
    """An object as a directive of the Python domain, its members inside."""
    kind = member.kind.value
    body = _docstring(member, path, found)
    options, signature = "", ""
    if kind == "function":
        signature = _signature(member)
        directive = "py:function" if level == 0 else "py:method"
        labels = member.labels
        for label, option in (("classmethod", "classmethod"), ("staticmethod", "staticmethod")):
            options += f":{option}:\n" if label in labels else ""
    elif kind == "class":
        directive = "py:exception" if _is_error(member) else "py:class"
        signature = "" if _is_error(member) else _class_signature(member)
        body += "\n" + _members(path, member, found, level)
    elif level and "property" in member.labels:
        directive = "py:property"
        options = _typed(member, level)
    else:
        directive = "py:attribute" if level else "py:data"
        options = _typed(member, level)
    if not body.strip() and kind != "attribute":
        raise ValueError(f"{path} has no docstring")
    name = path.rpartition(".")[2]  # the module is the page's own
    fence = ":" * (8 - 2 * level)
    return f"{fence}{{{directive}}} {name}{signature}\n{options}\n{body}\n{fence}\n"


def _typed(member: Any, level: int) -> str:
    value = _flat(member.value) if level == 0 and member.value is not None else ""
    value = value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…"
    kind = f":type: {_flat(member.annotation)}\n" if member.annotation is not None else ""
    return kind + (f":value: {value}\n" if value else "")


def _is_error(member: Any) -> bool:
    return any(str(base).endswith(("Error", "Warning", "Exception")) for base in member.bases)


def _members(path: str, member: Any, found: Reference, level: int) -> str:
    """The public members of a class, inherited ones of our own classes among them."""
    parts = []
    listed = described(_text(member))
    for name, each in member.all_members.items():
        target = _resolved(each)
        if name.startswith("_") or target is None or target.kind.value not in ("function", "attribute"):
            continue
        if target.docstring is None or name in listed:
            continue
        if "overload" in target.labels:
            continue
        parts.append(_object(f"{path}.{name}", target, found, level + 1))
    return "\n".join(parts)


def _class_signature(member: Any) -> str:
    parameters = _arguments(member)
    return f"({_parameters(parameters)})" if parameters else ""


def _signature(function: Any) -> str:
    returns = f" -> {_flat(function.returns)}" if function.returns is not None else ""
    return f"({_parameters(function.parameters)}){returns}"


def _parameters(parameters: Iterable[Any]) -> str:
    texts: list[str] = []
    previous = ""
    for parameter in parameters:
        kind = parameter.kind.value if parameter.kind else "positional or keyword"
        name = str(parameter.name)
        if name in ("self", "cls") and not texts:
            continue
        if kind == "keyword-only" and previous not in ("keyword-only", "variadic positional"):
            texts.append("*")
        if previous == "positional-only" != kind:
            texts.append("/")
        stars = {"variadic positional": "*", "variadic keyword": "**"}.get(kind, "")
        annotation = f": {_flat(parameter.annotation)}" if parameter.annotation is not None else ""
        given = parameter.default if not stars else None
        default = "" if given is None else f" = {_flat(given)}" if annotation else f"={_flat(given)}"
        texts.append(f"{stars}{name.lstrip('*')}{annotation}{default}")
        previous = kind
    return ", ".join(texts)


def _flat(text: Any) -> str:
    return " ".join(str(text).split())


def _docstring(member: Any, path: str, found: Reference) -> str:
    return paragraphs(_text(member), path, found.objects - _shadowed(member, path, found))


def _shadowed(member: Any, path: str, found: Reference) -> set[str]:
    """Names that mean something else in this docstring: arguments, and packages named by their last part."""
    own = described(_text(member)) | {str(parameter.name) for parameter in _arguments(member)}
    parents = [path.rsplit(".", count)[0] for count in range(path.count(".") + 1)]
    names = {f"{parent}.{name}" for parent in parents for name in own}
    return names | {f"stepfold.{package.rpartition('.')[2]}" for package in PACKAGES[1:]}


def _arguments(member: Any) -> list[Any]:
    try:
        return list(member.parameters) if member.kind.value in ("function", "class") else []
    except Exception as error:  # griffe's own error, of a class whose base is of another package
        if type(error).__name__ not in ("AliasResolutionError", "CyclicAliasError"):
            raise
        return []


def _text(member: Any) -> str:
    """An object's docstring, also one that a class makes of its module's constants: `__doc__ = f"…"`."""
    if member.docstring:
        return str(member.docstring.value)
    written = member.members.get("__doc__") if member.kind.value == "class" else None
    if written is None:
        return ""
    parts = []
    for part in ast.parse(str(written.value), mode="eval").body.values:  # type: ignore[attr-defined]
        name = part.value.id if isinstance(part, ast.FormattedValue) else ""  # type: ignore[attr-defined]
        parts.append(ast.literal_eval(str(member.module.members[name].value)) if name else part.value)
    return "".join(parts)
