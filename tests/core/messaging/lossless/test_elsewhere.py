"""Clients of other nodes: asked, ended and disconnected through a stream that all nodes follow."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Any

import pytest

from sono_core.messaging.lossless import Data, History, Receipt
from sono_core.messaging.lossless.memory import MemoryBackplane
from sono_core.messaging.lossless.packets import Failure
from sono_core.messaging.lossless.server import elsewhere
from sono_core.messaging.lossless.server.elsewhere import PATIENCE, Elsewhere
from sono_core.messaging.lossless.server.identities import written
from sono_core.messaging.lossless.server.orders import CONTROL
from sono_core.messaging.lossless.server.questions import Answered
from tests.backplane.delayed import DelayedBackplane
from tests.backplane.each_backplane import Clock, epochs


class Node:
    """One with some clients, that keeps what is done with them."""

    def __init__(self, backplane: Any, name: str, clock: Clock) -> None:
        self.clients: set[str] = set()
        self.done: list[tuple[Any, ...]] = []
        self.asked: list[tuple[str, str, Any, float, Answered]] = []
        self.backplane = backplane
        self.elsewhere = Elsewhere(backplane, name, clock, self)
        backplane.subscribe(
            CONTROL,
            lambda entry: self.elsewhere.ordered(entry.body),
            on_volatile=self.elsewhere.ordered,
        )

    def has(self, client: str) -> None:
        self.clients.add(client)
        self.backplane.publish(f"@{client}", "hello", 1, History())

    def end_client(self, client: str, code: int, reason: str) -> bool:
        if client in self.clients:
            self.done.append((client, code, reason))
        return client in self.clients

    def ask_client(
        self, client: str, name: str, data: Data, timeout: float, answered: Answered
    ) -> None:
        if client in self.clients:
            self.asked.append((client, name, data.value(), timeout, answered))

    def disconnect_clients(self, identity: bytes, code: int, reason: str) -> None:
        self.done.append((identity, code, reason))


class Deployment:
    def __init__(self) -> None:
        self.clock = Clock()
        memory = MemoryBackplane(self.clock, epochs())
        self.far = DelayedBackplane(memory, Random(1), doubled=0.0)
        self.nodes = [Node(self.far, name, self.clock) for name in "abc"]
        self.far.settle()
        self.answers: list[tuple[Any, Failure | None]] = []

    def answered(self, data: Any, error: Failure | None) -> None:
        self.answers.append((data, error))

    @property
    def answer(self) -> Any:
        """The last one: data, or a code."""
        data, error = self.answers[-1]
        return error.code if error else data

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        for node in self.nodes:
            node.elsewhere.tick(self.clock())


@pytest.fixture
def deployment() -> Deployment:
    return Deployment()


def test_a_client_is_ended_by_the_node_that_has_it_and_no_other(deployment: Deployment) -> None:
    asker, other, owner = deployment.nodes
    owner.has("ann")
    asker.elsewhere.end("ann", 4000, "enough", deployment.answered)
    deployment.far.settle()
    assert deployment.answers == [(None, None)]
    assert owner.done == [("ann", 4000, "enough")]
    assert asker.done == other.done == []
    deployment.pass_time(2 * PATIENCE)
    assert len(deployment.answers) == 1


def test_a_client_is_asked_and_its_answer_goes_to_the_asker_alone(deployment: Deployment) -> None:
    asker, _, owner = deployment.nodes
    owner.has("ann")
    ask = partial(asker.elsewhere.ask, "ann", "colour", answered=deployment.answered)
    ask(data=Data.of({"of": "sky"}), timeout=3.0)
    deployment.far.settle()
    ((client, name, data, timeout, answered),) = owner.asked
    assert (client, name, data, timeout) == ("ann", "colour", {"of": "sky"}, 3.0)
    answered(["blue"], None)
    deployment.far.settle()
    assert deployment.answers == [(["blue"], None)]
    ask(data=Data.of(None), timeout=3.0)
    deployment.far.settle()
    owner.asked[1][-1](None, Failure("busy", "not now", True))
    deployment.far.settle()
    assert deployment.answers[1:] == [(None, Failure("busy", "not now", True))]


def test_a_client_that_is_nowhere_is_unknown_at_once(deployment: Deployment) -> None:
    deployment.nodes[0].elsewhere.end("nobody", 4000, "", deployment.answered)
    deployment.far.settle()
    assert deployment.answer == "unknown-client"


def test_who_waits_for_a_node_that_does_not_answer_waits_no_longer_than_it_may(
    deployment: Deployment,
) -> None:
    asker, _, owner = deployment.nodes
    owner.has("ann")
    owner.clients.clear()  # its node has crashed
    asker.elsewhere.ask("ann", "colour", Data.of(1), 5.0, deployment.answered)
    deployment.far.settle()
    assert asker.elsewhere.deadline == deployment.clock.now + 5.0 + PATIENCE
    deployment.pass_time(5.0 + PATIENCE - 0.1)
    assert deployment.answers == []
    deployment.pass_time(0.1)
    assert deployment.answer == "timeout"


@pytest.mark.parametrize("since", ["tops", "tell"])
def test_nobody_is_asked_while_the_backplane_is_away(
    deployment: Deployment, since: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sono_core.messaging.lossless.backplane import BackplaneError

    asker, _, owner = deployment.nodes
    owner.has("ann")
    deployment.far.settle()
    failed: Receipt[Any] = Receipt()
    failed.fail(BackplaneError("away"))
    monkeypatch.setattr(deployment.far, since, lambda *_: failed)
    asker.elsewhere.end("ann", 4000, "", deployment.answered)
    deployment.far.settle()
    assert deployment.answer == "unavailable"
    assert len(deployment.answers) == 1


def test_answers_that_are_waited_for_are_bounded(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker, _, owner = deployment.nodes
    owner.has("ann")
    deployment.far.settle()
    monkeypatch.setattr(asker.elsewhere._pending, "_most", 2)
    for _ in range(3):
        asker.elsewhere.ask("ann", "colour", Data.of(1), 5.0, deployment.answered)
    deployment.far.settle()
    assert deployment.answer == "too-many-requests"
    assert elsewhere.MOST == 10_000


def test_an_identity_is_disconnected_on_all_other_nodes(deployment: Deployment) -> None:
    asker, *others = deployment.nodes
    identity = written({"name": "ann", "expires_at": 7})
    assert identity == written({"expires_at": 9, "name": "ann"})
    asker.elsewhere.disconnect(identity, 4013, "stolen")
    deployment.far.settle()
    assert asker.done == []
    assert [node.done for node in others] == [[(identity, 4013, "stolen")]] * 2


@pytest.mark.parametrize(("one", "other"), [(1, True), ("1", 1), ({"a": 1}, {"a": 1, "b": None})])
def test_other_identities_are_written_otherwise(one: Any, other: Any) -> None:
    assert written(one) != written(other)


def test_an_identity_that_cannot_be_written_is_the_callers_mistake() -> None:
    with pytest.raises(TypeError):
        written(object())


def test_what_the_backplane_did_not_take_is_said_again(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker, *others = deployment.nodes
    deployment.far.failing = 1.0
    asker.elsewhere.disconnect(written("ann"), 4013, "")
    deployment.far.settle()
    deployment.far.failing = 0.0
    assert asker.elsewhere.deadline == deployment.clock.now + 1.0
    asker.has("ann")
    asker.elsewhere.ask("ann", "colour", Data.of(1), 5.0, deployment.answered)
    deployment.far.settle()
    assert asker.elsewhere.deadline == deployment.clock.now + 1.0  # that is sooner
    asker.elsewhere.end_all()
    deployment.pass_time(1.0)
    deployment.far.settle()
    assert all((written("ann"), 4013, "") in node.done for node in others)


def test_whoever_waits_when_the_node_ends_is_told(deployment: Deployment) -> None:
    asker, _, owner = deployment.nodes
    owner.has("ann")
    asker.elsewhere.ask("ann", "colour", Data.of(1), 5.0, deployment.answered)
    deployment.far.settle()
    asker.elsewhere.end_all()
    assert deployment.answer == "unavailable"
    owner.asked[0][-1]("blue", None)  # nobody waits for it any more
    deployment.far.settle()
    deployment.pass_time(100.0)
    assert len(deployment.answers) == 1


def test_an_answer_that_cannot_be_passed_on_is_a_failure(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sono_core.messaging.lossless.backplane import BackplaneError

    asker, _, owner = deployment.nodes
    owner.has("ann")
    asker.elsewhere.ask("ann", "colour", Data.of(1), 5.0, deployment.answered)
    deployment.far.settle()
    tell = deployment.far.tell

    def only_small_ones(stream: str, body: Any) -> Receipt[None]:
        if body.data is None:
            return tell(stream, body)
        failed: Receipt[None] = Receipt()
        failed.fail(BackplaneError("too large"))
        return failed

    monkeypatch.setattr(deployment.far, "tell", only_small_ones)
    owner.asked[0][-1]("x" * 1000, None)
    deployment.far.settle()
    assert deployment.answer == "failed"


def test_an_order_that_nobody_of_ours_gives_harms_nobody(deployment: Deployment) -> None:
    asker, _, owner = deployment.nodes

    def refuse(*_: Any) -> None:
        raise ValueError("the code may not be sent")

    owner.disconnect_clients = refuse  # type: ignore[method-assign]
    asker.elsewhere.disconnect(written("ann"), 1005, "")
    deployment.far.settle()


@pytest.mark.parametrize("identity", ["\ud800", {"name": "\ud800", "expires_at": 1}])
def test_identities_with_lone_surrogates_are_written_too(identity: Any) -> None:
    assert len(written(identity)) == 32
    assert written(identity) != written("?")


def test_fields_that_do_not_compare_are_not_written() -> None:
    import dataclasses

    @dataclasses.dataclass
    class User:
        name: str
        since: float = dataclasses.field(compare=False)

    assert written(User("ann", 1.0)) == written(User("ann", 2.0)) != written(User("bob", 1.0))
