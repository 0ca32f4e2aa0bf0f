-- The queue's verbs, each one atomic: Redis runs the script whole, or not at all.
--
-- One run makes one or more calls, so that many of them share what a run and a round trip cost.
-- ARGV has for each call: the verb, how many keys and how many arguments it has, and the arguments.
-- KEYS are those of all calls, one after the other. Keys and their meaning: engine/keys.py, whose
-- GROUP, JOB_TTL_S, REPLIES_TTL_S, PACE_TTL_S and DEAD_LENGTH engine/script.py puts before this.
-- Returns a reply for each call; one that fails replies with its error and leaves the others alone.
--
-- An entry of a job stream has the fields id, client, job (JSON), in this order, and then a field
-- `running` for each quota that counts it among its running jobs: the key of those.
-- An entry of a reply stream has the field outcome (JSON).

-- A job that died this often with its worker is given out alone; engine/queue.py buries the next.
local SUSPECT_DEATHS = 2

-- A lane's pace is that of about so many jobs: enough to even out those that end together.
local PACE_JOBS = 64

-- A job that took so many times longer than its lane does, and a second, says that nobody was there,
-- not how long the next one takes.
local AWAY = 16
local AWAY_MS = 1000

-- What the calls of a run need once, done after the last of them: by what it is done to.
local at_end, at_end_in_order = {}, {}

local function once_at_end(key, action)
  if not at_end[key] then
    at_end[key] = true
    at_end_in_order[#at_end_in_order + 1] = action
  end
end

local run_began_ms

local function now_ms()
  if not run_began_ms then
    local time = redis.call('TIME')
    run_began_ms = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  return run_began_ms
end

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

local ended = {}

-- An entry goes, and with it the places that its job took in quotas: `running` are the keys of those
-- from the index `first` on.
local function drop(stream, id, job_id, running, first)
  for i = first, #running do
    redis.call('ZREM', running[i], job_id)
  end
  local ids = ended[stream] or {}
  ids[#ids + 1] = id
  ended[stream] = ids
  once_at_end(stream, function()
    redis.call('XACK', stream, GROUP, unpack(ids))
    redis.call('XDEL', stream, unpack(ids))
  end)
end

-- The keys under which quotas count the job of an entry with these fields.
local function running_keys(fields)
  local found = {}
  for i = 7, #fields, 2 do
    if fields[i] == 'running' then
      found[#found + 1] = fields[i + 1]
    end
  end
  return found
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
local function answer(job_key, replies_key, outcome)
  if redis.call('SET', job_key, 'done', 'EX', JOB_TTL_S, 'GET') == 'done' then
    return false
  end
  if outcome ~= '' then
    redis.call('XADD', replies_key, '*', 'outcome', outcome)
    once_at_end(replies_key, function()
      redis.call('EXPIRE', replies_key, REPLIES_TTL_S)
    end)
  end
  return true
end

-- Learn from a job that ends how long its lane takes for each: the time since the one before ended,
-- without that in which there was nothing to do.
local paces = {}

local function learn_pace(pace_key, entry_id)
  local now, arrived, pace = now_ms(), tonumber(string.match(entry_id, '^%d+')), paces[pace_key]
  if not pace then
    local ms, last = unpack(redis.call('HMGET', pace_key, 'ms', 'last'))
    pace = {ms = tonumber(ms), last = tonumber(last) or 0}
    paces[pace_key] = pace
  end
  local took = math.max(now - math.max(pace.last, arrived), 0)
  took = pace.ms and math.min(took, math.max(AWAY * pace.ms, AWAY_MS)) or took
  pace.ms = pace.ms and pace.ms + (took - pace.ms) / PACE_JOBS or took
  pace.last = now
  once_at_end(pace_key, function()
    redis.call('HSET', pace_key, 'ms', pace.ms, 'last', pace.last)
    redis.call('EXPIRE', pace_key, PACE_TTL_S)
  end)
end

-- How long until `rate` admits one more, in ms; not above 0 if it does now.
local function rate_wait(admitted, rate, now)
  local oldest = redis.call('ZREVRANGE', admitted, rate.count - 1, rate.count - 1, 'WITHSCORES')
  return oldest[2] and oldest[2] + rate.window_ms - now or 0
end

-- How long until `quota` has room for one more running job at the latest, in ms.
local function running_wait(running, quota, now)
  redis.call('ZREMRANGEBYSCORE', running, '-inf', now)
  if quota.in_flight == 0 or redis.call('ZCARD', running) < quota.in_flight then
    return 0
  end
  return redis.call('ZRANGE', running, 0, 0, 'WITHSCORES')[2] - now
end

-- Of the limits that refuse a job the one that does so longest: {quota, rate (0: too many run),
-- ms until it may not}. Nil if none does.
local function refusal(keys, quotas, now)
  local longest, wait_ms = nil, 0
  local function ask(quota, rate, ms)
    if ms > wait_ms then
      longest, wait_ms = {quota, rate, ms}, ms
    end
  end
  for i, quota in ipairs(quotas) do
    ask(i, 0, running_wait(keys[2 * i - 1], quota, now))
    for j, rate in ipairs(quota.rates) do
      ask(i, j, rate_wait(keys[2 * i], rate, now))
    end
  end
  return longest
end

-- Count a job in its quotas; the fields by which its entry remembers where it runs.
local function book(keys, quotas, now, id, deadline_ms)
  local fields = {}
  for i, quota in ipairs(quotas) do
    local running, admitted, window_ms = keys[2 * i - 1], keys[2 * i], 0
    if quota.in_flight > 0 then
      redis.call('ZADD', running, deadline_ms, id)
      redis.call('PEXPIREAT', running, redis.call('ZRANGE', running, -1, -1, 'WITHSCORES')[2])
      fields[#fields + 1] = 'running'
      fields[#fields + 1] = running
    end
    for _, rate in ipairs(quota.rates) do
      window_ms = math.max(window_ms, rate.window_ms)
    end
    if window_ms > 0 then
      redis.call('ZREMRANGEBYSCORE', admitted, '-inf', now - window_ms)
      redis.call('ZADD', admitted, now, id)
      redis.call('PEXPIRE', admitted, window_ms)
    end
  end
  return fields
end

-- Whether a lane with `ahead` jobs takes one more, and what these take in ms, -1 if nobody knows. A
-- job that must end by `deadline_ms` is not to wait in vain; of few jobs the pace says too little.
local function room(pace_key, ahead, cap, now, deadline_ms)
  local ms = ahead >= math.min(cap, PACE_JOBS) and redis.call('HGET', pace_key, 'ms')
  local takes_ms = ms and ahead * ms or -1
  return ahead < cap and (takes_ms < 0 or now + takes_ms < deadline_ms), takes_ms
end

-- How many entries a stream has. What a run drops is there until its end.
local lengths = {}

local function length(stream)
  lengths[stream] = lengths[stream] or redis.call('XLEN', stream)
  return lengths[stream]
end

-- Let a job wait behind the others of its lane. `fields` are further ones of its entry.
local function enqueue(stream, id, client, job, fields)
  local ahead = length(stream)
  redis.call('XADD', stream, '*', 'id', id, 'client', client, 'job', job, unpack(fields))
  lengths[stream] = ahead + 1
end

local verbs = {}

-- KEYS: lane's stream, job, lane's pace, then for each quota its running and its admitted jobs.
-- ARGV: cap, job id, client, job, Unix ms when it is lost if it has not ended, quotas
-- (JSON): a list of {in_flight, rates: a list of {count, window_ms}}; an in_flight of 0 is no limit.
-- Returns its position in the lane where it is accepted. Else {status, ...}: {'duplicate'} for one
-- admitted before, {'limited', quota, rate or 0 where too many run, ms}, {'full', position it would
-- have had, ms that this takes or -1 where nobody knows}: the lane is, or it would be too late for
-- the job. Only a job that is accepted counts anywhere.
-- Whatever may refuse a job is asked in here, or two requests could slip through.
function verbs.put(keys, args)
  local stream, job_key, pace_key = keys[1], keys[2], keys[3]
  local cap, id, client, job, deadline_ms, quotas = unpack(args)
  local quota_keys, now = {unpack(keys, 4)}, now_ms()
  quotas = quotas == '[]' and {} or cjson.decode(quotas)
  -- One that was admitted before is no new job, whatever would refuse that.
  local limit, ahead = refusal(quota_keys, quotas, now), length(stream)
  local has_room, takes_ms = room(pace_key, ahead, tonumber(cap), now, tonumber(deadline_ms))
  if (limit or not has_room) and redis.call('EXISTS', job_key) == 0 then
    return limit and {'limited', unpack(limit)} or {'full', ahead + 1, takes_ms}
  end
  if not redis.call('SET', job_key, 'waiting', 'NX', 'EX', JOB_TTL_S) then
    return {'duplicate'}
  end
  local fields = book(quota_keys, quotas, now, id, deadline_ms)
  enqueue(stream, id, client, job, fields)
  return ahead + 1
end

-- KEYS: lanes' streams, the first served first.
-- ARGV: worker, count, lease ms, whether it holds jobs, whether to look for dead workers' jobs,
-- prefix of cancel flags.
-- Returns {entries, whether a suspect waits until the worker is empty, last id of each stream if
-- there was nothing in them}, an entry being {lane's index, id, deliveries, fields}.
function verbs.take(streams, args)
  local worker, count, lease_ms, busy, recover, cancel_prefix = unpack(args)
  local taken, suspect_waits = {}, false
  count = tonumber(count)

  local function give(lane, entries, deliveries)
    local flags = {}
    for i, entry in ipairs(entries) do
      flags[i] = cancel_prefix .. (entry[2][1] == 'id' and entry[2][2] or '')
    end
    local cancelled = #flags > 0 and redis.call('MGET', unpack(flags))
    for i, entry in ipairs(entries) do
      local id, fields = entry[1], entry[2]
      if cancelled[i] then
        drop(streams[lane], id, fields[2], running_keys(fields), 1)
      else
        taken[#taken + 1] = {lane, id, deliveries, fields}
      end
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
          give(lane, {entry}, deaths + 1)
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
  local read_all = not alone and not suspect_waits
  for lane = 1, #streams do
    local ended = false
    -- Again where some were cancelled: whoever gets none waits behind the last entry.
    while read_all and not ended do
      local room = count - #taken
      local entries = room > 0 and read_new(streams[lane], worker, room) or {}
      give(lane, entries, 1)
      ended, read_all = #entries < room, #taken < count
    end
  end
  read_all = read_all and #taken == 0
  return {taken, suspect_waits and 1 or 0, read_all and last_ids(streams) or {}}
end

-- KEYS: lanes' streams. ARGV: worker, then pairs of a lane's index and an entry's id.
function verbs.renew(streams, args)
  for i = 2, #args, 2 do
    renew(streams[tonumber(args[i])], args[1], args[i + 1])
  end
end

-- KEYS: lane's stream, job, replies, lane's pace, then the running jobs of each quota it counts in.
-- ARGV: entry's id, job id, outcome.
-- Returns 1 if this is the job's first outcome, else 0.
function verbs.finish(keys, args)
  local id, job_id, outcome = unpack(args)
  local first = answer(keys[2], keys[3], outcome)
  if first then
    learn_pace(keys[4], id)
  end
  drop(keys[1], id, job_id, keys, 5)
  return first and 1 or 0
end

-- KEYS: lane's stream, job, then the running jobs of each quota it counts in.
-- ARGV: entry's id, job id.
-- Marks the job as answered: another worker may be at it, one whose lease ran out.
function verbs.drop(keys, args)
  local id, job_id = unpack(args)
  answer(keys[2], '', '')
  drop(keys[1], id, job_id, keys, 3)
end

-- KEYS: stream, job, replies, dead, then the running jobs of each quota it counts in.
-- ARGV: entry's id, job id, outcome ('' where there is no one to tell), then the fields of the dead
-- entry.
function verbs.bury(keys, args)
  local id, job_id, outcome = unpack(args)
  local first = answer(keys[2], keys[3], outcome)
  if first then
    redis.call('XADD', keys[4], 'MAXLEN', '~', DEAD_LENGTH, '*', unpack(args, 4))
  end
  drop(keys[1], id, job_id, keys, 5)
  return first and 1 or 0
end

-- KEYS: dead, lane's stream, job, its cancel flag.
-- ARGV: dead entry's id, job id, client, job, cap.
-- Returns 'revived'; or 'gone' where it is not buried any more, 'waiting' where the job is in its
-- lane, 'full' where that holds `cap` jobs, and then nothing has changed. The job may be answered
-- again: what it was answered with was that it is buried.
function verbs.revive(keys, args)
  local dead, stream, job_key, cancel_key = unpack(keys)
  local entry_id, id, client, job, cap = unpack(args)
  if #redis.call('XRANGE', dead, entry_id, entry_id) == 0 then
    return 'gone'
  elseif redis.call('GET', job_key) == 'waiting' then
    return 'waiting'
  elseif length(stream) >= tonumber(cap) then
    return 'full'
  end
  redis.call('SET', job_key, 'waiting', 'EX', JOB_TTL_S)
  redis.call('DEL', cancel_key)
  enqueue(stream, id, client, job, {})
  redis.call('XDEL', dead, entry_id)
  return 'revived'
end

-- KEYS: replies. ARGV: consumer, count, idle ms after which an entry is taken from its consumer,
-- whether to look for such entries, then the ids of those that this consumer is still at work on.
-- Returns the entries, each being {id, fields}.
function verbs.collect(keys, args)
  local stream = keys[1]
  local consumer, count, idle_ms, recover = unpack(args)
  count = tonumber(count)
  for i = 5, #args do
    renew(stream, consumer, args[i])
  end
  local entries = {}
  if recover == '1' then
    for _, row in ipairs(overdue(stream, idle_ms, count)) do
      entries[#entries + 1] = claim(stream, consumer, row[1])
    end
  end
  if #entries < count then
    for _, entry in ipairs(read_new(stream, consumer, count - #entries)) do
      entries[#entries + 1] = entry
    end
  end
  return entries
end

-- KEYS: replies. ARGV: entries' ids. The client has dealt with them.
function verbs.forget(keys, args)
  for i = 1, #args do
    drop(keys[1], args[i], '', {}, 1)
  end
end

-- What `unpack` takes at once is limited.
local MOST_UNPACKED = 1000

local function part(list, first, length)
  if length <= MOST_UNPACKED then
    return {unpack(list, first, first + length - 1)}
  end
  local found = {}
  for i = 1, length do
    found[i] = list[first + i - 1]
  end
  return found
end

local replies, next_key, next_arg = {}, 1, 1
while next_arg <= #ARGV do
  local verb, keys, args = verbs[ARGV[next_arg]], ARGV[next_arg + 1] + 0, ARGV[next_arg + 2] + 0
  local done, reply = pcall(verb, part(KEYS, next_key, keys), part(ARGV, next_arg + 3, args))
  if not done then
    reply = {err = reply.err or tostring(reply)}
  end
  -- A reply that is nil would end the list.
  replies[#replies + 1] = reply or false
  next_key, next_arg = next_key + keys, next_arg + 3 + args
end
for _, action in ipairs(at_end_in_order) do
  action()
end
return replies
