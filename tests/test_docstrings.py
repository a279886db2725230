"""Docstrings of everything public, as numpydoc and the conventions of the project have them."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from functools import cache, cached_property
from importlib.util import find_spec
from typing import Any, NamedTuple

import pytest

numpydoc_validate = pytest.importorskip("numpydoc.validate")
docscrape = pytest.importorskip("numpydoc.docscrape")

#: What users import from; those not written yet are found once they are.
MODULES = (
    "geoquant",
    "geoquant.torch",
    "geoquant.report",
    "geoquant.explorer",
    "geoquant.plane",
    "geoquant.export",
    "geoquant.formats",
    "geoquant.card",
)
NEEDED = {"geoquant.torch": "torch", "geoquant.report": "matplotlib", "geoquant.formats": "pyarrow"}

#: numpydoc's checks that every docstring has to pass. Left out: ES01 and SA01, as not all needs
#: more than a summary, or has relatives; SS05, as a function is named after what it returns; PR08
#: and PR09, as descriptions begin with words such as "int8" and end with sets; GL09, as nothing is
#: deprecated; RT02 to RT05, as the summary says what is returned. PR01, RT01 and EX01 are below.
CODES = {
    *("GL01", "GL02", "GL03", "GL05", "GL06", "GL07", "GL08", "GL10"),
    *("SS01", "SS02", "SS03", "SS04", "SS06"),
    *("PR02", "PR03", "PR04", "PR05", "PR06", "PR07", "PR10"),
    *("RT01", "YD01", "SA02", "SA03", "SA04"),
}
#: Methods that PyTorch calls, and by which a module is called.
OF_TORCH = {"forward", "extra_repr"}
ARRAY = re.compile(
    r"\b(ndarray|array[-_]like|[Tt]ensor|sparse (array|matrix)|c\w\w_(array|matrix))\b"
)
MADE_ARRAY = re.compile(r"\b(ndarray|[Tt]ensor)\b")
DTYPE = re.compile(r"\b(u?int\d*|float\d*|bool|complex\d*|str|dtype)\b")


class Public(NamedTuple):
    """A public object, and the class that it is a member of."""

    name: str
    value: Any
    owner: type | None = None

    @property
    def doc(self) -> Any:
        return doc_of(self.value)


@cache
def doc_of(value: Any) -> Any:
    return docscrape.get_doc_object(value)


def importable(module: str) -> bool:
    needed = NEEDED.get(module)
    return find_spec(module) is not None and (needed is None or find_spec(needed) is not None)


@cache
def public_objects() -> dict[str, Public]:
    """What the modules export, and the members of classes that are ours, each once."""
    found: dict[int, Public] = {}
    for module in filter(importable, MODULES):
        exported = importlib.import_module(module)
        for name in names_exported_by(exported):
            value = getattr(exported, name)
            if callable(value):
                found.setdefault(id(value), Public(f"{module}.{name}", value))
            if inspect.isclass(value):
                for member, code in members(value):
                    public = Public(f"{module}.{name}.{member}", getattr(value, member), value)
                    found.setdefault(id(code), public)
    return {public.name: public for public in found.values()}


def names_exported_by(module: Any) -> list[str]:
    """What a package gathers; of a module without such a list, what is defined in it."""
    defined = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]
    return list(getattr(module, "__all__", defined))


def members(owner: type) -> list[tuple[str, Any]]:
    """Public methods and properties that geoquant wrote, and what tells them apart."""
    found = []
    for name in (name for name in dir(owner) if not name.startswith("_")):
        definer = next((base for base in owner.__mro__ if name in vars(base)), object)
        value = vars(definer).get(name)
        code = getattr(value, "__func__", value)
        is_ours = definer.__module__.startswith("geoquant")
        if is_ours and (inspect.isfunction(code) or isinstance(value, property | cached_property)):
            found.append((name, code))
    return found


def is_error(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, Exception)


def names_of(section: list[Any]) -> set[str]:
    """Names in a section, of which several may share a line."""
    return {name.strip("* ") for entry in section for name in entry.name.split(",")}


every = pytest.mark.parametrize("name", list(public_objects()))
every_callable = pytest.mark.parametrize(
    "name",
    [
        n
        for n, public in public_objects().items()
        if callable(public.value) and not is_error(public.value)
    ],
)


def test_all_that_is_exported_is_found() -> None:
    """Functions, classes, class methods, properties and inherited methods are among the objects."""
    for name in (
        *("fit_codebook", "Graph", "Graph.from_edges", "Graph.n_nodes", "InputError"),
        *("GeodesicKMeans.predict", "KNNTransformer.fit_transform"),
    ):
        assert f"geoquant.{name}" in public_objects()
    assert "geoquant.GeodesicKMeans.get_params" not in public_objects()


@every
def test_numpydoc_finds_nothing(name: str) -> None:
    """Summary, sections, their order, and the types of parameters are as numpydoc wants them."""
    public = public_objects()[name]
    errors = numpydoc_validate.validate(name)["errors"]
    is_property = not callable(public.value)
    left = [
        (code, message)
        for code, message in errors
        if code in CODES and not (code == "RT01" and is_property)
    ]
    assert left == []


@every_callable
def test_every_parameter_is_listed(name: str) -> None:
    """Parameters are in their section, or among the attributes of a record that keeps them."""
    public = public_objects()[name]
    listed = names_of(public.doc["Parameters"])
    if inspect.isclass(public.value):
        listed |= names_of(public.doc["Attributes"])
    taken = list(inspect.signature(public.value).parameters)
    if public.owner is not None and taken[:1] == ["self"]:
        del taken[0]
    assert set(taken) - listed == set()


@every
def test_arrays_have_shapes_and_dtypes(name: str) -> None:
    """An array says its shape; one that geoquant makes says its dtype, too."""
    doc = public_objects()[name].doc
    made = [*doc["Returns"], *doc["Attributes"]]
    entries = [(entry.name, entry.type) for entry in [*doc["Parameters"], *made]]
    shapeless = [
        entry for entry in entries if ARRAY.search(" ".join(entry)) and not shape_in(entry)
    ]
    assert shapeless == []
    untyped = [
        (entry.name, entry.type)
        for entry in made
        if MADE_ARRAY.search(f"{entry.name} {entry.type}")
        and not DTYPE.search(" ".join([entry.type, *entry.desc]))
    ]
    assert untyped == []


def shape_in(entry: tuple[str, str]) -> bool:
    return "shape" in " ".join(entry)


@every
def test_errors_that_are_raised_are_listed(name: str) -> None:
    """Whose code raises one of our errors has it under Raises."""
    public = public_objects()[name]
    listed = {entry.type or entry.name for entry in public.doc["Raises"]}
    assert raised_by(public.value) - listed == set()


def raised_by(value: Any) -> set[str]:
    """Our errors that a function, or the making of a record, raises itself."""
    if inspect.isclass(value):
        makers = [vars(value).get(name) for name in ("__init__", "__post_init__", "__new__")]
        return set().union(*(raised_by(make) for make in makers if inspect.isfunction(make)))
    if not callable(value):
        return set()
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(value))))
    except (OSError, TypeError):  # made by dataclasses
        return set()
    called = [
        node.exc.func
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    ]
    ours = {"InputError", "NotConnectedError", "FileFormatError", "ResourceError"}
    return {ast.unparse(function) for function in called} & ours


@every_callable
def test_everything_has_an_example(name: str) -> None:
    """Functions and classes have one; a method has one, or is used in that of its class."""
    public = public_objects()[name]
    example = "\n".join(public.doc["Examples"])
    method = name.rpartition(".")[2]
    if public.owner is not None and method not in OF_TORCH:
        of_class = "\n".join(doc_of(public.owner)["Examples"])
        assert example or f".{method}(" in of_class
    elif public.owner is None:
        assert ">>>" in example
