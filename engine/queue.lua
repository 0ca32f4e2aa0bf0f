-- The queue's verbs, each one atomic: Redis runs the script whole, or not at all.
--
-- ARGV[1] names the verb, ARGV[2] the consumer group. Keys and their meaning: engine/keys.py.
-- An entry of a job stream has the fields id, client, job (JSON), in this order.
-- An entry of a reply stream has the field outcome (JSON).

local GROUP = ARGV[2]

-- A job that died this often with its worker is given out alone; engine/queue.py buries the next.
local SUSPECT_DEATHS = 2

-- Run a command on a stream's group; make the group where there is none (Redis was emptied).
local function in_group(stream, ...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err and string.find(reply.err, 'NOGROUP') then
    redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
    return redis.call(...)
  elseif type(reply) == 'table' and reply.err then
    error(reply)
  end
  return reply
end

-- Entries that no consumer has seen, at most `count`.
local function read_new(stream, consumer, count)
  local reply = in_group(
    stream, 'XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', count, 'STREAMS', stream, '>')
  return reply and reply[1][2] or {}
end

-- Entries whose consumer let them idle for `idle_ms`: rows of id, consumer, idle ms, deliveries.
local function overdue(stream, idle_ms, count)
  return in_group(stream, 'XPENDING', stream, GROUP, 'IDLE', idle_ms, '-', '+', count)
end

local function claim(stream, consumer, id)
  return redis.call('XCLAIM', stream, GROUP, consumer, '0', id)[1]
end

-- Keep entries from idling, but only those that are still the consumer's own: one whose lease ran
-- out may be at work elsewhere. JUSTID leaves the count of deliveries, so of deaths, as it is.
local function renew(stream, consumer, id)
  local mine = in_group(stream, 'XPENDING', stream, GROUP, id, id, '1', consumer)
  if #mine == 1 then
    redis.call('XCLAIM', stream, GROUP, consumer, '0', id, 'JUSTID')
  end
end

local function drop(stream, id)
  redis.call('XACK', stream, GROUP, id)
  redis.call('XDEL', stream, id)
end

-- The id after which a reader must wait, so that it misses nothing put after this script ran.
local function last_id(stream)
  local info = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      return info[i + 1]
    end
  end
end

-- Asked for only where there was nothing to read.
local function last_ids(streams)
  local ids = {}
  for i, stream in ipairs(streams) do
    ids[i] = last_id(stream)
  end
  return ids
end

-- Record the first outcome of a job and tell its client; false if another outcome came before.
local function answer(job_key, job_ttl_s, replies_key, replies_ttl_s, outcome)
  if redis.call('SET', job_key, 'done', 'EX', job_ttl_s, 'GET') == 'done' then
    return false
  end
  if outcome ~= '' then
    redis.call('XADD', replies_key, '*', 'outcome', outcome)
    redis.call('EXPIRE', replies_key, replies_ttl_s)
  end
  return true
end

local verbs = {}

-- KEYS: lane's stream, job. ARGV: cap, job TTL s, job id, client, job.
-- Returns the job's position in its lane, 0 for one admitted before, -1 where the lane is full.
-- Whatever else may refuse a job must be asked in here too, or two requests could slip through.
function verbs.put(keys, cap, job_ttl_s, id, client, job)
  local stream, job_key = keys[1], keys[2]
  if redis.call('EXISTS', job_key) == 1 then
    return 0
  end
  if redis.call('XLEN', stream) >= tonumber(cap) then
    return -1
  end
  redis.call('SET', job_key, 'waiting', 'EX', job_ttl_s)
  redis.call('XADD', stream, '*', 'id', id, 'client', client, 'job', job)
  return redis.call('XLEN', stream)
end

-- KEYS: lanes' streams, the first served first.
-- ARGV: worker, count, lease ms, whether it holds jobs, whether to look for dead workers' jobs,
-- prefix of cancel flags.
-- Returns {entries, whether a suspect waits until the worker is empty, last id of each stream if
-- there are no entries}, an entry being {lane's index, id, deliveries, fields}.
function verbs.take(streams, worker, count, lease_ms, busy, recover, cancel_prefix)
  local taken, suspect_waits = {}, false
  count = tonumber(count)

  local function give(lane, entry, deliveries)
    local id, fields = entry[1], entry[2]
    if fields[1] == 'id' and redis.call('EXISTS', cancel_prefix .. fields[2]) == 1 then
      drop(streams[lane], id)
    else
      taken[#taken + 1] = {lane, id, deliveries, fields}
    end
  end

  local function recover_lane(lane)
    for _, row in ipairs(overdue(streams[lane], lease_ms, count - #taken)) do
      local id, deaths = row[1], row[4]
      local suspect = deaths == SUSPECT_DEATHS
      if suspect and (busy == '1' or #taken > 0) then
        suspect_waits = true
      else
        local entry = claim(streams[lane], worker, id)
        if entry then
          give(lane, entry, deaths + 1)
        end
        if suspect and #taken > 0 then
          return true
        end
      end
    end
    return false
  end

  local alone = false
  for lane = 1, #streams do
    if recover == '1' and not alone and #taken < count then
      alone = recover_lane(lane)
    end
  end
  for lane = 1, #streams do
    if not alone and not suspect_waits and #taken < count then
      for _, entry in ipairs(read_new(streams[lane], worker, count - #taken)) do
        give(lane, entry, 1)
      end
    end
  end
  return {taken, suspect_waits and 1 or 0, #taken == 0 and last_ids(streams) or {}}
end

-- KEYS: lanes' streams. ARGV: worker, then pairs of a lane's index and an entry's id.
function verbs.renew(streams, worker, ...)
  local pairs_of = {...}
  for i = 1, #pairs_of, 2 do
    renew(streams[tonumber(pairs_of[i])], worker, pairs_of[i + 1])
  end
end

-- KEYS: lane's stream, job, replies. ARGV: entry's id, outcome, job TTL s, replies TTL s.
-- Returns 1 if this is the job's first outcome, else 0.
function verbs.finish(keys, id, outcome, job_ttl_s, replies_ttl_s)
  local first = answer(keys[2], job_ttl_s, keys[3], replies_ttl_s, outcome)
  drop(keys[1], id)
  return first and 1 or 0
end

-- KEYS: stream, job, replies, dead. ARGV: entry's id, outcome ('' where there is no one to tell),
-- job TTL s, replies TTL s, dead stream's length, then the fields of the dead entry.
function verbs.bury(keys, id, outcome, job_ttl_s, replies_ttl_s, dead_length, ...)
  local first = answer(keys[2], job_ttl_s, keys[3], replies_ttl_s, outcome)
  if first then
    redis.call('XADD', keys[4], 'MAXLEN', '~', dead_length, '*', ...)
  end
  drop(keys[1], id)
  return first and 1 or 0
end

-- KEYS: replies. ARGV: consumer, count, idle ms after which an entry is taken from its consumer,
-- ids of the entries that this consumer is still at work on.
-- Returns {entries, {last id} if there are none}, an entry being {id, fields}.
function verbs.collect(keys, consumer, count, idle_ms, ...)
  local stream = keys[1]
  count = tonumber(count)
  for _, id in ipairs({...}) do
    renew(stream, consumer, id)
  end
  local entries = {}
  for _, row in ipairs(overdue(stream, idle_ms, count)) do
    entries[#entries + 1] = claim(stream, consumer, row[1])
  end
  if #entries < count then
    for _, entry in ipairs(read_new(stream, consumer, count - #entries)) do
      entries[#entries + 1] = entry
    end
  end
  return {entries, #entries == 0 and last_ids(keys) or {}}
end

return verbs[ARGV[1]](KEYS, unpack(ARGV, 3))
