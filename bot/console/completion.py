"""What may be typed next, by the table of commands."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from bot import texts
from bot.commands import COMMANDS, Command
from bot.language import Language
from bot.requests import Where
from bot.style import form_title
from bot.wording import COUNT_MAX, COUNT_MIN
from engine.jobs import Cell
from engine.verse.forms import FORMS, FormName

QUIT = "/quit"
"""Leaves; a command of this platform alone."""

_HERE = tuple(command for command in COMMANDS if command.where is not Where.COMPANY)
_PLACE = re.compile(r"\[([^\]]+)\]")
_LISTED = "|"


class CommandCompleter(Completer):
    """Completes commands and what follows them, and says what each does."""

    def __init__(self, language: Language, cells: Collection[Cell]) -> None:
        """Explain in `language`; `cells` are the models that run."""
        self._language = language
        self._cells = cells

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """What the word before the cursor may become."""
        head, space, rest = document.text_before_cursor.lstrip().partition(" ")
        if not space:
            return self._names(head)
        command = _command(head)
        return () if command is None else self._words(command, rest)

    def _names(self, head: str) -> Iterator[Completion]:
        if not head.startswith("/"):
            return
        for command in _HERE:
            for name in _names_like(command, head[1:]):
                yield Completion(
                    f"/{name} " if command.arguments else f"/{name}",
                    start_position=-len(head),
                    display=f"/{name}",
                    display_meta=command.help.say(self._language),
                )
        if QUIT.startswith(head):
            help_text = texts.HELP_QUIT.say(self._language)
            yield Completion(QUIT, start_position=-len(head), display_meta=help_text)

    def _words(self, command: Command, rest: str) -> Iterator[Completion]:
        *before, word = rest.split(" ")
        for offered in words_after(command, self._language, self._cells, first=not any(before)):
            if offered.startswith(word) and offered not in before:
                yield Completion(offered, start_position=-len(word))


def words_after(
    command: Command, language: Language, cells: Collection[Cell], *, first: bool
) -> Sequence[str]:
    """The words that may follow `command`, as far as they can be listed.

    Where its arguments are a list of words, one of them comes `first`, and nothing after it.
    """
    if command.arguments is None:
        return ()
    spoken = command.arguments.say(language)
    if _LISTED in _PLACE.sub("", spoken):
        listed = map(str.strip, spoken.split(_LISTED))
        return [word for word in listed if not _PLACE.search(word)] if first else ()
    names = _PLACE.findall(command.arguments.en)
    places = zip(names, _PLACE.findall(spoken), strict=True)
    return [word for name, place in places for word in _words_at(name, place, language, cells)]


def _words_at(name: str, place: str, language: Language, cells: Collection[Cell]) -> Sequence[str]:
    """The words for one `place` among the arguments, whose English name is `name`."""
    match name:
        case "form":
            return [_form_word(form, language) for form in FormName]
        case "cell":
            return [cell for cell in Cell if cell in cells]
        case "rhyme:X":
            return [f"{place.partition(':')[0]}:"]
        case "x2–x5":
            return [f"x{count}" for count in range(COUNT_MIN, COUNT_MAX + 1)]
        case _:
            return place.split(_LISTED) if _LISTED in place else ()


def _form_word(name: FormName, language: Language) -> str:
    return name if language is Language.EN else form_title(FORMS[name], language)


def usage_of(typed: str, language: Language) -> str:
    """What the command at the beginning of `typed` takes, and what it does; empty without one."""
    head, space, _ = typed.lstrip().partition(" ")
    command = _command(head) if space else None
    if command is None:
        return ""
    arguments = f" {command.arguments.say(language)}" if command.arguments else ""
    return f"{head}{arguments} — {command.help.say(language)}"


def _command(head: str) -> Command | None:
    name = head.removeprefix("/").casefold()
    if name == head:
        return None
    return next((command for command in COMMANDS if name in (command.name, *command.aliases)), None)


def _names_like(command: Command, begun: str) -> Iterator[str]:
    """The command's name, or the first of its Chinese ones that goes on as `begun`."""
    if command.name.startswith(begun.casefold()):
        yield command.name
    else:
        yield from [alias for alias in command.aliases if alias.startswith(begun)][:1]
