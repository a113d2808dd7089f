"""The import rules of docs/architecture.md, on the syntax trees and in a fresh process."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("sono_core", "sono_server", "sono_client")

# What sono_core may import from outside: pure modules, without I/O, clocks, threads and logs.
OUTSIDE = {
    "_thread",
    "h11",
    "msgspec",
    "zlib",
    "base64",
    "binascii",
    "codecs",
    "collections",
    "contextlib",
    "enum",
    "functools",
    "heapq",
    "hashlib",
    "http",
    "importlib",
    "inspect",
    "itertools",
    "math",
    "re",
    "struct",
    "typing",
    "urllib",
}
# What only these may import: the choice between C and Python, and TLS, which others load if needed.
ALONE = {
    "kernels": {"os", "sono_core._native"},
    "certificates": {"os", "ssl"},
    "tls": {"ssl"},
}
NEVER_LOADED = ("socket", "ssl", "selectors", "asyncio", "threading", "logging")

# Rooms of the core, which become its sub-packages, with their modules. A module imports those
# that stand before it in its own room, and any of the rooms that its own may look into.
ROOMS = {
    "": "errors close_codes headers events limits callbacks",
    "native": "kernels",
    "http": "grammar head responses encode",
    "websocket": """
        opcodes close masking frames deflate messages outbox reader outgoing prepared origin
        upgrade handshake connection asgi
    """,
    "lifecycle": "deadlines timers transport handlers session driver",
    "io": "protocol carrier waiting",
    "tls": "certificates tls",
    "testing": "memory testing",
    "connect": "uri proxy tunnel opening backoff",
    "messaging": "packets quota hub client",
    "all": "__init__",
}
INTO = {
    "": (),
    "native": (),
    "http": ("", "native"),
    "websocket": ("", "native", "http"),
    "lifecycle": ("", "native", "http", "websocket"),
    "io": ("", "native", "http", "websocket", "lifecycle"),
    "tls": ("", "native", "http", "websocket", "lifecycle"),
    "testing": ("", "native", "http", "websocket", "lifecycle"),
    "connect": ("", "native", "http", "websocket", "lifecycle", "tls"),
    "messaging": ("",),
    "all": tuple(room for room in ROOMS if room != "all"),
}
ROOM_OF = {module: room for room, modules in ROOMS.items() for module in modules.split()}
ORDER = [module for modules in ROOMS.values() for module in modules.split()]


def may_import(module: str) -> set[str]:
    """The modules of the core that a module of the core may import."""
    room = ROOM_OF[module]
    own = ROOMS[room].split()
    others = {other for other in ORDER if ROOM_OF[other] in INTO[room]}
    return others | set(own[: own.index(module)])


def sources(package: str) -> dict[str, ast.Module]:
    """The syntax trees of a package, by dotted name within it."""
    folder = ROOT / package
    return {
        ".".join(path.relative_to(folder).with_suffix("").parts): ast.parse(path.read_text("utf-8"))
        for path in sorted(folder.rglob("*.py"))
    }


def imports(package: str, module: str, tree: ast.Module) -> set[str]:
    """Absolute names of all modules that are imported anywhere in it, under conditions too."""
    parents = [package, *module.split(".")[:-1]]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            submodules = {f"{name}.{alias.name}" for alias in node.names}
            known = {
                n
                for n in submodules
                for suffix in (".py", ".pyi")
                if (ROOT / n.replace(".", "/")).with_suffix(suffix).exists()
            }
            found |= known
            if len(known) < len(submodules):
                found.add(name)
    return found


GRAPH = {
    (package, module): imports(package, module, tree)
    for package in PACKAGES
    for module, tree in sources(package).items()
}


def test_every_module_of_the_core_has_its_room() -> None:
    assert {module for package, module in GRAPH if package == "sono_core"} == set(ORDER)


@pytest.mark.parametrize("module", ORDER)
def test_the_core_imports_pure_modules_alone_and_its_arrows_point_one_way(module: str) -> None:
    allowed = OUTSIDE | ALONE.get(module, set())
    allowed |= {f"sono_core.{other}" for other in may_import(module)}
    for name in GRAPH["sono_core", module]:
        root = name.split(".")[0]
        assert (name if root.startswith("sono_") else root) in allowed, f"{module} imports {name}"


@pytest.mark.parametrize(("package", "module"), GRAPH, ids=[".".join(key) for key in GRAPH])
def test_nothing_is_hidden_behind_type_checking(package: str, module: str) -> None:
    tree = sources(package)[module]
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert "TYPE_CHECKING" not in names | attributes


def test_server_and_client_do_not_import_each_other() -> None:
    for (package, module), names in GRAPH.items():
        other = {"sono_server": "sono_client", "sono_client": "sono_server"}.get(package)
        if other and any(name.split(".")[0] == other for name in names):
            assert (package, module) in {("sono_server", "cli"), ("sono_server", "browser")}


def test_on_the_server_only_the_route_of_the_browser_client_looks_into_sono_client() -> None:
    tree = sources("sono_server")["browser"]
    inside = {
        function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import) and node.names[0].name == "sono_client"
    }
    everywhere = [
        node
        for node in ast.walk(tree)
        if (isinstance(node, ast.Import) and node.names[0].name.startswith("sono_client"))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sono_client"))
    ]
    assert inside == {"browser_client"}
    assert len(everywhere) == 1


def test_only_selector_imports_selectors_and_only_aio_imports_asyncio() -> None:
    for (package, module), names in GRAPH.items():
        roots = {name.split(".")[0] for name in names}
        if "selectors" in roots:
            assert (package, module) == ("sono_server", "selector")
        if "asyncio" in roots:
            assert "aio" in module.split(".")


def test_a_fresh_process_with_the_whole_core_but_tls_has_loaded_no_io() -> None:
    program = "import h11, msgspec\nbefore = set(sys.modules)\nimport sono_core\n"
    without_tls = [module for module in ORDER if module not in ("certificates", "tls", "__init__")]
    program += "".join(f"import sono_core.{module}\n" for module in without_tls)
    program += f"loaded = {set(NEVER_LOADED)!r} & set(sys.modules)\n"
    if sys.version_info < (3, 11):  # there msgspec's uuid loads platform, and that subprocess
        program += "loaded -= before\n"
    program += "print(sorted(loaded))"
    # -S and -I: nothing that the environment would load by itself is counted
    paths = [str(ROOT)]
    for dependency in ("h11", "msgspec"):
        spec = importlib.util.find_spec(dependency)
        assert spec is not None
        assert spec.origin is not None
        paths.append(str(Path(spec.origin).parents[1]))
    program = f"import sys; sys.path += {paths!r}\n" + program
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=60
    )
    assert result.stderr == ""
    assert result.stdout.strip() == "[]"
