#!lua name=hallpass_e22b140a
redis.register_function{function_name = 'hallpass_e22b140a_look_up', flags = {'no-writes'}, callback = function(KEYS, ARGV)
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

local value, ttl = find()
return value and {value, ttl} or false
end}
redis.register_function{function_name = 'hallpass_e22b140a_put', flags = {}, callback = function(KEYS, ARGV)
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
end}
redis.register_function{function_name = 'hallpass_e22b140a_remove', flags = {'allow-oom'}, callback = function(KEYS, ARGV)
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

if entry_fence() ~= tonumber(ARGV[3]) then return 0 end
redis.call('DEL', ENTRY)
publish(ARGV[1], ARGV[2])
return 1
end}
redis.register_function{function_name = 'hallpass_e22b140a_take_lease', flags = {}, callback = function(KEYS, ARGV)
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

return {take_lease(ARGV[1], ARGV[2])}
end}
redis.register_function{function_name = 'hallpass_e22b140a_extend', flags = {'allow-oom'}, callback = function(KEYS, ARGV)
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

if redis.pcall('GET', LEASE) ~= ARGV[1] or redis.call('PTTL', LEASE) < 0 then return 0 end
return redis.call('PEXPIRE', LEASE, ARGV[2])
end}
redis.register_function{function_name = 'hallpass_e22b140a_release', flags = {'allow-oom'}, callback = function(KEYS, ARGV)
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

if redis.pcall('GET', LEASE) ~= ARGV[3] then return 0 end
redis.call('DEL', LEASE)
publish(ARGV[1], ARGV[2])
return 1
end}
