-- ARGV: 8 session, 9 gateway, 10 the subscriber's record (JSON), 11 its key among the members (empty: no presence),
--       12 its description, 13 epoch and 14 offset to recover from (empty: nowhere), 15 whether MOST holds here ('1'),
--       16 the generation of the session's connection
-- Gives {epoch, offset, whether recovered, missed payloads, whether joined, gateways, members, former gateway}, or {}
-- when this grant was handled before and has ended since, or when the subscription is that of a later connection: what
-- is late must not bring it back. A request that a later connection repeats is a new one. {MOST} when there are as many
-- subscribers; a refusal is remembered too, or its repeat would subscribe a session that was told to go.

-- Whether one more session may be connected: those that wait to be resumed do not count, up to as many as may be.
local function full(known)
  local all = redis.call('HLEN', SUBSCRIBERS)
  if MOST == 0 or all < MOST then
    return false
  end
  local connected = 0
  for _, subscriber in ipairs(redis.call('HVALS', SUBSCRIBERS)) do
    connected = connected + (cjson.decode(subscriber).away and 0 or 1)
  end
  return connected >= MOST or not known and all >= 2 * MOST
end

local GONE = 'gone' .. ARGV[16]
local epoch, last, turned = open()
local session, gateway, key, generation = ARGV[8], ARGV[9], ARGV[11], tonumber(ARGV[16])
local record = redis.call('HGET', SUBSCRIBERS, session)
local before = record and cjson.decode(record) or { generation = 0 }
local known = remembered(turned)
if known and known ~= GONE and string.sub(known, 1, 4) == 'gone' then
  known = false
end
local offset, joined, former = last, false, ''
if before.generation > generation or known == GONE then
  if not known then
    remember(GONE, turned)
  end
  return {}
elseif known and string.sub(known, 1, 4) == 'full' then
  return { tonumber(string.sub(known, 5)) }
elseif known and not record then
  return {}
elseif known and before.generation == generation then
  local at, mark, was = string.match(known, '^(%d+)(j?)@?(.*)$')
  offset, joined, former = tonumber(at), mark == 'j', was
elseif ARGV[15] == '1' and (not record or before.away) and full(record) then
  remember('full' .. MOST, turned)
  return { MOST }
else
  if before.gateway ~= gateway then
    if before.gateway then
      former = before.gateway
      leave_gateway(former)
    end
    redis.call('HINCRBY', GATEWAYS, gateway, 1)
  end
  if before.presence ~= key then
    leave_presence(before.presence)
    joined = key ~= '' and enter_presence(key, ARGV[12])
  end
  redis.call('HSET', SUBSCRIBERS, session, ARGV[10])
  redis.call('PERSIST', STATE)
  redis.call('PERSIST', HISTORY)
  remember(offset .. (joined and 'j' or '') .. (former ~= '' and '@' .. former or ''), turned)
end

forget_old()
-- The history ends at `last`, which for a repeated grant may be after `offset`.
local from, recovered, missed = tonumber(ARGV[14]), 0, {}
if from and ARGV[13] == epoch and from >= 0 and from <= offset then
  if from == offset then
    recovered = 1
  elseif last - redis.call('LLEN', HISTORY) <= from then
    recovered = 1
    missed = redis.call('LRANGE', HISTORY, from - last, offset - last - 1)
  end
end
local members = key ~= '' and redis.call('HVALS', MEMBERS) or {}
return { epoch, offset, recovered, missed, joined and 1 or 0, redis.call('HKEYS', GATEWAYS), members, former }
