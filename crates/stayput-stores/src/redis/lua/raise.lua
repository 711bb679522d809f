-- Raises a subject's epoch. KEYS: the subject's bucket and epoch. ARGV: how long an epoch is remembered; the first score of the
-- subject's range; if a session is to be spared, its member, and the range as it was when that session was last seen alive.
-- Answers the members of the range; 'changed' if it is another than it was; 'ending' if the session to spare is.
local first = tonumber(ARGV[2])
local members = redis.call('ZRANGEBYSCORE', KEYS[1], first, first + ENDING)
if ARGV[3] then
  if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[3]) or first) == first + ENDING then
    return 'ending'
  elseif table.concat(members) ~= ARGV[4] then
    return 'changed'
  end
end
local epoch = math.max((tonumber(redis.call('GET', KEYS[2])) or 0) + 1, now())
-- A deadline comes first for a server that is out of memory: everybody can be logged out of it.
redis.call('PEXPIRE', KEYS[2], ARGV[1])
redis.call('SET', KEYS[2], string.format('%.0f', epoch), 'PXAT', string.format('%.0f', epoch + ARGV[1] - 1))
return members
