"""path.py: the choice between C and Python."""

import sys

import pytest

import sono_core
from sono_core.native import path


def test_without_the_extension_python_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sono_core.native, "_native", raising=False)
    monkeypatch.setitem(sys.modules, "sono_core.native._native", None)  # importing it fails
    assert path._import_accelerator() is None
