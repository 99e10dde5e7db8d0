-- ARGV: 4 session, 5 generation of the connection that it lost
-- Keeps the subscription and says in its record that nobody is there. Gives whether it did: a later connection is there.
local record = redis.call('HGET', SUBSCRIBERS, ARGV[4])
local subscriber = record and cjson.decode(record)
if not subscriber or subscriber.generation ~= tonumber(ARGV[5]) then
  return 0
end
subscriber.away = true
redis.call('HSET', SUBSCRIBERS, ARGV[4], cjson.encode(subscriber))
return 1
