"""Each row of docs/delivery.md names transcripts or tests that exist."""

from __future__ import annotations

import re

import pytest

from tests.test_docs import ROOT, exists

HEAD = "| fault | `sono.v2` | classic | shown by |\n|---|---|---|---|\n"


def rows() -> dict[str, tuple[str, ...]]:
    """What is in the rows of all tables, by the fault."""
    tables = (ROOT / "docs" / "delivery.md").read_text("utf-8").split(HEAD)[1:]
    lines = [line for table in tables for line in table.partition("\n\n")[0].splitlines()]
    cells = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines]
    return {row[0]: row[1:] for row in cells}


ROWS = rows()


def is_shown(name: str) -> bool:
    """Whether that transcript, path or `path::test` exists."""
    return (ROOT / "tests" / "transcripts" / f"{name}.jsonl").is_file() or exists(name)


@pytest.mark.parametrize("fault", ROWS)
def test_a_row_says_what_each_dialect_does_and_what_shows_it(fault: str) -> None:
    lossless, classic, shown = ROWS[fault]
    assert lossless
    assert classic
    names = re.findall("`([^`]+)`", shown)
    assert names
    assert [name for name in names if not is_shown(name)] == []
    assert not re.sub("`[^`]+`|, ", "", shown), "only names"


def test_a_name_that_is_wrong_is_found() -> None:
    assert is_shown("5.3-welcome")
    assert not is_shown("5.3-farewell")
    assert len(ROWS) >= 25


def test_no_fault_is_left_out() -> None:
    words = (
        "with a close",
        "without a close",
        "client crashes",
        "server crashes",
        "too slowly",
        "no longer in the history",
        "started again",
        "at a resume",
        "has expired",
        "presents the session's key",
        "hidden",
        "duplicated",
        "token ends",
        "outbox is full",
        "volatile",
        "binary data",
    )
    assert [word for word in words if not any(word in fault for fault in ROWS)] == []
