-- What every script of a topic ends with: `operation` is what is its own.
local answer = operation()
if MARK ~= '' then
  redis.call('HSET', STATE, 'mark', MARK)
end
return answer
