"""Jobs and outcomes for tests that do not care what is in them."""

from typing import Any

from engine.jobs import Cell, Failure, Job, Poem, Reason
from engine.verse.forms import FormName


def a_job(job_id: str = "test:1", **fields: Any) -> Job:
    """A job of the client `bot`; `fields` override."""
    usual: dict[str, Any] = {
        "client": "bot",
        "chat": "telegram:7",
        "form": FormName.WUJUE,
        "cell": Cell.GRU,
        "temperature": 0.8,
        "seed": 7,
        "opening": "月",
        "context": {"chat": 7},
    }
    return Job(id=job_id, **usual | fields)


def a_poem(job: Job) -> Poem:
    """A poem that answers `job`."""
    return Poem(
        job_id=job.id,
        lines=("月落空江夜", "風吹遠樹秋", "故人千里外", "一葉下汀洲"),
        form=job.form,
        rhyme="尤",
        tones=("仄仄平平仄", "平平仄仄平", "仄平平仄仄", "仄仄仄平平"),
        cell=job.cell,
        checkpoint="gru-test",
        seed=job.seed,
        logprob=-31.5,
        context=job.context,
    )


def a_failure(job: Job) -> Failure:
    """A failure that answers `job`."""
    return Failure(job_id=job.id, reason=Reason.INTERNAL, context=job.context)
