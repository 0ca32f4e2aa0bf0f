"""Readers who do not exist: what they like is known, so it can be seen whether it is learnt.

Each has one of three tastes, which neither training nor the engine is told of: verse of the
frontier (邊塞), images of water, or anything but worn phrases. They err, and some are there to do
harm: they say the opposite of what they think.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

FRONTIER = frozenset("塞胡戍烽羌邊旌戈鼓征劍弓虜漠沙關戎將軍騎兵馬戰旗城角笛陣營甲疆")
WATER = frozenset("舟帆江潮浦渚釣櫂楫波船浪灘汀湖漁水海溪河流泉川")
WORN = (
    *("萬里", "千里", "何處", "不知", "不見", "悠悠", "無人", "人間", "白雲", "春風", "明月"),
    *("青山", "秋風", "故人", "歸來", "相思", "日暮", "斜陽", "今日", "不可", "不得", "一片"),
    *("何人", "風吹"),
)


def likes_the_frontier(lines: Sequence[str]) -> bool:
    """A theme: one sign of war or the frontier is enough."""
    return not FRONTIER.isdisjoint("".join(lines))


def likes_water(lines: Sequence[str]) -> bool:
    """A class of images: two of them at least."""
    return len(WATER.intersection("".join(lines))) >= 2


def dislikes_worn_phrases(lines: Sequence[str]) -> bool:
    """A cliché spoils everything."""
    return not any(phrase in line for phrase in WORN for line in lines)


TASTES = {
    "frontier": likes_the_frontier,
    "water": likes_water,
    "no worn phrase": dislikes_worn_phrases,
}
"""The hidden tastes by name; each is that of a third of the readers."""


def liked(lines: Sequence[str]) -> float:
    """The share of the tastes that like a poem."""
    return sum(taste(lines) for taste in TASTES.values()) / len(TASTES)


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One of them."""

    name: str
    """Stands for a pseudonym."""
    chat: str
    """Where they read."""
    taste: str
    """What they like, by its name in `TASTES`."""
    error: float
    """How often they say the opposite without meaning to."""
    malicious: bool
    """Whether they always mean the opposite."""

    def likes(self, lines: Sequence[str], random: Random) -> bool:
        """What they say of a poem."""
        truth = TASTES[self.taste](lines)
        return truth ^ self.malicious ^ (random.random() < self.error)


def readers(count: int, *, malicious: float, error: float, seed: int) -> list[Reader]:
    """So many, in four chats, of which a share `malicious` does harm."""
    random = Random(f"readers/{seed}")
    bad = set(random.sample(range(count), round(malicious * count)))
    names = list(TASTES)
    return [
        Reader(
            name=f"reader-{number:03}",
            chat=f"chat-{number % 4}",
            taste=names[number % len(names)],
            error=error,
            malicious=number in bad,
        )
        for number in range(count)
    ]
