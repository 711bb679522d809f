-- Lists a session that is about to begin, and forgets those whose last possible moment has passed.
-- KEYS: the subject's index and admissions. ARGV: the member, its absolute deadline.
redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
if last then
  redis.call('PEXPIREAT', KEYS[1], last)
  redis.call('PEXPIREAT', KEYS[2], last)
end
local now = redis.call('TIME')
local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now[1] .. string.format('%03d', math.floor(now[2] / 1000)), 'LIMIT', 0, 100)
if #over > 0 then
  -- Last: an empty set is none, and in a cluster's slot that is on the move no script may touch what isn't there any more.
  redis.call('ZREM', KEYS[1], unpack(over))
  redis.call('ZREM', KEYS[2], unpack(over))
end
