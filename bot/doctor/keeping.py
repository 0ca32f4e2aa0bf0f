"""What Redis keeps: when it restarts, and with its memory full."""

from collections.abc import Mapping
from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from bot import texts
from bot.doctor.data import size
from bot.doctor.finding import Finding, fine, skipped, warning, wrong
from bot.doctor.redis_server import Server

_FULL = 0.9
_UNASKED = (NoPermissionError, ResponseError)


async def check_keeping(server: Server) -> list[Finding]:
    """Whether it loses anything: when it restarts, and with its memory full."""
    try:
        info: Mapping[str, Any] = await server.redis.info("all")
    except _UNASKED:
        return [_unasked("redis.keeping", server, "INFO", texts.REDIS_WHAT_INFO)]
    return [_policy(info), _memory(info), *await _file(server, info)]


def _unasked(name: str, server: Server, command: str, what: texts.Text) -> Finding:
    said, remedy = texts.REDIS_UNASKED, texts.REDIS_UNASKED_DO
    return skipped(name, said, remedy, user=server.user, command=command, what=what)


def _policy(info: Mapping[str, Any]) -> Finding:
    policy = info.get("maxmemory_policy", "?")
    if policy == "noeviction":
        return fine("redis.policy", texts.REDIS_POLICY_FINE)
    said, remedy = texts.REDIS_POLICY_WRONG, texts.REDIS_POLICY_WRONG_DO
    return wrong("redis.policy", said, remedy, policy=policy)


def _memory(info: Mapping[str, Any]) -> Finding:
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not most:
        said, remedy = texts.REDIS_MEMORY_UNBOUNDED, texts.REDIS_MEMORY_UNBOUNDED_DO
        return warning("redis.memory", said, remedy)
    values = {"used": size(used), "most": size(most)}
    if used > _FULL * most:
        said, remedy = texts.REDIS_MEMORY_SHORT, texts.REDIS_MEMORY_SHORT_DO
        return wrong("redis.memory", said, remedy, **values)
    return fine("redis.memory", texts.REDIS_MEMORY_FINE, **values)


async def _file(server: Server, info: Mapping[str, Any]) -> list[Finding]:
    """Whether what it accepts is on its disk, and how soon."""
    if not info.get("aof_enabled"):
        return [wrong("redis.file", texts.REDIS_AOF_OFF, texts.REDIS_AOF_OFF_DO)]
    if info.get("aof_last_write_status", "ok") != "ok":
        return [wrong("redis.file", texts.REDIS_AOF_FAILS, texts.REDIS_AOF_FAILS_DO)]
    try:
        found: Mapping[Any, Any] = await server.redis.config_get("appendfsync")
    except _UNASKED:
        return [
            fine("redis.file", texts.REDIS_AOF_FINE, fsync="?"),
            _unasked("redis.fsync", server, "CONFIG", texts.REDIS_WHAT_FSYNC),
        ]
    fsync = str(found.get("appendfsync", "?"))
    if fsync == "no":
        return [warning("redis.file", texts.REDIS_AOF_LAZY, texts.REDIS_AOF_LAZY_DO)]
    return [fine("redis.file", texts.REDIS_AOF_FINE, fsync=fsync)]
