"""The import rules of docs/architecture.md, checked on syntax trees and in a fresh process.

Ranks of packages come first, then those of the modules within each: a later one may import the
earlier ones, and never the reverse.
"""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

CORE = ("quoting", "headers", "errors", "close_codes", "events", "limits", "arguments", "rates")
"""The vocabulary of sono_core, which everybody may use."""

# For each package: what it may import of Sono, beside the vocabulary; and its modules, each of
# which may import those before it.
PACKAGES: dict[str, tuple[str, str]] = {
    "sono_core.native": ("", "path head kernels scan scan_msgpack"),
    "sono_core.http": ("sono_core.native", "grammar head responses encode"),
    "sono_core.websocket": (
        "sono_core.native sono_core.http",
        """
        opcodes close masking frames deflate outbox messages reader payloads prepared origin
        upgrade handshake connection asgi
        """,
    ),
    "sono_core.lifecycle": (
        "sono_core.native sono_core.http sono_core.websocket",
        """
        deadlines ahead timers interfaces ends phases keepalive age throttle memory course session
        layer driver
        """,
    ),
    "sono_core.tls": (
        "sono_core.native sono_core.http sono_core.websocket sono_core.lifecycle",
        "contexts info layer",
    ),
    "sono_core.testing": (
        "sono_core.native sono_core.http sono_core.websocket sono_core.lifecycle",
        "pipe client",
    ),
    "sono_core.connect": (
        "sono_core.native sono_core.http sono_core.websocket sono_core.lifecycle sono_core.tls",
        "hosts uri proxy tunnel happy_eyeballs connector backoff",
    ),
    "sono_core.messaging": ("", "names patterns ratelimit hub dialect"),
    "sono_core.messaging.lossless": (
        "sono_core.native sono_core.messaging",
        "positions packets nodes data history streams store backplane memory replay feed rosters",
    ),
    "sono_core.messaging.lossless.server": (
        """
        sono_core.native sono_core.messaging sono_core.messaging.lossless
        sono_core.messaging.lossless.packets sono_core.messaging.lossless.nodes
        """,
        """
        failures orders identities sessions questions pending elsewhere presence shared_presence
        following enquiries host records arrivals untaken kept
        delivery memberships handing_over node conversation
        """,
    ),
    "sono_core.messaging.v2": (
        """
        sono_core.native sono_core.messaging sono_core.messaging.lossless
        sono_core.messaging.lossless.packets
        """,
        "codec dialect",
    ),
    "sono_core.messaging.lossless.client": (
        """
        sono_core.messaging sono_core.messaging.lossless sono_core.messaging.lossless.packets
        """,
        "limits pending status told cursor streams outbox requests presence session machine",
    ),
    "sono_core.messaging.classic": (
        "sono_core.native sono_core.messaging sono_core.messaging.lossless",
        "packets client server",
    ),
    "sono_io": (
        "sono_core sono_core.native sono_core.http sono_core.websocket sono_core.lifecycle",
        "reference fast asyncio_protocol blocking",
    ),
    "sono_server.serving": (
        "CORE sono_io",
        """
        log signals forks listeners shares activation memory forwarded options date static
        browser_client websocket watchdog requests backlogs base
        """,
    ),
    "sono_server.selector": ("CORE sono_io sono_server.serving", "transport server"),
    "sono_server.aio": ("CORE sono_io sono_server.serving", "base streams server"),
    "sono_server.asgi": ("CORE sono_io sono_server.serving sono_server.aio", "application"),
    "sono_server.backplane.redis": (
        "CORE sono_server.serving sono_server.backplane.errors",
        """
        keys scripts wire servers handover commands subscriber topology shard shards attendance
        erasing backplane
        """,
    ),
    "sono_server.backplane": (
        """
        CORE sono_core.messaging.lossless.packets sono_core.messaging.lossless.nodes
        sono_server.backplane.redis
        """,
        "errors envelopes choice publisher async_publisher",
    ),
    "sono_server.app": (
        """
        CORE sono_core.messaging.lossless.packets sono_io sono_server.serving sono_server.selector
        sono_server.aio sono_server.asgi sono_server.backplane
        """,
        """
        payloads patterns identities pages receipts away clients trampoline hooks works owner lines
        beats handling lossless calls dispatch handlers sono
        """,
    ),
    "sono_server.operations": (
        "CORE sono_server.serving sono_server.backplane sono_server.app",
        "logs settings applications supervision children supervisor workers",
    ),
    "sono_server.cli": (
        """
        CORE sono_server.serving sono_server.selector sono_server.aio sono_server.asgi
        sono_server.backplane sono_server.app sono_server.operations sono_client.cli
        """,
        "mistakes demo application serve reload workers publish command",
    ),
    "sono_server.conformance": (
        "CORE sono_client sono_client.cli",
        "matching codec transcripts player remote command",
    ),
    "sono_client": ("CORE sono_io", "dialing options"),
    "sono_client.lossless": (
        "CORE",
        "values hooks channels options tickets talk listening",
    ),
    "sono_client.blocking": (
        "CORE sono_io sono_client sono_client.lossless",
        "leader poll driver transport websocket channel life sono_client",
    ),
    "sono_client.aio": (
        "CORE sono_io sono_client sono_client.lossless",
        "notifier callbacks dial transport websocket channel life sono_client",
    ),
    "sono_client.cli": (
        "CORE sono_client sono_client.lossless sono_client.aio",
        "streams lines history terminal commands",
    ),
}
CORE_PACKAGES = {name for name in PACKAGES if name.startswith("sono_core.")} | {"sono_core"}

# What sono_core may import from outside: pure modules, without I/O, clocks, threads and logs.
OUTSIDE = {
    "h11",
    "msgspec",
    "zlib",
    "abc",
    "base64",
    "binascii",
    "bisect",
    "codecs",
    "collections",
    "contextlib",
    "dataclasses",
    "enum",
    "fnmatch",
    "functools",
    "heapq",
    "hashlib",
    "hmac",
    "http",
    "idna",
    "inspect",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "re",
    "struct",
    "sys",
    "textwrap",
    "types",
    "typing",
    "typing_extensions",
    "unicodedata",
    "urllib",
}
# Imports that only these modules have: for the choice between C and Python, and for TLS.
ALONE = {
    "sono_core.native.path": {"os"},
    "sono_core.tls.contexts": {"os", "ssl"},
    "sono_core.tls.info": {"ssl"},
    "sono_core.tls.layer": {"ssl"},
}
COMMANDS = {"sono_server.__main__", "sono_server.conformance.__main__"}
NEVER_LOADED = ("socket", "ssl", "selectors", "asyncio", "threading", "logging")
COMPILED = {"sono_core.native._native", "sono_io._loop"}


def sources() -> dict[str, ast.Module]:
    """The syntax trees of the packages, by dotted name; a package's own is its `__init__`."""
    found = {}
    for package in ("sono_core", "sono_io", "sono_server", "sono_client"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name] = ast.parse(path.read_text("utf-8"))
    return found


SOURCES = sources()


def package_of(module: str) -> str:
    return module.rpartition(".")[0]


def offered(package: str) -> set[str]:
    """The names that a package offers to others, in full; some are modules."""
    tree = SOURCES.get(f"{package}.__init__")
    if tree is None:
        return set()
    (names,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    return {f"{package}.{name}" for name in names}


def imports(module: str, tree: ast.Module) -> set[str]:
    """Absolute names of all modules that it imports anywhere, also under conditions."""
    parents = module.split(".")[:-1]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            submodules = {f"{name}.{alias.name}" for alias in node.names}
            known = submodules & (set(SOURCES) | COMPILED)
            if name != ".".join(parents):
                known -= offered(name)
            found |= known
            if len(known) < len(submodules):
                found.add(name)
    return found


GRAPH = {module: imports(module, tree) for module, tree in SOURCES.items()}
MODULES = [module for module in GRAPH if not module.endswith("__init__")]


def may_import(module: str) -> set[str]:
    """The modules and packages of Sono that a module may import."""
    package, _, name = module.rpartition(".")
    vocabulary = {f"sono_core.{other}" for other in CORE}
    if package == "sono_core":
        return {f"sono_core.{other}" for other in CORE[: CORE.index(name)]}
    others, own = PACKAGES[package]
    allowed = set(others.split())
    if "CORE" in allowed:
        allowed |= CORE_PACKAGES
    if "sono_client" in allowed:  # its modules beside the packages
        allowed |= {"sono_client.dialing", "sono_client.options"}
    order = own.split()
    return vocabulary | allowed | {f"{package}.{other}" for other in order[: order.index(name)]}


def test_every_module_has_its_rank() -> None:
    ranked = {f"sono_core.{name}" for name in CORE} | COMMANDS
    for package, (_, modules) in PACKAGES.items():
        ranked |= {f"{package}.{name}" for name in modules.split()}
    assert ranked == set(MODULES)


@pytest.mark.parametrize("module", [m for m in MODULES if m not in COMMANDS])
def test_imports_point_from_later_ranks_to_earlier_ones(module: str) -> None:
    ours = {name for name in GRAPH[module] if name.startswith("sono_")} - COMPILED
    if module == "sono_server.serving.browser_client":
        ours -= {"sono_client"}  # the route that serves sono.js
    assert ours <= may_import(module)


@pytest.mark.parametrize("package", [*PACKAGES, "sono_core", "sono_server"])
def test_a_package_names_what_others_may_use_and_nothing_else(package: str) -> None:
    tree = SOURCES[f"{package}.__init__"]
    for name in GRAPH[f"{package}.__init__"]:
        assert name == package or name.startswith((f"{package}.", "sono_core"))
    if package == "sono_server.backplane.redis":
        pytest.importorskip("redis", reason="redis-py is missing: pip install 'sono[redis]'")
    names = importlib.import_module(package).__all__
    assert list(names) == sorted(set(names), key=names.index)
    kinds = {type(node) for node in tree.body} - {ast.Expr, ast.ImportFrom, ast.Assign}
    assert kinds <= ({ast.AnnAssign} if package == "sono_core" else set())


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("sono_core.")])
def test_the_core_imports_pure_modules_alone(module: str) -> None:
    outside = {name.split(".")[0] for name in GRAPH[module] if not name.startswith("sono_")}
    assert outside <= OUTSIDE | ALONE.get(module, set())
    assert not any(name.startswith("sono_io") for name in GRAPH[module])


@pytest.mark.parametrize("module", GRAPH)
def test_nothing_is_hidden_behind_type_checking(module: str) -> None:
    tree = SOURCES[module]
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert "TYPE_CHECKING" not in names | attributes


def test_no_dialect_is_known_to_what_all_of_them_share_and_clients_know_packets_alone() -> None:
    package = "sono_core.messaging"
    for module, names in GRAPH.items():
        if package_of(module) == package:
            assert not any(name.startswith(f"{package}.classic") for name in names), module
    client = {name for name in GRAPH[f"{package}.classic.client"] if name.startswith(package)}
    assert client - {f"{package}.classic"} == {f"{package}.classic.packets"}


def test_server_and_client_do_not_import_each_other() -> None:
    seen = set()
    for module, names in GRAPH.items():
        top = module.split(".")[0]
        other = {"sono_server": "sono_client", "sono_client": "sono_server"}.get(top)
        if other and any(name.split(".")[0] == other for name in names):
            seen.add(module)
    names = ("command", "publish", "reload", "serve", "workers")
    commands = {f"sono_server.cli.{name}" for name in names}
    conformance = {f"sono_server.conformance.{name}" for name in ("command", "remote")}
    assert seen == {*commands, *conformance, "sono_server.serving.browser_client"}


def test_on_the_server_only_the_route_of_the_browser_client_looks_into_sono_client() -> None:
    tree = SOURCES["sono_server.serving.browser_client"]
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


def test_selectors_are_imported_by_the_selector_server_and_by_a_thread_of_its_own() -> None:
    users = {module for module, names in GRAPH.items() if "selectors" in names}
    assert users == {"sono_server.selector.server", "sono_server.backplane.redis.subscriber"}


def test_asyncio_is_imported_only_where_the_name_says_so() -> None:
    for module, names in GRAPH.items():
        if "asyncio" in names and module != "sono_server.backplane.async_publisher":
            assert package_of(module) in {
                "sono_server.aio",
                "sono_server.asgi",
                "sono_client.aio",
                "sono_client.cli",  # the commands run on the asyncio client
            }


def test_a_fresh_process_with_the_whole_core_but_tls_has_loaded_no_io() -> None:
    program = "import h11, msgspec\nbefore = set(sys.modules)\nimport sono_core\n"
    without_tls = [
        module
        for module in MODULES
        if module.startswith(("sono_core.", "sono_io.")) and ".tls." not in module
    ]
    program += "".join(f"import {module}\n" for module in without_tls)
    program += f"loaded = {set(NEVER_LOADED)!r} & set(sys.modules)\n"
    if sys.version_info < (3, 11):  # there msgspec's uuid loads platform, which loads subprocess
        program += "loaded -= before\n"
    program += "print(sorted(loaded))"
    # -S and -I: the environment adds no imports of its own
    paths = [str(ROOT)]
    dependencies = ["h11", "msgspec"]
    if sys.version_info < (3, 11):  # for Unpack
        dependencies.append("typing_extensions")
    for dependency in dependencies:
        spec = importlib.util.find_spec(dependency)
        assert spec is not None
        assert spec.origin is not None
        is_package = spec.submodule_search_locations is not None
        paths.append(str(Path(spec.origin).parents[is_package]))
    program = f"import sys; sys.path += {paths!r}\n" + program
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=60
    )
    assert result.stderr == ""
    assert result.stdout.strip() == "[]"


def test_a_command_starts_without_what_edits_lines() -> None:
    """It takes as long to load as all else together, and only terminals need it."""
    program = "import sono_server.cli, sys; print('prompt_toolkit' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert (result.stdout, result.stderr) == ("False\n", "")
