"""A key that is set though Redis's memory is full: those who would miss it are people."""

from redis.asyncio import Redis

from engine.script import EVEN_IF_FULL

# KEYS: key. ARGV: value, TTL in s, and NX where only what is not there is set.
_MARK = f"""{EVEN_IF_FULL}
return redis.call('SET', KEYS[1], ARGV[1], 'EX', unpack(ARGV, 2)) and 1 or 0
"""


async def mark(redis: Redis, key: str, value: str | int, *, ttl_s: int) -> None:
    """Set `key` for so long."""
    await redis.register_script(_MARK)(keys=[key], args=[value, ttl_s])


async def mark_once(redis: Redis, key: str, *, ttl_s: int) -> bool:
    """Set `key` for so long; False if it was set already."""
    return bool(await redis.register_script(_MARK)(keys=[key], args=[1, ttl_s, "NX"]))
