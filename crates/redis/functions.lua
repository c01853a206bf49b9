#!lua name=hallpass_08d1b1bc
local function run(part, KEYS, ARGV)
local ENTRY, LEASE, FENCE = KEYS[1], KEYS[2], KEYS[3]
local function number(digits)
  local value = digits and string.match(digits, '^%d+$') and tonumber(digits)
  if value and value <= 9e15 then return value end
end
local function entry_fence()
  local head = redis.pcall('GETRANGE', ENTRY, 0, 15)
  return type(head) == 'string' and #head == 16 and number(head) or 0
end
local function lease()
  local value = redis.pcall('GET', LEASE)
  if type(value) ~= 'string' or redis.call('PTTL', LEASE) < 0 then return nil end
  local fence, owner = string.match(value, '^(%d+):(%d+)$')
  return number(fence), owner, fence
end
local function next_fence()
  local time = redis.call('TIME')
  local last = redis.pcall('GET', FENCE)
  last = math.max(type(last) == 'string' and number(last) or 0, entry_fence())
  local fence = string.format('%016.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
  redis.call('SET', FENCE, fence, 'PX', 86400000)
  return fence
end
local function publish(channel, message)
  redis.pcall('PUBLISH', channel, message)
end
local function find()
  local value = redis.pcall('GET', ENTRY)
  if type(value) ~= 'string' or #value < 16 or entry_fence() == 0 then return nil end
  return value, redis.call('PTTL', ENTRY)
end
local function take_lease(ttl, owner)
  local held, _, digits = lease()
  if held then return 0, digits end
  local fence = next_fence()
  redis.call('SET', LEASE, fence .. ':' .. owner, 'PX', ttl)
  return 1, fence
end
if part == 'look_up' then
local value, ttl = find()
return value and {value, ttl} or false
end
if part == 'put' then
local ttl, fence, owner = ARGV[4], ARGV[5], ARGV[6]
if fence ~= '' then
  local mine, held, holder = tonumber(fence), lease()
  if held and (held > mine or held == mine and holder ~= owner) then return 0 end
  if entry_fence() > mine then return 0 end
else
  if entry_fence() > 0 and redis.call('PTTL', ENTRY) >= tonumber(ttl) then return 0 end
  fence = next_fence()
end
redis.call('SET', ENTRY, fence .. ARGV[3], 'PX', ttl)
publish(ARGV[1], ARGV[2])
return 1
end
if part == 'remove' then
if entry_fence() ~= tonumber(ARGV[3]) then return 0 end
redis.call('DEL', ENTRY)
publish(ARGV[1], ARGV[2])
return 1
end
if part == 'take_lease' then
return {take_lease(ARGV[1], ARGV[2])}
end
if part == 'look_up_or_lease' then
local value, ttl = find()
if value and entry_fence() ~= tonumber(ARGV[1]) then return {2, value, ttl} end
local granted, fence = take_lease(ARGV[2], ARGV[3])
return {granted, fence, 0}
end
if part == 'extend' then
if redis.pcall('GET', LEASE) ~= ARGV[1] or redis.call('PTTL', LEASE) < 0 then return 0 end
return redis.call('PEXPIRE', LEASE, ARGV[2])
end
if part == 'release' then
if redis.pcall('GET', LEASE) ~= ARGV[3] then return 0 end
redis.call('DEL', LEASE)
publish(ARGV[1], ARGV[2])
return 1
end
end
redis.register_function{function_name = 'hallpass_08d1b1bc_look_up', flags = {'no-writes'}, callback = function(KEYS, ARGV) return run('look_up', KEYS, ARGV) end}
redis.register_function{function_name = 'hallpass_08d1b1bc_put', flags = {}, callback = function(KEYS, ARGV) return run('put', KEYS, ARGV) end}
redis.register_function{function_name = 'hallpass_08d1b1bc_remove', flags = {'allow-oom'}, callback = function(KEYS, ARGV) return run('remove', KEYS, ARGV) end}
redis.register_function{function_name = 'hallpass_08d1b1bc_take_lease', flags = {}, callback = function(KEYS, ARGV) return run('take_lease', KEYS, ARGV) end}
redis.register_function{function_name = 'hallpass_08d1b1bc_look_up_or_lease', flags = {}, callback = function(KEYS, ARGV) return run('look_up_or_lease', KEYS, ARGV) end}
redis.register_function{function_name = 'hallpass_08d1b1bc_extend', flags = {'allow-oom'}, callback = function(KEYS, ARGV) return run('extend', KEYS, ARGV) end}
redis.register_function{function_name = 'hallpass_08d1b1bc_release', flags = {'allow-oom'}, callback = function(KEYS, ARGV) return run('release', KEYS, ARGV) end}
