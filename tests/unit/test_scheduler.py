"""Who is written next: policy, tested without a model."""

from random import Random

from engine.jobs import Lane
from engine.scheduler import Scheduler
from engine.sequence import Sequence, State
from engine.verse.forms import FormName
from engine.verse.plan import Priors, make_plan
from tests.fakes.models import job

_PLAN = make_plan(
    FormName.WUJUE,
    {},
    Priors(openings={}, patterns=dict.fromkeys("ABCD", (1.0, 1.0, 1.0)), rhymes={}),
    Random(0),
)


def sequence(number, **fields):
    return Sequence(job=job(number, **fields), plan=_PLAN, given={}, uniforms=())


def names(sequences):
    return [found.job.id for found in sequences]


def test_sequences_join_while_slots_are_free():
    scheduler = Scheduler(2)
    for number in range(3):
        scheduler.add([sequence(number)])
    joining, expired = scheduler.schedule(0)
    assert names(joining) == ["test:0", "test:1"]
    assert expired == []
    assert scheduler.waiting == 1
    assert all(found.state is State.RUNNING for found in joining)


def test_chats_take_turns():
    scheduler = Scheduler(4)
    for number in range(3):
        scheduler.add([sequence(number, chat="busy")])
    scheduler.add([sequence(9, chat="polite")])
    assert names(scheduler.schedule(0)[0]) == ["test:0", "test:9", "test:1", "test:2"]


def test_people_come_before_machines():
    scheduler = Scheduler(1)
    scheduler.add([sequence(1, lane=Lane.BULK)])
    scheduler.add([sequence(2, lane=Lane.CHAT)])
    assert names(scheduler.schedule(0)[0]) == ["test:2"]


def test_what_expired_waiting_does_not_take_a_slot():
    scheduler = Scheduler(1)
    scheduler.add([sequence(1, deadline_ms=99)])
    scheduler.add([sequence(2, deadline_ms=100)])
    joining, expired = scheduler.schedule(100)
    assert (names(joining), [names(party) for party in expired]) == (["test:2"], [["test:1"]])


def test_a_complete_sequence_leaves_and_the_last_takes_its_row():
    scheduler = Scheduler(3)
    for number in range(3):
        scheduler.add([sequence(number)])
    scheduler.schedule(0)
    scheduler.running[0].position = scheduler.running[0].length - 1
    assert scheduler.advance() == [0]
    assert scheduler.leave(0).state is State.FINISHED
    assert names(scheduler.running) == ["test:2", "test:1"]


def test_rows_that_end_together_are_freed_from_the_last_on():
    scheduler = Scheduler(3)
    for number in range(3):
        scheduler.add([sequence(number)])
    scheduler.schedule(0)
    for running in scheduler.running:
        running.position = running.length - 1
    rows = scheduler.advance()
    assert rows == [2, 1, 0]
    assert names(scheduler.leave(row) for row in rows) == ["test:2", "test:1", "test:0"]
    assert scheduler.idle
