-- Compare-and-swap. KEYS: the record's. ARGV: the record, and the version that it takes the place of.
-- Answers 1, or else what is under the key.
-- Redis' Lua hashes every byte of every string that it makes, and formats every number that it passes on: so nothing is cut out
-- that can be compared in its place, and places are passed on as text.
local record, call = ARGV[1], redis.call
local stored = call('GETRANGE', KEYS[1], '0', LAST)
if stored:find(ARGV[2], VERSION, true) ~= VERSION or stored:byte(1) > NEWEST_FORMAT then
  return call('GET', KEYS[1])
end
-- What most writes leave as it is: when the session began and ends, and whose it is.
local lasting = record:sub(CREATED, record:byte(HAS_SUBJECT) == 1 and HEADER or SUBJECT - 1)
if stored:find(lasting, CREATED, true) == CREATED then
  call('SET', KEYS[1], record, 'KEEPTTL')
  return 1
end
