-- What every script of a topic begins with. All keys carry the topic's hash tag, so a script stays in one slot.
-- KEYS: state, history, seen, seen before, gateways, subscribers, members
-- ARGV: 1 id of the causing entry, 2 now (Unix ms; empty: as Redis has it), 3 epoch for a topic that has none yet,
--       4 how many publications the history holds, 5 for how long (ms), 6 mark of the operation on this topic that is
--       before this one in the same round trip (empty: none), 7 this one's own (empty: none is behind it), then the
--       script's own
-- Constants: WINDOW for how long repeats are recognised (ms), MOST how many sessions a user has (0: any number)
local STATE, HISTORY, SEEN, SEEN_BEFORE, GATEWAYS, SUBSCRIBERS, MEMBERS = unpack(KEYS)
local ID, NOW, FRESH, KEPT, AGE = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local BEFORE, MARK = ARGV[6], ARGV[7]
-- Of all clocks that could be asked only this one is the same for every router.
if not NOW then
  local time = redis.call('TIME')
  NOW = time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Epoch, last offset, and when `seen` was begun.
local function open()
  local state = redis.call('HMGET', STATE, 'epoch', 'offset', 'turned')
  if state[1] then
    return state[1], tonumber(state[2]), tonumber(state[3])
  end
  -- Memory is checked at a script's first write only, so that is one that needs some.
  redis.call('HSET', STATE, 'epoch', FRESH, 'offset', 0, 'turned', NOW)
  redis.call('UNLINK', HISTORY, SEEN, SEEN_BEFORE)
  return FRESH, 0, NOW
end

-- Commands of one round trip are refused one by one (no memory for the first, some again for the second), and whoever
-- asks for all of them again would have the second ahead of the first. So each leaves its mark, and waits for that of the
-- one before it. What is remembered does not count: it may be of an earlier round trip.
if BEFORE ~= '' and redis.call('HGET', STATE, 'mark') ~= BEFORE then
  return redis.error_reply('BEHIND an operation on this topic that was not carried out')
end

-- Two generations, the older one dropped whole: an id is known for one to two windows, and forgetting costs nothing.
local function remember(what, turned)
  if NOW - turned >= WINDOW then
    if redis.call('EXISTS', SEEN) == 1 then
      redis.call('RENAME', SEEN, SEEN_BEFORE)
    end
    redis.call('HSET', STATE, 'turned', NOW)
  end
  redis.call('HSET', SEEN, ID, what)
  if redis.call('HLEN', SEEN) == 1 then
    redis.call('PEXPIRE', SEEN, 2 * WINDOW)
  end
end

-- An idle topic ends by itself. Its state outlives what is remembered of it, so that a repeat never meets a new epoch.
local function idle()
  redis.call('PEXPIRE', HISTORY, AGE)
  redis.call('PEXPIRE', STATE, math.max(AGE, 2 * WINDOW))
end

-- What this operation gave before, or false. Who asks again may do so once more: from now on it is known for as long again.
local function remembered(turned)
  local recent = redis.call('HGET', SEEN, ID)
  local known = recent or redis.call('HGET', SEEN_BEFORE, ID)
  if known and (not recent or NOW - turned >= WINDOW) then
    remember(known, turned)
    if redis.call('EXISTS', GATEWAYS) == 0 then
      idle()
    end
  end
  return known
end

-- A publication is stored as `ms:payload`. Those that are too old go when somebody looks.
local function forget_old()
  local oldest = redis.call('LINDEX', HISTORY, 0)
  while oldest and tonumber(string.match(oldest, '^%d+')) <= NOW - AGE do
    redis.call('LPOP', HISTORY)
    oldest = redis.call('LINDEX', HISTORY, 0)
  end
end

local function leave_gateway(gateway)
  if redis.call('HINCRBY', GATEWAYS, gateway, -1) <= 0 then
    redis.call('HDEL', GATEWAYS, gateway)
  end
end

-- A member is stored as `sessions:description`. Gives the description when the last session of the user is gone.
local function leave_presence(key)
  local stored = key and redis.call('HGET', MEMBERS, key)
  if not stored then
    return false
  end
  local sessions, description = string.match(stored, '^(%d+):(.*)$')
  if tonumber(sessions) > 1 then
    redis.call('HSET', MEMBERS, key, (tonumber(sessions) - 1) .. ':' .. description)
    return false
  end
  redis.call('HDEL', MEMBERS, key)
  return description
end

-- Whether this is the user's first session.
local function enter_presence(key, description)
  local stored = redis.call('HGET', MEMBERS, key)
  local sessions = stored and tonumber(string.match(stored, '^%d+')) or 0
  redis.call('HSET', MEMBERS, key, (sessions + 1) .. ':' .. description)
  return sessions == 0
end
