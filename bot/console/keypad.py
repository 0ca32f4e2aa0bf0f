"""The buttons of a chat in a terminal: numbers tap those of the last message that has some."""

from bot.message import Button

_DIGITS_MAX = 4


class Keypad:
    """Which number taps which button."""

    def __init__(self) -> None:
        """Begin without buttons."""
        self._rows: dict[int, tuple[Button, ...]] = {}
        self._read: tuple[int, tuple[Button, ...]] | None = None

    def put(self, message: int, buttons: tuple[Button, ...]) -> None:
        """`message`, by its number, has `buttons` now, or none any more."""
        if buttons:
            self._rows[message] = buttons
        else:
            self._rows.pop(message, None)

    @property
    def message(self) -> int | None:
        """The message whose buttons the numbers tap; None where no message has any."""
        return max(self._rows, default=None)

    @property
    def buttons(self) -> tuple[Button, ...]:
        """The buttons that the numbers tap, from 1."""
        return self._rows[self.message] if self.message is not None else ()

    def take_news(self) -> tuple[Button, ...]:
        """The buttons, where numbers mean something else than when this was last asked."""
        now = None if self.message is None else (self.message, self.buttons)
        news = self.buttons if now != self._read else ()
        self._read = now
        return news


def number_typed(line: str) -> int | None:
    """The number that `line` is, if it is nothing else."""
    number = line.strip()
    return int(number) if len(number) <= _DIGITS_MAX and number.isdecimal() else None


def captions(buttons: tuple[Button, ...]) -> list[str]:
    """What each button shows, behind its number, unless the number is all that it shows."""
    return [
        button.label if button.label == str(number) else f"{number} {button.label}"
        for number, button in enumerate(buttons, start=1)
    ]
