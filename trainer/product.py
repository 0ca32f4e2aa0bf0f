"""From a finished run to a checkpoint with its report and its picture."""

from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from engine import checkpoint
from engine.checkpoint import Checkpoint, Sign
from engine.critic import Critic
from engine.model import parameter_count
from engine.theme import ThemeEncoder
from trainer.corpus import COMMIT, Era, Split
from trainer.critic import Hearing
from trainer.evaluate import score_forms, tone_labels, total
from trainer.fit import Run
from trainer.picture import draw_curve
from trainer.theme import Hint
from trainer.tradition import build_tradition


def write_checkpoint(run: Run, parent: Path, *, sign: Sign | None = None) -> Path:
    """Write the run's best averaged weights under `parent`; the folder of the checkpoint.

    The weights are rounded to fp16 first and measured then, so the report tells of what is kept.
    A picture of the loss is put beside the run's state.
    """
    run.load_best(half=True)
    folder = checkpoint.save(
        parent,
        shape=run.model.shape,
        vocabulary=run.dataset.vocabulary,
        unknown_types=run.dataset.unknown_types,
        priors=run.dataset.priors,
        tradition=build_tradition(run.dataset),
        weights=run.model.state_dict(),
        report=report_of(run),
        sign=sign,
    )
    draw_curve(run.progress.measures, run.folder / "curve.svg", title=folder.name)
    return folder


def with_critic(
    of: Checkpoint, critic: Critic, hearing: Hearing, parent: Path, *, sign: Sign | None = None
) -> Path:
    """Write `of` under `parent` once more, with a critic beside its weights."""
    told = replace(of, critic=critic.state_dict(), report={**of.report, "critic": asdict(hearing)})
    return write_again(told, parent, sign=sign)


def with_theme(
    of: Checkpoint, encoder: ThemeEncoder, hint: Hint, parent: Path, *, sign: Sign | None = None
) -> Path:
    """Write `of` under `parent` once more, with an encoder of themes beside its weights."""
    told = replace(of, theme=encoder.state_dict(), report={**of.report, "theme": asdict(hint)})
    return write_again(told, parent, sign=sign)


def write_again(
    of: Checkpoint, parent: Path, *, now: datetime | None = None, sign: Sign | None = None
) -> Path:
    """Write `of` under `parent` as it is now, bearing the time `now`; the checkpoint's folder."""
    return checkpoint.save(
        parent,
        shape=of.shape,
        vocabulary=of.vocabulary,
        unknown_types=of.unknown_types,
        priors=of.priors,
        tradition=of.tradition,
        weights=of.weights,
        report=of.report,
        critic=of.critic,
        theme=of.theme,
        preference=of.preference,
        wear=of.wear,
        sign=sign,
        now=now,
    )


def report_of(run: Run) -> dict[str, Any]:
    """What the report of a run's model says: where it comes from, and how well it does."""
    test = run.dataset.select(Split.TEST, [Era.TANG])
    unknown = run.dataset.unknown_types
    scores = score_forms(run.model, test, unknown_types=unknown)
    told = score_forms(
        run.model, test, unknown_types=unknown, tones=tone_labels(run.dataset.vocabulary)
    )
    return {
        "corpus": COMMIT,
        "dataset": run.dataset.fingerprint,
        "recipe": asdict(run.recipe),
        "start": run.start,
        "parameters": parameter_count(run.model),
        "steps": run.progress.step,
        "test": {
            "perplexity": total(scores).perplexity,
            "perplexity_told": total(told).perplexity,
            "characters": total(scores).characters,
            "by_form": {form: score.perplexity for form, score in scores.items()},
        },
        "measures": [asdict(measure) for measure in run.progress.measures],
    }
