-- Moves the idle deadline on. KEYS: the record's. ARGV: the deadline.
-- Answers 1, or else what is under the key.
local stored = header(KEYS[1])
if not stored then
  return redis.call('GET', KEYS[1])
end
local expires = math.min(tonumber(ARGV[1]), time(stored, ABSOLUTE))
if expires > time(stored, EXPIRES) then
  -- In this order, for a server that is out of memory: see `bury`.
  redis.call('PEXPIREAT', KEYS[1], deadline(expires))
  redis.call('SETRANGE', KEYS[1], EXPIRES - 1, struct.pack('>I8', expires))
end
return 1
