"""Whether Redis lets a bot do all that it does.

No user may ask what it may do (that takes `ACL DRYRUN`, which is an administrator's), and to do
things for a try would leave traces. So every command is sent in a transaction that is never
executed: a server looks at the rights to a command when it queues it, and forgets what it queued
when the connection ends.
"""

from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from bot import keys as bot_keys
from bot import texts
from bot.doctor.finding import Finding, fine, skipped, wrong
from bot.doctor.redis_server import Server
from engine import keys
from engine.jobs import Cell, Lane
from engine.quotas import Quota, Whose

OPERATOR = "operator"
"""The user of `deploy/users.acl` by whom a person looks, and no process works."""

_ID = "doctor"
_QUOTA = Quota(whose=Whose.PERSON, name=_ID)
_SHA = "0" * 40
_ADMISSION = (keys.jobs(Lane.CHAT), keys.job(_ID), keys.pace(Lane.CHAT), keys.running(_QUOTA))
"""The keys of the script that lets a job in."""
_REPLIES = "evalsha xgroup|create xpending xclaim xreadgroup xack xdel"
_HOUSE = (
    "evalsha get set del expire pttl xadd xread xrange xlen xdel zadd zrange zcard zrem "
    "zremrangebyscore"
)
_WORDS = {
    "expire": "1",
    "evalsha": "",
    "hdel": "f",
    "hget": "f",
    "hset": "f 1",
    "lpush": "1",
    "lrange": "0 0",
    "ltrim": "0 0",
    "pexpire": "1",
    "pexpireat": "1",
    "set": "1",
    "srem": "m",
    "xack": "g 0-1",
    "xadd": "* f 1",
    "xclaim": "g c 0 0-1",
    "xdel": "0-1",
    "xgroup|create": "g 0",
    "xpending": "g",
    "xrange": "- +",
    "zadd": "0 m",
    "zrange": "0 0",
    "zrem": "m",
    "zremrangebyscore": "0 0",
    "zrevrange": "0 0",
}
"""What stands behind the key, so that a command is one."""


@dataclass(frozen=True, kw_only=True)
class Deed:
    """One thing that a process does to some keys."""

    command: str
    """Its name as `deploy/users.acl` has it: `xgroup|create`."""
    keys: tuple[str, ...] = ()
    """What it is done to."""

    @property
    def words(self) -> tuple[str, ...]:
        """The command as it is sent."""
        match self.command:
            case "evalsha":
                return ("EVALSHA", _SHA, str(len(self.keys)), *self.keys)
            case "script|load":
                return ("SCRIPT", "LOAD", "return 0")
            case "xread":
                return ("XREAD", "STREAMS", *self.keys, "0")
            case "xreadgroup":
                return ("XREADGROUP", "GROUP", "g", "c", "STREAMS", *self.keys, ">")
        words = _WORDS.get(self.command, "").split()
        return (*self.command.upper().split("|"), *self.keys, *words)

    def __str__(self) -> str:
        return " ".join((self.command.upper().replace("|", " "), *self.keys))


def deeds(platform: str) -> list[Deed]:
    """All that the bot of a platform does in Redis, each once."""
    by_key = {
        keys.jobs(Lane.CHAT): "xlen xadd",
        keys.job(_ID): "exists mget set",
        keys.pace(Lane.CHAT): "hget",
        keys.running(_QUOTA): "zadd zcard zrange zrevrange zremrangebyscore pexpire pexpireat",
        keys.cancel(_ID): "set",
        keys.replies(platform): _REPLIES,
        keys.DEAD: "xadd xrange xdel",
        keys.ENGINES: "smembers srem",
        keys.engine(_ID): "mget",
        keys.rollback(Cell.GRU): "set del",
        keys.refusal(_ID): "get",
        keys.NIGHT: "get",
        bot_keys.lease(platform): _HOUSE,
    }
    if platform == "telegram":
        by_key[keys.replies("telegram.inline")] = _REPLIES
        by_key[bot_keys.shelf(platform, _ID)] = "zpopmin hgetall hset hdel lpush lrange ltrim"
    done = [
        Deed(command=command, keys=(key,))
        for key, commands in by_key.items()
        for command in commands.split()
    ]
    whole = [Deed(command="time"), Deed(command="script|load")]
    return [*whole, Deed(command="evalsha", keys=_ADMISSION), *done]


async def check_rights(server: Server, platform: str) -> list[Finding]:
    """Whether the user that we are may do what the bot of a platform does."""
    if server.user == OPERATOR:
        return [skipped("redis.rights", texts.RIGHTS_OPERATOR)]
    wanted = deeds(platform)
    refused = await refusals(server.redis, wanted)
    values = {"user": server.user, "platform": platform}
    if refused:
        said, remedy = texts.RIGHTS_MISSING, texts.RIGHTS_MISSING_DO
        return [wrong("redis.rights", said, remedy, **values, refused=_some(refused))]
    return [fine("redis.rights", texts.RIGHTS_ENOUGH, **values, count=len(wanted))]


async def refusals(redis: Redis, wanted: list[Deed]) -> list[str]:
    """Which of these are refused; none of them is done."""
    pool: Any = redis.connection_pool
    connection: AbstractConnection = await pool.get_connection()
    try:
        sent = [("MULTI",), *(deed.words for deed in wanted)]
        await connection.send_packed_command(connection.pack_commands(sent))
        names = ["MULTI", *map(str, wanted)]
        return [name for name in names if not await _is_taken(connection)]
    finally:
        # With it the transaction is gone.
        await connection.disconnect()
        await pool.release(connection)


async def _is_taken(connection: AbstractConnection) -> bool:
    try:
        await connection.read_response()
    except ResponseError:
        return False
    return True


def _some(refused: list[str], most: int = 4) -> str:
    return ", ".join([*refused[:most], *(["…"] if len(refused) > most else [])])
