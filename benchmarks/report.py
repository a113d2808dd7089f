"""Writes measurements as Markdown, for the screen and for results.md."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from .cases import Case, Row
from .judge import Judgement, Outcome, Verdict, idleness
from .measure import NOISY, Figures, Ratio, Unit, ratio
from .targets import Target
from .units import size

_ROOT = Path(__file__).resolve().parents[1]
_HEADINGS = (
    "case",
    "server",
    "median",
    "lowest – highest",
    "wall clock",
    "core busy",
    "Sono to it",
    "wanted",
    "verdict",
)
_SUMMARY = ("row", "case", "compared with", "wanted", "measured", "verdict")


def line(cells: Iterable[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def heading(row: Row) -> Iterator[str]:
    """The lines above a row's figures."""
    yield f"## {row.id}: {row.title}" if row.id != row.title else f"## {row.title}"
    yield ""
    units = dict.fromkeys(case.unit.name for case in row.cases)
    yield f"In {', '.join(units)}.{' ' if row.note else ''}{row.note}"
    yield ""
    yield line(_HEADINGS)
    yield line(("---", "---", *["---:"] * 6, "---"))


def lines(case: Case, outcome: Outcome, judgements: Sequence[Judgement]) -> Iterator[str]:
    """The table's lines for one case, ours first."""
    for subject in case.subjects:
        theirs = [judgement for judgement in judgements if judgement.target.peer == subject]
        if subject == case.ours:
            theirs = [judgement for judgement in judgements if not judgement.target.peer]
        if figures := outcome.figures.get(subject):
            yield line(_cells(case, subject, figures, outcome, theirs))
        elif theirs:
            yield line(_unmeasured(case, subject, theirs))


def _cells(
    case: Case,
    subject: str,
    figures: Figures,
    outcome: Outcome,
    judgements: Sequence[Judgement],
) -> list[str]:
    name = f"**{subject}**" if subject == case.ours else subject
    if figures.failure:
        remark = "" if judgements else f"failed: {_brief(figures.failure)}"
        return [case.name, name, "-", "-", "-", "-", "-", *_ends(judgements, remark)]
    ours = outcome.figures.get(case.ours)
    compared = ours and not ours.failure and subject != case.ours
    remarks = []
    if figures.spread > NOISY:
        remarks.append(f"noisy: rounds spread {figures.spread:.0%}")
    if figures.errors:
        remarks.append(f"{figures.errors} errors")
    if case.saturates and idleness(figures):
        remarks.append("core not saturated")
    return [
        case.name,
        name,
        case.unit.text(figures.median),
        span(figures.values, case.unit),
        "-" if figures.wall is None else case.unit.text(figures.wall),
        "-" if figures.busy is None else f"{figures.busy:.0%}",
        _ratios(case, ours, figures, judgements) if compared and ours else "",
        *_ends(judgements, "; ".join(remarks)),
    ]


def _unmeasured(case: Case, subject: str, judgements: Sequence[Judgement]) -> list[str]:
    return [case.name, subject, "-", "-", "-", "-", "-", *_ends(judgements, "")]


def _ratios(case: Case, ours: Figures, theirs: Figures, judgements: Sequence[Judgement]) -> str:
    try:
        ways = sorted({judgement.target.by_wall for judgement in judgements}) or [False]
        return "<br>".join(
            ("wall: " if by_wall else "") + ratio_text(ratio(ours, theirs, case.unit, by_wall))
            for by_wall in ways
        )
    except ZeroDivisionError:
        return "-"


def _ends(judgements: Sequence[Judgement], remarks: str) -> tuple[str, str]:
    """The last two cells: the target, and the verdict with all remarks."""
    wanted = "<br>".join(wanted_text(judgement.target) for judgement in judgements)
    verdicts = [verdict_text(judgement) for judgement in judgements]
    return wanted, "<br>".join(filter(None, (*verdicts, remarks)))


def span(values: Sequence[float], unit: Unit) -> str:
    """From the lowest to the highest."""
    return f"{unit.text(min(values))} – {unit.text(max(values))}"


def ratio_text(value: Ratio) -> str:
    """Of the medians, with the range over the rounds."""
    return f"{value.of_medians:.3g} × ({value.low:.3g} – {value.high:.3g})"


def wanted_text(target: Target) -> str:
    """A target in words."""
    if target.peer:
        return f"≥ {target.bound:g} ×"
    return f"≤ {size(target.bound)}"  # all bounds are bytes


def verdict_text(judgement: Judgement) -> str:
    """The verdict; problems in bold, with the reason."""
    verdict = judgement.verdict
    text = str(verdict.value)
    if verdict is Verdict.PASSED:
        return text
    if verdict is not Verdict.NOT_MEASURED:
        text = f"**{text}**"
    return f"{text} ({_brief(judgement.reason)})" if judgement.reason else text


def _brief(reason: str) -> str:
    """The last line, short enough for a cell, and without the path of the project."""
    return reason.strip().splitlines()[-1].replace("|", "/").replace(f"{_ROOT}{os.sep}", "")


def summary(judgements: Sequence[Judgement]) -> Iterator[str]:
    """All targets, and how many were met."""
    passed = sum(judgement.verdict is Verdict.PASSED for judgement in judgements)
    yield f"{passed} of {len(judgements)} targets passed."
    yield ""
    yield line(_SUMMARY)
    yield line(("---", "---", "---", "---:", "---:", "---"))
    for judgement in judgements:
        target, measured = judgement.target, judgement.measured
        if measured is None:
            result = "-"
        elif isinstance(measured, Ratio):
            result = ratio_text(measured)
        else:
            result = size(measured)
        against = target.peer + (", wall clock" if target.by_wall else "")
        yield line(
            (
                target.row,
                target.case,
                against or "a bound",
                wanted_text(target),
                result,
                verdict_text(judgement),
            )
        )


def circumstances(machine: Mapping[str, str]) -> Iterator[str]:
    """The circumstances of the measurement."""
    for name, value in machine.items():
        yield f"- {name}: {value}"
