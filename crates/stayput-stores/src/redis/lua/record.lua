-- Put in front of every script that reads a record. The constants come from stayput_core::layout; places count from 1 here.
-- Times are compared as numbers: Lua compares strings by the server's locale.

local function time(record, place)
  return (struct.unpack('>I8', record, place))
end

-- Redis holds a key to be there at its very deadline, Stayput a session to be over.
local function deadline(expires)
  return string.format('%.0f', math.min(expires, 9007199254740991) - 1)
end

local function subject(record)
  return record:byte(HAS_SUBJECT) == 1 and record:sub(SUBJECT, SUBJECT + 31) or ''
end

-- The header of the record under the key, if one is there that these scripts can read.
local function header(key)
  local bytes = redis.call('GETRANGE', key, '0', LAST)
  local is_readable = #bytes >= SUBJECT - 1 and bytes:byte(1) > 0 and bytes:byte(1) <= NEWEST_FORMAT
  return is_readable and bytes or nil, bytes
end

-- A deadline comes first: a server that is out of memory refuses a script's first write if it takes memory, and no later one.
-- A deletion would do as well, but in a cluster's slot that is on the move no script may touch what isn't there any more.
local function bury(key, lifetime)
  redis.call('PEXPIRE', key, lifetime)
  redis.call('SET', key, '\0', 'PX', lifetime)
end
