-- ARGV: 8 payload
-- Gives {epoch, offset, whether it is a repeat, gateways}.
local epoch, offset, turned = open()
local gateways = redis.call('HKEYS', GATEWAYS)
local known = remembered(turned)
if known then
  return { epoch, tonumber(known), 1, gateways }
end
-- The history first: should it not be a list, nothing was counted yet.
if KEPT > 0 then
  redis.call('RPUSH', HISTORY, string.format('%.0f:', NOW) .. ARGV[8])
  redis.call('LTRIM', HISTORY, -KEPT, -1)
  forget_old()
end
offset = redis.call('HINCRBY', STATE, 'offset', 1)
remember(offset, turned)
if #gateways == 0 then
  idle()
end
return { epoch, offset, 0, gateways }
