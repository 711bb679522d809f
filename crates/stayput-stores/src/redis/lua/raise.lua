-- Raises a subject's epoch. KEYS: the subject's index, admissions and epoch. ARGV: how long an epoch is remembered; if a session
-- is to be spared, its member, and the index as it was when that session was last seen alive.
-- Answers the members of the index; 'changed' if it is another than it was; 'ending' if the session to spare is.
local members = redis.call('ZRANGE', KEYS[1], 0, -1)
if ARGV[2] then
  if tonumber(redis.call('ZSCORE', KEYS[2], ARGV[2]) or 1) < 0 then
    return 'ending'
  elseif table.concat(members) ~= ARGV[3] then
    return 'changed'
  end
end
local now = redis.call('TIME')
local epoch = math.max((tonumber(redis.call('GET', KEYS[3])) or 0) + 1, now[1] * 1000 + math.floor(now[2] / 1000))
-- A deadline comes first for a server that is out of memory: everybody can be logged out of it.
redis.call('PEXPIRE', KEYS[3], ARGV[1])
redis.call('SET', KEYS[3], string.format('%.0f', epoch), 'PXAT', string.format('%.0f', epoch + ARGV[1] - 1))
return members
