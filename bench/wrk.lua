-- wrk's requests over the routes /svc-0/hello … /svc-(N-1)/hello in a fixed shuffled order
-- (`wrk … -- N`; without N, the one path of the URL), and its result as one line of JSON. With
-- `wrk … -- 0 TOKEN KEYS` each request has the field in the file TOKEN, and one of those in the
-- lines of the file KEYS, in turn.
local requests, count, turn = {}, 0, 0

function init(args)
  count = tonumber(args[1] or "0")
  for number = 0, count - 1 do
    requests[number] = wrk.format("GET", "/svc-" .. number .. "/hello")
  end
  if args[3] then
    show(args[2], args[3])
  elseif count == 0 then
    requests[0] = wrk.format("GET")
    count = 1
  end
end

function show(token, keys)
  local headers = {}
  local function add(line)
    local name, value = line:match("^(%S+): (.+)$")
    headers[name] = value
  end
  add(io.lines(token)())
  for line in io.lines(keys) do
    add(line)
    requests[count] = wrk.format("GET", nil, headers)
    count = count + 1
  end
end

-- A prime step visits every route before any comes again.
function request()
  turn = (turn + 7919) % count
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'json {"requests":%d,"microseconds":%d,"bytes":%d,"failed":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration, summary.bytes,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
