-- wrk's requests over the routes /svc-0/hello … /svc-(N-1)/hello in a fixed shuffled order
-- (`wrk … -- N`; without N, the one path of the URL), and its result as one line of JSON.
local requests, count, turn = {}, 0, 0

function init(args)
  count = tonumber(args[1] or "0")
  for number = 0, count - 1 do
    requests[number] = wrk.format("GET", "/svc-" .. number .. "/hello")
  end
  if count == 0 then
    requests[0] = wrk.format("GET")
    count = 1
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
