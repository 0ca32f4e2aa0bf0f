"""Jobs and outcomes survive their journey as JSON, and nothing else passes for one."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.jobs import (
    VERSION,
    Cell,
    Failure,
    Job,
    JobError,
    Lane,
    Poem,
    Reason,
    outcome_from_json,
)
from engine.verse.forms import FormName
from tests.fakes.jobs import a_job, a_poem

contexts = st.dictionaries(
    st.text(), st.one_of(st.none(), st.booleans(), st.integers(), st.text()), max_size=4
)
jobs = st.builds(
    Job,
    id=st.text(min_size=1),
    client=st.text(min_size=1),
    chat=st.text(),
    form=st.sampled_from(FormName),
    cell=st.sampled_from(Cell),
    temperature=st.floats(min_value=0.01, max_value=10),
    seed=st.integers(min_value=0, max_value=2**63 - 1),
    opening=st.text(max_size=8),
    rhyme=st.none() | st.text(max_size=1),
    lane=st.sampled_from(Lane),
    deadline_ms=st.none() | st.integers(min_value=0),
    context=contexts,
)
poems = st.builds(
    Poem,
    job_id=st.text(min_size=1),
    lines=st.lists(st.text(), max_size=8).map(tuple),
    form=st.sampled_from(FormName),
    rhyme=st.text(max_size=1),
    tones=st.lists(st.text(), max_size=8).map(tuple),
    cell=st.sampled_from(Cell),
    checkpoint=st.text(),
    seed=st.integers(),
    logprob=st.floats(allow_nan=False),
    context=contexts,
)
failures = st.builds(
    Failure,
    job_id=st.text(min_size=1),
    reason=st.sampled_from(Reason),
    detail=st.text(),
    context=contexts,
)


@given(jobs)
def test_a_job_comes_back_as_it_went(job: Job):
    assert Job.from_json(job.to_json().encode()) == job


@given(poems | failures)
def test_an_outcome_comes_back_as_it_went(outcome: Poem | Failure):
    assert outcome_from_json(outcome.to_json().encode()) == outcome


@pytest.mark.parametrize("version", [0, VERSION + 1, None, "1"])
def test_a_version_that_is_not_known_is_refused(version: object):
    job = json.loads(a_job().to_json()) | {"version": version}
    poem = json.loads(a_poem(a_job()).to_json()) | {"version": version}
    with pytest.raises(JobError, match="version"):
        Job.from_json(json.dumps(job))
    with pytest.raises(JobError, match="version"):
        outcome_from_json(json.dumps(poem))


@given(st.text() | st.binary())
def test_garbage_is_refused_as_a_job_and_as_an_outcome(garbage: str | bytes):
    for read in (Job.from_json, outcome_from_json):
        with pytest.raises(JobError):
            read(garbage)


@pytest.mark.parametrize("field", ["version", "kind", "id", "form", "cell", "seed"])
def test_a_job_that_lacks_a_required_field_is_refused(field: str):
    fields = json.loads(a_job().to_json())
    del fields[field]
    with pytest.raises(JobError):
        Job.from_json(json.dumps(fields))


@pytest.mark.parametrize(
    ("field", "value"),
    [("form", "haiku"), ("cell", "transformer"), ("lane", "vip"), ("surprise", 1)],
)
def test_a_field_that_means_nothing_is_refused(field: str, value: object):
    with pytest.raises(JobError):
        Job.from_json(json.dumps(json.loads(a_job().to_json()) | {field: value}))


def test_a_poem_is_no_job_and_a_job_no_outcome():
    with pytest.raises(JobError):
        Job.from_json(a_poem(a_job()).to_json())
    with pytest.raises(JobError):
        outcome_from_json(a_job().to_json())


def test_a_poem_reads_with_a_comma_in_each_couplet_and_a_full_stop_after_it():
    assert a_poem(a_job()).text == "月落空江夜，風吹遠樹秋。故人千里外，一葉下汀洲。"


def test_a_log_line_about_a_job_holds_nothing_that_a_person_wrote():
    context = a_job(opening="秘密", chat="telegram:42", context={"name": "秘密"}).log_context()
    assert "秘密" not in str(context)
    assert "42" not in str(context)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", "hot"),
        ("temperature", 0),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("deadline_ms", "x"),
        ("seed", None),
    ],
)
def test_a_field_that_is_none_of_its_kind_is_refused_by_name(field, value):
    fields = json.loads(a_job().to_json()) | {field: value}
    with pytest.raises(JobError, match=field):
        Job.from_json(json.dumps(fields))


def test_json_nested_without_end_is_refused():
    with pytest.raises(JobError):
        Job.from_json("[" * 100_000)


def test_a_lone_surrogate_in_a_context_survives():
    job = replace(a_job(), context={"text": "\ud800"})
    assert Job.from_json(job.to_json().encode()) == job
