"""Who is written next: policy, tested without a model."""

import random as random_module
from itertools import count
from random import Random

import pytest

from engine.jobs import Lane
from engine.scheduler import BULK_TURN, YOUNG, Party, Scheduler
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
LENGTH = _PLAN.form.length


def party(number, *, owed=1, most=None, **fields):
    asked = job(number, **fields)
    candidates = (Sequence(job=asked, plan=_PLAN, given={}, uniforms=()) for _ in count())
    return Party(job=asked, candidates=candidates, owed=owed, most=most or owed)


def names(sequences):
    return [found.job.id for found in sequences]


def joining(scheduler, now_ms=0):
    return names(scheduler.schedule(now_ms).joining)


def run(scheduler, steps):
    """So many steps; the ids of those that were complete."""
    done = []
    for _ in range(steps):
        scheduler.schedule(0)
        done += names(scheduler.leave(row) for row in scheduler.advance())
    return done


def test_parties_join_while_slots_are_free():
    scheduler = Scheduler(2)
    for number in range(3):
        scheduler.add(party(number))
    assert (scheduler.waiting, scheduler.free) == (3, 0)
    assert joining(scheduler) == ["test:0", "test:1"]
    assert scheduler.waiting == 1
    assert all(found.state is State.RUNNING for found in scheduler.running)
    assert [found.row for found in scheduler.running] == [0, 1]


def test_a_party_joins_together_or_not_at_all_and_nobody_overtakes_it():
    scheduler = Scheduler(4)
    scheduler.add(party(1, owed=3))
    scheduler.add(party(2, owed=2))
    scheduler.add(party(3))
    assert joining(scheduler) == ["test:1"] * 3
    run(scheduler, LENGTH)
    assert joining(scheduler) == ["test:2", "test:2", "test:3"]


def test_chats_take_turns():
    scheduler = Scheduler(4)
    for number in range(3):
        scheduler.add(party(number, chat="busy"))
    scheduler.add(party(9, chat="polite"))
    assert joining(scheduler) == ["test:0", "test:9", "test:1", "test:2"]


def test_people_come_before_machines():
    scheduler = Scheduler(1)
    scheduler.add(party(1, lane=Lane.BULK))
    scheduler.add(party(2, lane=Lane.CHAT))
    assert joining(scheduler) == ["test:2"]


def test_machines_come_late_but_not_never():
    scheduler = Scheduler(1)
    scheduler.add(party(0, lane=Lane.BULK))
    order = []
    for number in range(1, 2 * BULK_TURN):
        scheduler.add(party(number))
        order += run(scheduler, LENGTH)
    assert order.index("test:0") == BULK_TURN - 1


# --- who comes too late, and who is not wanted ---


def test_what_expired_waiting_does_not_take_a_slot():
    scheduler = Scheduler(1)
    scheduler.add(party(1, deadline_ms=99))
    scheduler.add(party(2, deadline_ms=100))
    shift = scheduler.schedule(100)
    assert [late.id for late in shift.expired] == ["test:1"]
    assert (names(shift.joining), shift.leaving) == (["test:2"], [])


def test_what_expires_far_behind_in_its_queue_is_told_at_once():
    scheduler = Scheduler(1)
    for number in range(3):
        scheduler.add(party(number))
    scheduler.add(party(9, deadline_ms=5))
    assert [late.id for late in scheduler.schedule(6).expired] == ["test:9"]
    assert scheduler.waiting == 2


def test_a_running_job_whose_deadline_passes_leaves_its_rows_to_others():
    scheduler = Scheduler(3)
    scheduler.add(party(1, owed=2, deadline_ms=100))
    scheduler.add(party(2))
    scheduler.schedule(100)
    scheduler.add(party(3, owed=2))
    shift = scheduler.schedule(101)
    assert [late.id for late in shift.expired] == ["test:1"]
    assert shift.leaving == [1, 0]
    assert names(shift.joining) == ["test:3", "test:3"]
    assert names(scheduler.running) == ["test:2", "test:3", "test:3"]


def test_a_dropped_job_leaves_wherever_it_stands():
    scheduler = Scheduler(2)
    for number in (1, 2):
        scheduler.add(party(number, owed=2))
    scheduler.schedule(0)
    assert scheduler.drop("test:2") == []
    assert scheduler.drop("test:1") == [1, 0]
    assert scheduler.drop("test:1") == []
    assert scheduler.idle
    assert (scheduler.waiting, scheduler.free) == (0, 2)
    assert run(scheduler, LENGTH) == []


# --- rows ---


def test_a_complete_sequence_leaves_and_the_last_takes_its_row():
    scheduler = Scheduler(3)
    scheduler.add(party(0))
    run(scheduler, 1)
    for number in (1, 2):
        scheduler.add(party(number))
    assert run(scheduler, LENGTH - 2) == []
    scheduler.schedule(0)
    assert scheduler.advance() == [0]
    assert scheduler.leave(0).state is State.FINISHED
    assert names(scheduler.running) == ["test:2", "test:1"]
    assert [found.row for found in scheduler.running] == [0, 1]


def test_rows_that_end_together_are_freed_from_the_last_on():
    scheduler = Scheduler(3)
    for number in range(3):
        scheduler.add(party(number))
    scheduler.schedule(0)
    run(scheduler, LENGTH - 1)
    rows = scheduler.advance()
    assert rows == [2, 1, 0]
    assert names(scheduler.leave(row) for row in rows) == ["test:2", "test:1", "test:0"]
    assert scheduler.idle


# --- rows that are lent ---


def test_rows_that_nobody_is_owed_are_lent_to_whom_has_the_fewest():
    scheduler = Scheduler(10)
    scheduler.add(party(1, owed=1, most=4))
    scheduler.add(party(2, owed=3, most=6))
    scheduler.schedule(0)
    running = names(scheduler.running)
    assert [running.count(id_) for id_ in ("test:1", "test:2")] == [4, 6]
    assert (scheduler.lent, scheduler.owed, scheduler.free) == (6, 4, 6)


def test_no_more_rows_are_lent_than_may_be():
    scheduler = Scheduler(10)
    scheduler.add(party(1, owed=2, most=8))
    assert len(scheduler.schedule(0, spare=3).joining) == 5
    assert len(scheduler.schedule(0, spare=1).leaving) == 2
    assert (len(scheduler.running), scheduler.lent) == (3, 1)


def test_rows_that_are_lent_are_called_back_before_anybody_waits_for_them():
    scheduler = Scheduler(8)
    scheduler.add(party(1, owed=2, most=8))
    run(scheduler, 5)
    scheduler.add(party(2, owed=4, most=8))
    shift = scheduler.schedule(0)
    assert (len(shift.leaving), names(shift.joining)) == (4, ["test:2"] * 4)
    assert names(scheduler.running).count("test:1") == 4


def test_of_the_rows_that_are_lent_those_go_back_that_have_written_least():
    scheduler = Scheduler(6)
    scheduler.add(party(1, owed=1, most=3))
    run(scheduler, 2)
    scheduler.add(party(2, owed=1, most=3))
    run(scheduler, 2)
    scheduler.add(party(3, owed=2))
    scheduler.schedule(0)
    running = names(scheduler.running)
    assert [running.count(f"test:{n}") for n in (1, 2, 3)] == [3, 1, 2]


def test_rows_that_become_free_go_to_those_who_have_just_begun_and_not_to_others():
    scheduler = Scheduler(4)
    scheduler.add(party(0, owed=2))
    run(scheduler, LENGTH - LENGTH // YOUNG)
    scheduler.add(party(1, owed=2, most=4))
    scheduler.add(party(2, owed=9))
    scheduler.drop("test:2")
    assert run(scheduler, LENGTH // YOUNG) == ["test:0"] * 2
    scheduler.schedule(0)
    assert names(scheduler.running) == ["test:1"] * 4
    old = Scheduler(4)
    old.add(party(0, owed=2))
    run(old, LENGTH - LENGTH // YOUNG - 2)
    old.add(party(1, owed=2, most=4))
    run(old, LENGTH // YOUNG + 2)
    old.schedule(0)
    assert names(old.running) == ["test:1"] * 2


class Office:
    """Jobs that come and go by chance, and a runner's rows, moved by what each shift says."""

    def __init__(self, seed):
        self.random = random_module.Random(seed)
        self.scheduler = Scheduler(12)
        self.rows, self.ended, self.numbers = [], [], count()

    def come(self, now_ms):
        chance = self.random
        owed = chance.randint(1, 5)
        deadline_ms = now_ms + chance.randint(0, 40) if chance.random() < 0.3 else None
        self.scheduler.add(
            party(
                next(self.numbers),
                owed=owed,
                most=owed + chance.randint(0, 6),
                chat=str(chance.randint(0, 3)),
                lane=chance.choice(list(Lane)),
                deadline_ms=deadline_ms,
            )
        )

    def go(self):
        unwanted = self.random.choice(self.rows).job.id
        self.ended.append(unwanted)
        self.leave(self.scheduler.drop(unwanted))

    def leave(self, rows):
        for row in rows:
            last = self.rows.pop()
            if row < len(self.rows):
                self.rows[row] = last

    def step(self, now_ms, spare=None):
        shift = self.scheduler.schedule(now_ms, spare=spare)
        self.ended += [late.id for late in shift.expired]
        self.leave(shift.leaving)
        self.rows += shift.joining
        self.check()
        for row in self.scheduler.advance():
            self.leave([row])
            done = self.scheduler.leave(row).job.id
            self.ended += [] if self.scheduler.holds(done) else [done]
        self.check()

    def check(self):
        scheduler, rows = self.scheduler, self.rows
        assert rows == scheduler.running
        assert [found.row for found in rows] == list(range(len(rows)))
        assert len(rows) <= scheduler.slots
        owed = len(rows) - scheduler.lent + scheduler.waiting
        assert (scheduler.owed, scheduler.free) == (owed, max(0, scheduler.slots - owed))


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_and_goes_a_runner_that_does_as_it_is_told_has_the_same_rows(seed):
    office = Office(seed)
    for now_ms in range(400):
        if office.random.random() < 0.3:
            office.come(now_ms)
        if office.random.random() < 0.05 and office.rows:
            office.go()
        office.step(now_ms, spare=office.random.choice([None, 0, 3]))
    while not office.scheduler.idle:
        office.step(now_ms=0)
    assert len(office.ended) == len({*office.ended}) == next(office.numbers)
    assert (office.scheduler.lent, office.scheduler.waiting, office.rows) == (0, 0, [])
