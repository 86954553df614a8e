-- For wrk: count the replies, and those that are tokens, forms or URLs.  The file LOGINS has a login
-- token in each line, which the requests have in turn; it is empty where nobody logs in.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init()
  replies, good = 0, 0
  local requests, turn = {}, 0
  for login in io.lines(os.getenv("LOGINS")) do
    wrk.headers["Authorization"] = "Bearer " .. login
    table.insert(requests, wrk.format())
  end
  if #requests > 0 then
    function request()
      turn = turn % #requests + 1
      return requests[turn]
    end
  end
end

function response(_, _, body)
  replies = replies + 1
  if body:find('"StatusCode":200', 1, true) or body:find('"url":"https://', 1, true) then
    good = good + 1
  end
end

function done(summary, latency)
  local all, good = 0, 0
  for _, thread in ipairs(threads) do
    all, good = all + thread:get("replies"), good + thread:get("good")
  end
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"replies": %d, "good": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "errors": %d}\n',
    all, good, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout
  ))
end
