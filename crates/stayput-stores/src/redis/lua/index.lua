-- Put in front of every script that lists sessions. The constants come from index.rs; places count from 1 here.

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A bucket is there until the last of its members is over.
local function keep(bucket, deadline, now)
  if redis.call('PTTL', bucket) < math.max(deadline - now, 0) then
    redis.call('PEXPIREAT', bucket, deadline)
  end
end

-- The hours go round: one that is less than half a round back has passed.
local function is_over(member, now)
  local hour = member:byte(SESSION + 1) * 256 + member:byte(SESSION + 2)
  return hour ~= NEVER and (math.floor(now / 3600000) - hour) % NEVER < NEVER / 2
end
