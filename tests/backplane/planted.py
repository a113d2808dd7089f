"""The modules of the streams once more, with a defect in one of them, which a model has to find."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

PACKAGE = "sono_core.messaging.lossless"
COPIED = ("streams", "store", "backplane", "memory", "replay", "feed", "rosters")
OTHERS = ("positions", "history", "nodes")
MANY = settings(
    max_examples=1500,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
"""It ends with the first failure, which need not be made small."""


def sound() -> SimpleNamespace:
    """All public names of the modules."""
    return _names({name: importlib.import_module(f"{PACKAGE}.{name}") for name in COPIED})


def expect_found(machine: type[RuleBasedStateMachine], module: str, right: str, wrong: str) -> None:
    """A machine whose `parts` have that defect fails; see `planted`."""
    with planted(module, right, wrong) as parts:
        defective = type("Planted", (machine,), {"parts": parts})
        with pytest.raises(AssertionError):
            run_state_machine_as_test(defective, settings=MANY)


@contextmanager
def planted(module: str, right: str, wrong: str) -> Iterator[SimpleNamespace]:
    """The same, of modules one of which is wrong.

    Args:
        right: a text that its source has once.
        wrong: what it has instead.
    """
    package = "planted"
    source = importlib.import_module(f"{PACKAGE}.{module}").__file__
    assert source is not None
    assert Path(source).read_text(encoding="utf-8").count(right) == 1, (module, right)
    made: dict[str, ModuleType] = {}
    sys.modules[package] = ModuleType(package)
    sys.modules[package].__path__ = []
    for name in OTHERS:
        sys.modules[f"{package}.{name}"] = importlib.import_module(f"{PACKAGE}.{name}")
    try:
        for name in COPIED:
            path = Path(source).with_name(f"{name}.py")
            text = path.read_text(encoding="utf-8")
            if name == module:
                text = text.replace(right, wrong)
            spec = spec_from_loader(f"{package}.{name}", loader=None)
            assert spec is not None
            made[name] = module_from_spec(spec)
            sys.modules[f"{package}.{name}"] = made[name]
            exec(compile(text, f"<planted {name}>", "exec"), made[name].__dict__)
        yield _names(made)
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            del sys.modules[name]


def _names(modules: dict[str, ModuleType]) -> SimpleNamespace:
    found = {}
    for module in modules.values():
        found |= {name: value for name, value in vars(module).items() if name[0] != "_"}
    return SimpleNamespace(**found)
