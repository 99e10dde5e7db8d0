-- ARGV: 8 session, 9 generation of the connection that it lost
-- Keeps the subscription and says in its record that nobody is there, unless a later connection is.
local _, _, turned = open()
if remembered(turned) then
  return
end
local record = redis.call('HGET', SUBSCRIBERS, ARGV[8])
local subscriber = record and cjson.decode(record)
if subscriber and subscriber.generation == tonumber(ARGV[9]) then
  subscriber.away = true
  redis.call('HSET', SUBSCRIBERS, ARGV[8], cjson.encode(subscriber))
end
remember('', turned)
if redis.call('EXISTS', GATEWAYS) == 0 then
  idle()
end
