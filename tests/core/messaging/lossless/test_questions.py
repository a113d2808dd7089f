"""Requests of the server: each is answered once, by a reply, a time-out or the session's end."""

from __future__ import annotations

from typing import Any

import pytest

from sono_core.messaging.lossless.packets import Failure
from sono_core.messaging.lossless.server.questions import GONE, TIMEOUT, Questions, TooManyRequests


class Answers(list[tuple[Any, Failure | None]]):
    def __call__(self, data: Any, error: Failure | None) -> None:
        self.append((data, error))


@pytest.mark.parametrize(("data", "error"), [(5, None), (None, None), (None, Failure("x", "y"))])
def test_a_reply_answers_its_request_once(data: Any, error: Failure | None) -> None:
    answers, others = Answers(), Answers()
    questions = Questions(2)
    id = questions.ask(10.0, answers)
    questions.ask(10.0, others)
    assert questions.answer(id, data, error)
    assert not questions.answer(id, data, error)
    assert (answers, others, len(questions)) == ([(data, error)], [], 1)


@pytest.mark.parametrize("id", [0, -1, 2, 99])
def test_a_reply_that_nobody_waits_for_does_nothing(id: int) -> None:
    questions = Questions(2)
    questions.ask(10.0, Answers())
    assert not questions.answer(id, None, None)
    assert len(questions) == 1


def test_no_more_wait_than_may() -> None:
    questions = Questions(2)
    ids = [questions.ask(10.0, Answers()) for _ in range(2)]
    with pytest.raises(TooManyRequests, match="2 requests wait"):
        questions.ask(10.0, Answers())
    questions.answer(ids[0], None, None)
    assert questions.ask(10.0, Answers()) not in ids


def test_they_time_out_each_at_its_own_time() -> None:
    late, early = Answers(), Answers()
    questions = Questions(2)
    assert questions.deadline is None
    questions.ask(20.0, late)
    questions.ask(10.0, early)
    assert questions.deadline == 10.0
    questions.expire(9.9)
    assert early == []
    questions.expire(10.0)
    assert (early, late, questions.deadline) == ([(None, TIMEOUT)], [], 20.0)


def test_they_end_with_the_session() -> None:
    answers = Answers()
    questions = Questions(2)
    questions.ask(20.0, answers)
    questions.ask(20.0, answers)
    questions.end()
    assert (answers, len(questions)) == ([(None, GONE)] * 2, 0)


def test_an_answer_may_ask_again() -> None:
    questions = Questions(1)
    asked: list[int] = []
    id = questions.ask(10.0, lambda *_: asked.append(questions.ask(10.0, Answers())))
    assert questions.answer(id, None, None)
    assert asked
    assert len(questions) == 1
