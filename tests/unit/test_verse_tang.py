"""The checker against verse that was not made for it: real Tang poems, and nonsense."""

from random import Random

import pytest

from benchmarks.poems import shuffled
from engine.settings import load_settings
from engine.verse.checker import check
from engine.verse.forms import FormName
from tests.fakes.poems import QIJUE, WUJUE
from trainer import corpus
from trainer.corpus import CorpusError, Era
from trainer.metrics import Specimen, rule_rates
from trainer.settings import TrainerSettings


@pytest.fixture(scope="module")
def tang():
    """A quarter of the clean Tang poems of the corpus, by form."""
    folder = load_settings(TrainerSettings).corpus_folder
    try:
        files = corpus.files_of(folder, Era.TANG)
    except CorpusError as error:
        pytest.skip(f"the corpus is not here: {error}")
    poems = [poem for path in files for poem in corpus.read_file(path, Era.TANG)][::4]
    return {
        form: [Specimen(lines=poem.lines) for poem in poems if poem.form.name is form]
        for form in FormName
    }


@pytest.mark.parametrize(
    ("form", "tones", "rhyme"),
    [
        (FormName.WUJUE, 0.56, 0.78),
        (FormName.QIJUE, 0.85, 0.95),
        (FormName.WULU, 0.75, 0.90),
        (FormName.QILU, 0.87, 0.93),
    ],
)
def test_real_poems_keep_the_rules_as_often_as_readers_find(tang, form, tones, rhyme):
    rates = rule_rates(tang[form])
    assert rates["format"] == 1.0
    assert rates["tones"] == pytest.approx(tones, abs=0.03)
    assert rates["even_rhyme"] == pytest.approx(rhyme, abs=0.03)


@pytest.mark.parametrize("form", list(FormName))
def test_the_characters_of_real_poems_shuffled_are_no_verse(tang, form):
    random = Random(0)
    rates = rule_rates(Specimen(lines=shuffled(specimen.lines, random)) for specimen in tang[form])
    assert rates["all"] < 0.005
    assert rates["tones"] < 0.01
    assert rates["rhyme"] < 0.04


@pytest.mark.parametrize("lines", [WUJUE, QIJUE])
def test_a_poem_written_by_hand_is_no_verse_once_it_is_shuffled(lines):
    random = Random(0)
    assert check(lines).ok
    kept = sum(check(shuffled(lines, random)).ok for _ in range(400))
    assert kept <= 2
