"""Runs the Autobahn|Testsuite against Sono in both roles, and summarizes its reports.

python -m tests.interop.conformance [--all | --seed N] [--peer NAME] [--write FILE]

selection.py lists the peers under test, and the share that runs without --all. A case passes if
it is OK or INFORMATIONAL, under --strict (NON-STRICT fails) and --require-deflate (UNIMPLEMENTED
fails, which the suite gives to a peer without permessage-deflate).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sono_core import __version__, native_available
from tests.interop.selection import (
    ALL_CASES,
    GROUPS,
    PEERS,
    RAISED_LIMITS,
    ROOT,
    commit_seed,
    parts,
    share,
)
from tests.processes import uncovered

AGENT = "sono"
PATH = "native" if native_available else "pure"


def autobahn_folder() -> Path | None:
    """The folder that SONO_AUTOBAHN names, if it holds the suite's two commands."""
    named = os.environ.get("SONO_AUTOBAHN", "")
    folder = Path(named).resolve()
    return folder if named and (folder / "run-server-cases").is_file() else None


@dataclass(frozen=True)
class Report:
    """The suite's verdicts on one peer."""

    peer: str
    results: dict[str, str]  # case id to verdict
    passed: bool
    output: str
    suite: str

    def groups(self) -> dict[int, Counter[str]]:
        """Verdicts counted by group."""
        counts: dict[int, Counter[str]] = {}
        for case, verdict in self.results.items():
            counts.setdefault(int(case.partition(".")[0]), Counter())[verdict] += 1
        return dict(sorted(counts.items()))

    def cases(self, *verdicts: str) -> list[str]:
        """The ids of the cases with one of these verdicts, in order."""
        return sorted((c for c, v in self.results.items() if v in verdicts), key=case_order)


def case_order(case: str) -> list[int]:
    return [int(part) for part in case.split(".")]


def environment() -> dict[str, str]:
    """For the commands under test: they import this tree, and coverage does not slow them down."""
    env = uncovered()
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))
    return env


@contextmanager
def listening(command: Sequence[str]) -> Iterator[str]:
    """An echo server on a free port, and its URL."""
    with tempfile.TemporaryFile("w+") as errors:
        server = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        with server:
            try:
                assert server.stdout is not None
                ready, _, _ = select.select([server.stdout], [], [], 30)
                line = server.stdout.readline() if ready else "nothing for 30 s"
                found = re.fullmatch(r"listening on (ws://127\.0\.0\.1:\d+)/\n", line)
                if not found:
                    server.kill()
                    server.wait()
                    errors.seek(0)
                    raise RuntimeError(f"the echo server said {line!r}\n{errors.read()}")
                yield found[1]
                if server.poll() is not None:
                    errors.seek(0)
                    raise RuntimeError(f"the echo server ended amid the run\n{errors.read()}")
            finally:
                server.terminate()
                try:
                    server.wait(15)
                except subprocess.TimeoutExpired:
                    server.kill()


def run(
    name: str,
    cases: Sequence[str] = ALL_CASES,
    timeout: float = 3600,
    *,
    tls: bool = False,
) -> Report:
    """Run the cases against the peer of that name.

    A case id that ends in `*` stands for all ids that start so. `timeout` is in seconds. With
    `tls` the peer speaks it, to a relay. Raises RuntimeError if the suite or the peer under test
    did not start.
    """
    folder = autobahn_folder()
    if folder is None:
        raise RuntimeError("SONO_AUTOBAHN does not name a folder that holds run-server-cases")
    deadline = time.monotonic() + timeout
    peer = PEERS[name]
    command = folder / f"run-{peer.role}-cases"
    peer_command = peer.command
    if tls:
        peer_command = ("-m", "tests.interop.tls_relay", peer.role, sys.executable, *peer.command)
    with ExitStack() as stack:
        if peer.role == "server":
            target = [stack.enter_context(listening(peer_command))]
        else:
            target = ["--", sys.executable, *peer_command]
        return joined(
            [
                run_part(name, command, part, deadline - time.monotonic(), target)
                for part in parts(cases)
            ]
        )


def run_part(
    name: str,
    command: str | Path,
    cases: Sequence[str],
    timeout: float,
    target: Sequence[str],
    again: bool = False,
) -> Report:
    """What one process of the suite says.

    The suite gives a peer half a second to answer its close, which a busy machine may not have. If
    that is all that failed, those cases are taken once more, unless this is `again`.
    """
    out = Path(tempfile.mkdtemp(prefix="sono-autobahn-"))
    finished = call(
        [
            command,
            f"--agent={AGENT}",
            f"--cases={','.join(cases)}",
            f"--out={out}",
            f"--timeout={max(timeout, 1):g}",
            "--strict",
            "--require-deflate",
            *target,
        ]
    )
    if finished.returncode not in (0, 1):
        raise RuntimeError(f"the suite did not run:\n{finished.stdout}")
    passed = finished.returncode == 0
    report = Report(
        peer=name,
        results=read_results(out),
        passed=passed,
        output=re.sub(r"reports: .*\n", "", finished.stdout) if passed else finished.stdout,
        suite=suite_version(out),
    )
    if passed:  # otherwise the reports stay, and the output's last line tells where
        shutil.rmtree(out)
        return report
    failed = report.cases(*set(report.results.values()) - {"OK", "INFORMATIONAL"})
    if again or not failed or not all(was_cut_off(out, case) for case in failed):
        return report
    second = run_part(name, command, failed, timeout, target, again=True)
    return Report(
        peer=name,
        results={**report.results, **second.results},
        passed=second.passed,
        output=f"{report.output}once more, as the suite has cut them off:\n{second.output}",
        suite=report.suite,
    )


def was_cut_off(out: Path, case: str) -> bool:
    """Whether the suite's patience ended a case: the last entry of its log is that of its timer."""
    report = json.loads((out / f"{AGENT}_case_{case.replace('.', '_')}.json").read_text())
    log = report["wirelog"]
    return bool(log) and log[-1][0] == "KLE"


def joined(reports: Sequence[Report]) -> Report:
    """The reports of all parts as one; it passed if each of them did."""
    return Report(
        peer=reports[0].peer,
        results={case: verdict for report in reports for case, verdict in report.results.items()},
        passed=all(report.passed for report in reports),
        output="".join(report.output for report in reports),
        suite=reports[0].suite,
    )


def call(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def read_results(out: Path) -> dict[str, str]:
    """The verdicts in the suite's index.json."""
    try:
        index = json.loads((out / "index.json").read_text())
    except FileNotFoundError:  # no case was run
        return {}
    return {
        case: worse(entry["behavior"], entry["behaviorClose"])
        for case, entry in index.get(AGENT, {}).items()
    }


def worse(behavior: str, closing: str) -> str:
    """The worse of a case's two verdicts."""
    harmless = {"OK": 0, "INFORMATIONAL": 1}
    return max(behavior, closing, key=lambda verdict: harmless.get(verdict, 2))


def suite_version(out: Path) -> str:
    log = (out / "wstest.log").read_text(errors="replace")
    found = re.search(r"Autobahn ?Testsuite Version (\S+)", log, re.IGNORECASE)
    return found[1] if found else "of unknown version"


INTRODUCTION = """\
# Conformance

<!-- Written by `make conformance`. -->

These are the results of {cases} of Autobahn|Testsuite {suite}, the conformance suite for RFC \
6455 (WebSocket) and RFC 7692 (permessage-deflate), against Sono {sono} ({path}). NON-STRICT and \
UNIMPLEMENTED count as failures. INFORMATIONAL marks cases that have no wrong answer.
"""

REPRODUCE = f"""\
## How to reproduce it

```sh
SONO_AUTOBAHN=FOLDER make conformance
```

FOLDER must hold two commands that drive the suite's `wstest`. `run-server-cases URL` runs its \
fuzzing client against a server. `run-client-cases -- COMMAND` runs its fuzzing server against a \
client, which finds the server in `AUTOBAHN_URL` and its own name in `AUTOBAHN_AGENT`.

The server under test is `examples/echo.py {" ".join(RAISED_LIMITS)}`, also with `--asyncio`. \
The clients are `tests/interop/echo_client.py` and `echo_client_async.py`. If SONO_AUTOBAHN is \
set, `make check` takes each of these four, native and in pure Python, through all groups but \
12.* and 13.*, and deals their cases out to the eight; `tests/interop/selection.py` says how. It \
takes the four through a sample over TLS as well (`tests/interop/tls_relay.py`).
"""


def markdown(reports: Sequence[Report], everything: bool) -> str:
    """The summary, without a date, so that the same results give the same text."""
    introduction = INTRODUCTION.format(
        cases="all cases" if everything else "a selection of the cases",
        suite=reports[0].suite,
        sono=__version__,
        path="native" if PATH == "native" else "pure Python",
    )
    return "\n".join([introduction, *map(section, reports), REPRODUCE])


def section(report: Report) -> str:
    lines = [
        f"## {report.peer.capitalize()}",
        "",
        "| cases | what | number | OK | INFORMATIONAL | others |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    total: Counter[str] = Counter()
    for group, count in report.groups().items():
        lines.append(row(f"{group}.*", GROUPS.get(group, ""), count))
        total += count
    lines += [row("all", "", total), ""]
    for verdict in sorted(total.keys() - {"OK"}):
        lines += [f"{verdict}: {', '.join(report.cases(verdict))}.", ""]
    if not report.passed:
        lines += ["**The run failed.**", ""]
    return "\n".join(lines)


def row(cases: str, what: str, count: Counter[str]) -> str:
    ok, informational = count["OK"], count["INFORMATIONAL"]
    others = count.total() - ok - informational
    return f"| {cases} | {what} | {count.total()} | {ok} | {informational} | {others} |"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.interop.conformance",
        description="Runs the Autobahn|Testsuite against Sono. Exit status: 0 every case is OK or"
        " INFORMATIONAL, 1 some are not, 2 the suite could not be run.",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="run all cases instead of a share")
    which.add_argument("--seed", type=int, help="seed of the share; default: from the commit")
    parser.add_argument("--peer", choices=PEERS, help="test only this peer")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="write a summary in Markdown to FILE"
    )
    args = parser.parse_args(arguments)
    seed = commit_seed() if args.seed is None else args.seed
    reports = []
    for name in [args.peer] if args.peer else PEERS:
        combination = f"{name}-{PATH}"
        print(f"Autobahn, {combination} ...", flush=True)
        try:
            report = run(name, cases=ALL_CASES if args.all else share(seed, combination))
        except RuntimeError as error:
            print(f"conformance: {error}", file=sys.stderr)
            return 2
        print(report.output, flush=True)
        reports.append(report)
    if args.write:
        args.write.write_text(markdown(reports, args.all), encoding="utf-8")
    return 0 if all(report.passed for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
