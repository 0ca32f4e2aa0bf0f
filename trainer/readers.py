"""What readers of our poems think, out of the bot's anthology."""

from bot.anthology import Anthology
from bot.anthology.ratings import TrainingRating
from bot.settings import BotSettings


async def read_ratings(settings: BotSettings) -> list[TrainingRating]:
    """All that the model may learn from now; changes nothing, and nobody who rates has to wait.

    Raises:
        AnthologyError: the anthology does not open.
        SettingsError: the key of the pseudonyms can be neither read nor made.
    """
    async with Anthology.open(settings.anthology_url, settings.pseudonyms) as anthology:
        ratings = anthology.ratings.training_ratings(curators=settings.curator_names)
        return [rating async for rating in ratings]
