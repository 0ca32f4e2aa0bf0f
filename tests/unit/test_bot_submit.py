"""A request becomes one job, the same for the same cause, and carries what delivery needs."""

import json
from dataclasses import replace

import pytest

from bot.buttons import Deed, Verb, poem_buttons
from bot.deliver import compose
from bot.language import Language, Script
from bot.message import Address, Incoming, Message, Tally
from bot.requests import PoemRequest
from bot.style import Style
from bot.submit import PATIENCE_MS, Context, make_job, seed_of
from engine.jobs import Cell, Failure, Job, Reason
from engine.verse.forms import FormName
from tests.fakes.engine import made_up_poem

ADDRESS = Address(chat="telegram:-7", thread=3, reply_to=12)
INCOMING = Incoming(
    cause="tg:42", address=ADDRESS, text="/poem ⽉", language=Language.EN, direct=False
)
REQUEST = PoemRequest(opening="月", glyphs="⽉", form=FormName.QIJUE, script=Script.TRADITIONAL)


def the_job():
    style = Style(cell=Cell.LSTM, temperature=1.2)
    return make_job(REQUEST, INCOMING, style, client="telegram", now_ms=1_000)


def test_a_job_is_a_function_of_its_cause():
    assert the_job() == the_job()
    assert the_job().id == "tg:42"
    assert the_job().seed == seed_of("tg:42") != seed_of("tg:43")


def test_a_job_says_what_was_asked_and_until_when_it_matters():
    job = the_job()
    assert (job.opening, job.form, job.cell, job.temperature) == ("月", "qijue", "lstm", 1.2)
    assert (job.client, job.chat) == ("telegram", "telegram:-7")
    assert job.deadline_ms == 1_000 + PATIENCE_MS


def test_the_context_survives_the_journey():
    job = Job.from_json(the_job().to_json())
    assert Context.from_fields(job.context) == Context(
        address=ADDRESS,
        language=Language.EN,
        script=Script.TRADITIONAL,
        glyphs="⽉",
        temperature=1.2,
    )


def test_a_poem_that_is_put_back_is_said_though_its_burial_was_told():
    job = the_job()
    failure = Failure(job_id=job.id, reason=Reason.BURIED, context=job.context)
    told, shown = compose(failure), compose(made_up_poem(job))
    assert told.address == shown.address
    assert told.id != shown.id


def test_a_poem_comes_back_to_where_it_was_asked_for_with_the_glyphs_typed():
    message = compose(made_up_poem(the_job()))
    assert (message.id, message.poem_id, message.address) == ("tg:42", "tg:42", ADDRESS)
    assert message.text.startswith("⽉月落空江夜風，")


@pytest.mark.parametrize("reason", Reason)
def test_every_failure_is_told_in_the_persons_language(reason):
    failure = Failure(job_id="tg:42", reason=reason, context=the_job().context)
    message = compose(failure)
    assert message.address == ADDRESS
    assert message.poem_id is None
    assert message.text.endswith(".")


@pytest.mark.parametrize("context", [{}, {"address": 7}, {"address": {"room": 1}}])
def test_an_outcome_of_somebody_else_is_recognised(context):
    with pytest.raises((KeyError, TypeError, ValueError)):
        compose(Failure(job_id="x", reason=Reason.INTERNAL, context=context))


def test_a_message_survives_the_outbox():
    message = compose(made_up_poem(the_job()))
    assert Message.from_json(message.to_json()) == message


def test_everything_asked_for_reaches_the_engine():
    asked = PoemRequest(
        frame="春□□□□夏□□□□秋□□□□冬□□□□",
        glyphs="春□□□□夏□□□□秋□□□□冬□□□□",
        form=FormName.WUJUE,
        script=Script.SIMPLIFIED,
        rhyme="東",
        theme="边塞",
        unlike="月" * 20,
        count=3,
    )
    job = make_job(asked, INCOMING, Style(), client="telegram", now_ms=1_000)
    assert (job.opening, job.frame, job.rhyme) == ("", asked.frame, "東")
    assert (job.theme, job.unlike, job.count) == ("边塞", "月" * 20, 3)
    assert Job.from_json(job.to_json()) == job


def test_several_poems_come_with_a_button_each():
    job = replace(the_job(), count=3)
    message = compose(made_up_poem(job))
    assert [button.label for button in message.buttons] == ["1", "2", "3"]
    assert [Deed.read(button.data) for button in message.buttons] == [
        Deed(verb=Verb.PICK, argument=str(number), subject="tg:42") for number in (1, 2, 3)
    ]
    assert all(len(button.data.encode()) <= 64 for button in message.buttons)
    assert Message.from_json(message.to_json()) == message


def test_below_a_poem_alone_stands_what_can_be_done_with_it():
    buttons = compose(made_up_poem(the_job())).buttons
    assert [button.label for button in buttons] == ["👍", "👎", "🔁", "✍", "🖼"]
    deeds = [Deed.read(button.data) for button in buttons]
    assert {deed.subject for deed in deeds if deed} == {"tg:42"}
    assert poem_buttons("tg:42", Tally(up=3, down=1))[0].label == "👍 3"


@pytest.mark.parametrize(
    "data",
    ["", "pick", "pick:1", "fly:1:tg:1", "pick:-:tg:1", "pick:1:月", f"up::{'x' * 55}", "\ud800"],
)
def test_a_button_of_somebody_else_is_recognised(data):
    assert Deed.read(data) is None


def test_messages_of_before_can_be_read_and_plain_ones_can_be_read_by_those_of_before():
    before = {"id": "tg:1", "address": {"chat": "c", "thread": None, "reply_to": None}, "text": "x"}
    message = Message(id="tg:1", address=Address(chat="c"), text="x")
    assert Message.from_json(json.dumps(before | {"poem_id": None})) == message
    assert json.loads(message.to_json()) == before


@pytest.mark.parametrize("what", [{"edits": 7}, {"answers": "q"}])
def test_an_edit_and_an_answer_to_a_tap_survive_the_outbox(what):
    message = Message(id="tg:1", address=ADDRESS, text="", **what)
    assert Message.from_json(message.to_json()) == message
