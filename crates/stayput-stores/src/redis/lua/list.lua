-- Lists a session that is about to begin, and forgets a few whose last possible moment has passed.
-- KEYS: the subject's bucket. ARGV: the member, its score, its absolute deadline.
redis.call('ZADD', KEYS[1], 'NX', ARGV[2], ARGV[1])
local now = now()
keep(KEYS[1], ARGV[3], now)
-- Wherever the key points, which is random: if sixteen are looked at for each that comes, one in sixteen left behind stays.
local last = struct.unpack('>I4', ARGV[1]) % (redis.call('ZCARD', KEYS[1]) + 15)
local over = {}
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], math.max(last - 15, 0), last)) do
  if #member == MEMBER and is_over(member, now) then
    over[#over + 1] = member
  end
end
if #over > 0 then
  -- Last: an empty set is none, and in a cluster's slot that is on the move no script may touch what isn't there any more.
  redis.call('ZREM', KEYS[1], unpack(over))
end
