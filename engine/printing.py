"""What may go to a terminal."""


def printable(text: str) -> str:
    """`text` as a terminal may be shown it: whatever was in Redis, it obeys none of it."""
    return "".join(char if char.isprintable() else "?" for char in text)
