"""How models are told of."""

from bot.clerks.browsing import _model_line
from bot.language import Language


def test_the_name_of_a_checkpoint_tells_when_it_was_trained():
    told = _model_line("gru", "gru-20261121T044310Z-e9d876a6", Language.EN)
    assert told == "· gru: gru-20261121T044310Z-e9d876a6, trained on 2026-11-21"
    assert _model_line("gru", "gru-test", Language.EN) == "· gru: gru-test"
