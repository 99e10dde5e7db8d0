-- ARGV: 4 session, 5 gateway, 6 the subscriber's record (JSON), 7 its key among the members (empty: no presence),
--       8 its description, 9 epoch and 10 offset to recover from (empty: nowhere), 11 whether MOST holds here ('1')
-- Gives {epoch, offset, whether recovered, missed payloads, whether joined, gateways, members}, or {} when this grant
-- was handled before and has ended since: a late repeat must not bring the subscription back. {MOST} when there are as
-- many subscribers; a refusal is remembered too, or its repeat would subscribe a session that was told to go.
local epoch, last, turned = open()
local session, gateway, key = ARGV[4], ARGV[5], ARGV[7]
local record = redis.call('HGET', SUBSCRIBERS, session)
local known = remembered()
local offset, joined = last, false
if known and string.sub(known, 1, 4) == 'full' then
  return { tonumber(string.sub(known, 5)) }
elseif known then
  if not record then
    return {}
  end
  offset, joined = tonumber(string.match(known, '^%d+')), string.sub(known, -1) == 'j'
elseif not record and ARGV[11] == '1' and MOST > 0 and redis.call('HLEN', SUBSCRIBERS) >= MOST then
  remember('full' .. MOST, turned)
  return { MOST }
else
  local before = record and cjson.decode(record) or {}
  if before.gateway ~= gateway then
    if before.gateway then
      leave_gateway(before.gateway)
    end
    redis.call('HINCRBY', GATEWAYS, gateway, 1)
  end
  if before.presence ~= key then
    leave_presence(before.presence)
    joined = key ~= '' and enter_presence(key, ARGV[8])
  end
  redis.call('HSET', SUBSCRIBERS, session, ARGV[6])
  redis.call('PERSIST', STATE)
  redis.call('PERSIST', HISTORY)
  remember(offset .. (joined and 'j' or ''), turned)
end

-- The history ends at `last`, which for a repeated grant may be after `offset`.
local from, recovered, missed = tonumber(ARGV[10]), 0, {}
if from and ARGV[9] == epoch and from >= 0 and from <= offset then
  if from == offset then
    recovered = 1
  elseif last - redis.call('LLEN', HISTORY) <= from then
    recovered = 1
    missed = redis.call('LRANGE', HISTORY, from - last, offset - last - 1)
  end
end
local members = key ~= '' and redis.call('HVALS', MEMBERS) or {}
return { epoch, offset, recovered, missed, joined and 1 or 0, redis.call('HKEYS', GATEWAYS), members }
