-- Something that replicas are told after all that was done before. KEYS: the barrier's.
-- A deadline comes first, for a server that is out of memory: it refuses a script's first write if that takes memory.
redis.call('PEXPIRE', KEYS[1], 1000)
redis.call('SET', KEYS[1], '', 'PX', 1000)
