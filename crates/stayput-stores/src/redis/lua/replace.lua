-- Compare-and-swap. KEYS: the record's. ARGV: the record, the version that it takes the place of, and of the record what most
-- writes leave as it is: when the session began and ends, and whose it is.
-- Answers 1, or else what is under the key.
local stored = redis.call('GETRANGE', KEYS[1], 0, HEADER - 1)
if stored:sub(VERSION, VERSION + 15) ~= ARGV[2] or stored:byte(1) > NEWEST_FORMAT then
  return redis.call('GET', KEYS[1])
end
if stored:sub(CREATED, CREATED + #ARGV[3] - 1) == ARGV[3] then
  redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')
  return 1
end
