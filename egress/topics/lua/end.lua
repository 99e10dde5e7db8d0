-- ARGV: 8 session
-- Gives {gateway the session had (empty: it was no subscriber), description of the member that left or '', gateways}.
local _, _, turned = open()
local known = remembered(turned)
local gateway, left = '', false
if known then
  gateway, left = string.match(known, '^([^\n]*)\n(.*)$')
else
  local record = redis.call('HGET', SUBSCRIBERS, ARGV[8])
  if record then
    local subscriber = cjson.decode(record)
    gateway = subscriber.gateway
    redis.call('HDEL', SUBSCRIBERS, ARGV[8])
    leave_gateway(gateway)
    left = leave_presence(subscriber.presence)
  end
  remember(gateway .. '\n' .. (left or ''), turned)
  if redis.call('EXISTS', GATEWAYS) == 0 then
    idle()
  end
end
return { gateway, left or '', redis.call('HKEYS', GATEWAYS) }
