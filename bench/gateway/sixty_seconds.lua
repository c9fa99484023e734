-- chat_post.lua for SECONDS_OF_LOAD; then requests that are not metered, so that wrk still gets the
-- answer of each chat that it has sent: run it for a few seconds longer. Says how many those were.
dofile(os.getenv("HERE") .. "/chat_post.lua")
local chat_post = request
local ends_at = os.time() + tonumber(os.getenv("SECONDS_OF_LOAD"))
local unmetered = nil
local threads = {}
chats = 0

function setup(thread)
  table.insert(threads, thread)
end

function request()
  if os.time() < ends_at then
    chats = chats + 1
    return chat_post()
  end
  unmetered = unmetered or wrk.format("GET", "/health")
  return unmetered
end

function done(summary)
  local all = -1  -- wrk tries request() once before it begins
  for _, thread in ipairs(threads) do all = all + thread:get("chats") end
  local errors = summary.errors
  print(string.format("chats %d, errors %d", all, errors.connect + errors.read + errors.write +
    errors.status + errors.timeout))
end
