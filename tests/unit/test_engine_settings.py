"""What an engine's settings mean."""

import pytest

from engine import hand
from engine.jobs import Cell
from engine.registry import Registry
from engine.settings import GPU_SLOTS, USUAL_SLOTS, EngineSettings, SettingsError, load_settings
from tests.fakes.models import job, small_checkpoint


def test_unless_it_is_told_how_many_candidates_stand_side_by_side_the_device_decides():
    unset, told = EngineSettings(), EngineSettings(slots=7)
    assert (unset.slots_on("cpu"), unset.slots_on("cuda")) == (USUAL_SLOTS, GPU_SLOTS)
    assert (told.slots_on("cpu"), told.slots_on("cuda")) == (7, 7)
    assert EngineSettings(candidates=64).slots_on("cpu") == 64


def test_no_candidate_at_all_is_no_number_of_slots(monkeypatch):
    monkeypatch.setenv("YUEFU_SLOTS", "0")
    with pytest.raises(SettingsError, match="YUEFU_SLOTS"):
        load_settings(EngineSettings)


def test_by_hand_as_many_candidates_are_written_as_were_asked_for(tmp_path):
    checkpoint = small_checkpoint(tmp_path / "models", Cell.GRU)
    asked = job(1, cell=Cell.GRU, candidates=12, count=12)
    settings = EngineSettings(data=tmp_path, slots=2, device="cpu")
    Registry.at(settings).promote(checkpoint.id)
    (poem,) = hand.write(settings, [asked], beams=None)
    assert len(poem.others) == 11
