"""Imports go one way, pure rooms stay pure, and only one file knows PySyncObj's insides.

The rules are those of docs/architecture.md; the checker is itself checked on planted violations.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import rbcluster

PACKAGE = Path(rbcluster.__file__).parent

# A room may import itself and every room of a lower layer, never one beside it. Modules at the top
# of the package are rooms of one file.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"rbcluster", "errors", "file_remedy", "instants"}),
    frozenset({"complaint"}),
    frozenset({"hs"}),
    frozenset({"core"}),
    frozenset({"endpoint", "onionbalance", "pki"}),
    frozenset({"socks"}),
    frozenset({"certification"}),
    frozenset({"raft", "tor"}),
    frozenset({"config_faults"}),
    frozenset({"config"}),  # above the adapters: it makes their settings, they never read the file
    frozenset({"config_text"}),
    frozenset({"agent"}),
    frozenset({"enrolment"}),
    frozenset({"api"}),
    frozenset({"daemon", "lab"}),
    frozenset({"cli"}),
)
LAYER_OF = {room: layer for layer, rooms in enumerate(LAYERS) for room in rooms}

PURE = {"hs", "core"}
IMPURE_MODULES = {
    "asyncio",
    "concurrent",
    "io",
    "multiprocessing",
    "os",
    "pathlib",
    "pysyncobj",
    "random",
    "secrets",
    "select",
    "shutil",
    "socket",
    "ssl",
    "stem",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "uuid",
}
IMPURE_CALLS = {"generate", "input", "now", "open", "print", "randombytes", "today", "utcnow"}

PYSYNCOBJ_ROOM = "raft"
PATCH_MODULES = {f"raft/pysyncobj_{part}.py" for part in ("library", "patch", "messages", "voters")}
MANGLED = "_SyncObj__"


def violations(path: str, source: str) -> list[str]:
    """Check one module.

    :param path: below the package, with forward slashes: ``hs/keys.py``.
    """
    room = path.split("/", maxsplit=1)[0].removesuffix(".py").replace("__init__", "rbcluster")
    tree = ast.parse(source)
    if room not in LAYER_OF:
        return [f"{path} belongs to no layer: give its room a place in LAYERS"]
    found = [*wrong_imports(path, room, tree)]
    if room in PURE:
        found += impurities(path, tree)
    if path not in PATCH_MODULES:
        found += [f"{path} uses {name}" for name in names_in(tree) if name.startswith(MANGLED)]
    return found


def wrong_imports(path: str, room: str, tree: ast.AST) -> Iterator[str]:
    """Find imports that go upwards or aside, or reach for what the room may not have."""
    for name in imports_in(path, tree):
        top, *rest = name.split(".")
        if top == "rbcluster":
            imported = rest[0] if rest and rest[0] in LAYER_OF else "rbcluster"
            if imported != room and LAYER_OF[imported] >= LAYER_OF[room]:
                yield f"{path} imports {name}"
        elif (room in PURE and top in IMPURE_MODULES) or (
            top == "pysyncobj" and room != PYSYNCOBJ_ROOM
        ):
            yield f"{path} imports {name}"


def imports_in(path: str, tree: ast.AST) -> Iterator[str]:
    """Yield the full name of everything imported, wherever in the module."""
    package = ["rbcluster", *path.split("/")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *([node.module] if node.module else [])]
            yield from (".".join([*module, alias.name]) for alias in node.names)


def impurities(path: str, tree: ast.AST) -> Iterator[str]:
    """Find calls by which a pure module would learn the time, a random number or a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            name = getattr(called, "attr", getattr(called, "id", ""))
            if name in IMPURE_CALLS:
                yield f"{path}:{node.lineno} calls {name}()"


def names_in(tree: ast.AST) -> Iterator[str]:
    """Yield every attribute, and every text that could be handed to getattr."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES)
def test_every_module_keeps_to_its_layer(path: str) -> None:
    assert violations(path, (PACKAGE / path).read_text()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("hs/keys.py", "from rbcluster.core.ids import NodeId"),
        ("hs/keys.py", "import rbcluster.core.ids"),
        ("hs/descriptor/outer.py", "from rbcluster import config"),
        ("hs/descriptor/outer.py", "from ...core import ids"),
        ("core/plan.py", "from rbcluster.config import Config"),
        ("core/plan.py", "def f():\n    import rbcluster.raft"),
        ("errors.py", "from rbcluster.hs.keys import PublicKey"),
        ("config.py", "from rbcluster.agent.node import Node"),
        ("tor/settings.py", "from rbcluster.config import Config"),
        ("endpoint.py", "from rbcluster.pki import NodeTls"),
        ("raft/engine.py", "from rbcluster.tor.controller import TorController"),
        ("tor/controller.py", "from rbcluster.raft.engine import RaftEngine"),
        ("tor/controller.py", "from rbcluster.agent.node import Node"),
        ("agent/node.py", "from rbcluster.api.server import Server"),
        ("agent/node.py", "from rbcluster.lab.network import PrivateNetwork"),
        ("api/server.py", "from rbcluster.cli.main import main"),
        ("api/server.py", "from rbcluster.lab.network import PrivateNetwork"),
        ("lab/demo.py", "from rbcluster.cli.main import main"),
    ],
)
def test_an_import_upwards_or_aside_is_found(path: str, source: str) -> None:
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("hs/keys.py", "from rbcluster.errors import ParseError"),
        ("core/plan.py", "from rbcluster.hs import hashring"),
        ("config.py", "from rbcluster.tor.settings import TorSettings"),
        ("raft/links.py", "from rbcluster.pki import NodeTls"),
        ("raft/engine.py", "from pysyncobj import SyncObj"),
        ("raft/engine.py", "from . import transport"),
        ("agent/node.py", "from rbcluster import __version__"),
        ("cli/main.py", "from rbcluster.lab.network import PrivateNetwork"),
        ("tor/controller.py", "import asyncio\nfrom stem import control"),
    ],
)
def test_an_import_downwards_is_allowed(path: str, source: str) -> None:
    assert violations(path, source) == []


@pytest.mark.parametrize("room", sorted(PURE))
@pytest.mark.parametrize(
    "source",
    [
        "import os",
        "import os.path",
        "from time import monotonic",
        "import socket as s",
        "import asyncio",
        "import threading",
        "import random",
        "import secrets",
        "from pathlib import Path",
        "import pysyncobj",
        "def f():\n    from stem import descriptor",
        "from datetime import datetime\nx = datetime.now()",
        "import datetime as d\nx = d.datetime.utcnow()",
        "x = open('key')",
        "x = X25519PrivateKey.generate()",
        "x = nacl.bindings.randombytes(32)",
    ],
)
def test_a_pure_room_that_reaches_outside_is_found(room: str, source: str) -> None:
    assert violations(f"{room}/planted.py", source) != []


def test_a_pure_room_may_be_told_the_time() -> None:
    source = "from datetime import datetime\ndef f(now: datetime) -> float: return now.timestamp()"
    assert violations("core/plan.py", source) == []


@pytest.mark.parametrize("path", ["agent/node.py", "tor/controller.py", "cli/main.py", "pki.py"])
def test_pysyncobj_outside_its_room_is_found(path: str) -> None:
    assert violations(path, "from pysyncobj import SyncObj") == [
        f"{path} imports pysyncobj.SyncObj"
    ]


@pytest.mark.parametrize(
    "source",
    ["x._SyncObj__raftLog", "getattr(x, '_SyncObj__raftLog')", "x._SyncObj__raftState = 1"],
)
def test_only_the_patch_touches_what_pysyncobj_hides(source: str) -> None:
    assert violations("raft/engine.py", source) != []
    assert all(violations(path, source) == [] for path in PATCH_MODULES)


def test_a_room_without_a_layer_is_found() -> None:
    assert violations("helpers/misc.py", "") != []
    assert violations("utils.py", "") != []


def test_tests_of_one_kind_take_nothing_from_those_of_another() -> None:
    tests = Path(__file__).parents[1]
    found = [
        f"{path.relative_to(tests)} imports {name}"
        for path in sorted(tests.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (name := node.module or "").startswith("tests.")
        if name.split(".")[1] not in {"shared", path.relative_to(tests).parts[0]}
    ]
    assert found == []


def test_no_test_is_imported_by_another() -> None:
    tests = Path(__file__).parents[1]
    found = [
        f"{path.relative_to(tests)} imports {node.module}"
        for path in sorted(tests.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        if (node.module or "").rpartition(".")[2].startswith("test_")
    ]
    assert found == []
