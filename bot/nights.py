"""Puts in words what the trainer tells of its nights."""

from collections.abc import Iterator, Mapping

from bot import texts
from bot.language import Language
from bot.texts import Text
from engine.bulletin import Bulletin, NightOutcome, Phase

PHASES: Mapping[Phase, Text] = {
    Phase.SNAPSHOT: texts.PHASE_SNAPSHOT,
    Phase.DATASET: texts.PHASE_DATASET,
    Phase.TRIAL: texts.PHASE_TRIAL,
    Phase.PREFERENCE: texts.PHASE_PREFERENCE,
    Phase.FAVOURITES: texts.PHASE_FAVOURITES,
    Phase.FIT: texts.PHASE_FIT,
    Phase.CHALLENGER: texts.PHASE_CHALLENGER,
    Phase.EXAMINATION: texts.PHASE_EXAMINATION,
    Phase.OUTCOME: texts.PHASE_OUTCOME,
}
"""What is done in a night, for people."""

OUTCOMES: Mapping[NightOutcome, Text] = {
    NightOutcome.PROMOTED: texts.NIGHT_PROMOTED,
    NightOutcome.ON_TRIAL: texts.NIGHT_ON_TRIAL,
    NightOutcome.REFUSED: texts.NIGHT_REFUSED,
    NightOutcome.TRIAL_GOES_ON: texts.NIGHT_TRIAL_GOES_ON,
    NightOutcome.NOTHING_NEW: texts.NIGHT_NOTHING_NEW,
    NightOutcome.FAILED: texts.NIGHT_FAILED,
}
"""What can come of a night for a model, for people."""


def tell_night(bulletin: Bulletin, language: Language, *, now_ms: int) -> Iterator[str]:
    """What is going on, if anything is, and what came of the last night; a line each."""
    if bulletin.phase is not None and bulletin.is_at_work(now_ms):
        phase = PHASES[bulletin.phase].say(language)
        percent = f"{100 * bulletin.share:.0f}"
        if bulletin.cell is None:
            yield texts.NIGHT_NOW.say(language, phase=phase, percent=percent)
        else:
            yield texts.NIGHT_NOW_CELL.say(
                language, phase=phase, percent=percent, cell=bulletin.cell
            )
    if bulletin.last is None:
        return
    if bulletin.failed and not bulletin.outcomes:
        yield texts.NIGHT_LAST_FAILED.say(language, night=bulletin.last)
        return
    yield texts.NIGHT_LAST.say(language, night=bulletin.last)
    for cell, outcome in sorted(bulletin.outcomes.items()):
        yield texts.NIGHT_LAST_CELL.say(
            language, cell=cell, outcome=OUTCOMES[outcome].say(language)
        )
