-- ARGV: 6 session, 7 generation of the connection that it lost
-- Keeps the subscription and says in its record that nobody is there. Gives whether it did: a later connection is there.
local record = redis.call('HGET', SUBSCRIBERS, ARGV[6])
local subscriber = record and cjson.decode(record)
if not subscriber or subscriber.generation ~= tonumber(ARGV[7]) then
  return 0
end
subscriber.away = true
redis.call('HSET', SUBSCRIBERS, ARGV[6], cjson.encode(subscriber))
return 1
