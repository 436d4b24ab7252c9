-- Alerts from the log of one asset-worker alone, for those who have no Prometheus. vector.yaml and fluent-bit.yaml run
-- this for each line of the log; tests/unit/test_log_alerts.py runs it, too. It keeps to what Lua 5.1 and 5.4 share.
--
-- An alert has the form that Alertmanager takes (POST /api/v2/alerts). It is sent anew while the trouble lasts, and is
-- over at `endsAt`. Names, severities and numbers are those of deploy/alerts.yaml, as far as the log shows the same.

local RUNBOOK = "docs/runbook.md#"
local MINUTE, HOUR = 60, 3600

local SILENCE = 3 * MINUTE -- without a heartbeat, of which there is one a minute
local DEADLINE = 14400 -- poll.deadline, in seconds
local PAGE_AFTER, TICKET_AFTER, LATE_AFTER = 10, 15, 15 -- heartbeats in a row
local STARTS, STARTS_WITHIN = 4, 30 * MINUTE

-- With these problems the work goes on.
local CAN_WAIT = { rate_limited = true, input_rejected = true, inputs_waiting = true }

-- What is lost, or may be, if nobody acts. No metric tells of these.
local LOSSES = {
  ["intake.gap"] = true,
  ["intake.zeros"] = true,
  ["intake.not_accepted"] = true,
  ["sink.dropped"] = true,
  ["dead_letters.pruned"] = true,
  ["api.list_contradicted"] = true,
}

local seen_at -- when the last heartbeat came, or the last start
local host
local lasting = {} -- heartbeats in a row that named a problem, by its reason
local late = 0 -- heartbeats in a row with an asset past its deadline
local starts = {} -- the worker's latest starts

-- `lasts`: seconds for which the alert holds if it is not sent again.
local function alert(name, severity, summary, now, lasts, labels)
  labels.alertname, labels.severity, labels.job, labels.instance = name, severity, "asset-worker", host
  local annotations = { summary = host .. ": " .. summary, runbook = RUNBOOK .. string.lower(name) }
  if labels.reason then
    annotations.runbook_reason = RUNBOOK .. labels.reason
  end
  return { labels = labels, annotations = annotations, endsAt = os.date("!%Y-%m-%dT%H:%M:%SZ", now + lasts) }
end

-- Seconds of a line's time, to compare with others: Vector passes a table, Fluent Bit the text.
local function seconds_of(timestamp)
  if type(timestamp) == "table" then
    return os.time(timestamp)
  end
  local year, month, day, hour, min, sec = string.match(timestamp, "^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)")
  return os.time({ year = year, month = month, day = day, hour = hour, min = min, sec = sec })
end

local function of_heartbeat(line, now)
  local alerts, present, is_explained = {}, {}, false
  for _, problem in ipairs(type(line.problems) == "table" and line.problems or {}) do
    present[problem.reason] = problem.problem
  end
  for reason in pairs(lasting) do
    lasting[reason] = present[reason] and lasting[reason]
  end
  for reason, text in pairs(present) do
    lasting[reason] = (lasting[reason] or 0) + 1
    local severity = CAN_WAIT[reason] and "ticket" or "page"
    if lasting[reason] >= (CAN_WAIT[reason] and TICKET_AFTER or PAGE_AFTER) then
      is_explained = is_explained or severity == "page"
      alerts[#alerts + 1] = alert("AssetWorkerProblem", severity, text, now, SILENCE, { reason = reason })
    end
  end
  late = (line.oldest_pending_age or 0) > DEADLINE and late + 1 or 0
  if late >= LATE_AFTER and not is_explained then
    local summary = "an asset is past poll.deadline, and there is no answer about it"
    alerts[#alerts + 1] = alert("AssetWorkerPastDeadline", "page", summary, now, SILENCE, {})
  end
  return alerts
end

local function of_start(line, now)
  local started_at = seconds_of(line.timestamp)
  starts[#starts + 1] = started_at
  while starts[1] < started_at - STARTS_WITHIN do
    table.remove(starts, 1)
  end
  if #starts < STARTS then
    return {}
  end
  local summary = "it has started " .. #starts .. " times in half an hour"
  return { alert("AssetWorkerRestarting", "page", summary, now, STARTS_WITHIN, {}) }
end

-- Return the alerts that a line of the log asks for. `now`: seconds since the epoch.
function alerts_of(line, now)
  local event = line.event
  if type(event) ~= "string" or type(line.level) ~= "string" then
    return {} -- no line of the worker's log
  end
  host = line.host or host or "asset-worker"
  if event == "worker.heartbeat" or event == "worker.started" then
    seen_at = now
  end
  if event == "worker.heartbeat" then
    return of_heartbeat(line, now)
  elseif event == "worker.started" then
    return of_start(line, now)
  elseif event == "worker.stopped" and line.exit_code ~= 0 then
    local summary = "it has ended with exit code " .. string.format("%d", line.exit_code or 1)
    return { alert("AssetWorkerFailed", "ticket", summary, now, HOUR, {}) }
  elseif event == "sink.dead_letter" then
    local summary = line.sink .. " accepted an event in no attempt"
    return { alert("AssetWorkerDeadLetters", "ticket", summary, now, HOUR, { sink = line.sink }) }
  elseif event == "intake.rejected" and string.sub(line.source or line.first, 1, 4) ~= "http" then
    local summary = "an input has lines that hold no submission, from " .. (line.source or line.first)
    return { alert("AssetWorkerRejectedLines", "ticket", summary, now, HOUR, {}) }
  elseif LOSSES[event] then
    local summary = "something may be lost: " .. event .. " in the log"
    return { alert("AssetWorkerLoss", "ticket", summary, now, HOUR, { event = event }) }
  end
  return {}
end

-- Return the alert that the worker is silent, if it is. To be called every half minute.
function silence_of(now)
  seen_at, host = seen_at or now, host or os.getenv("HOSTNAME") or "asset-worker"
  if now - seen_at <= SILENCE then
    return {}
  end
  local summary = "its log has had no heartbeat for three minutes, and one is due each minute"
  return { alert("AssetWorkerGone", "page", summary, now, SILENCE, {}) }
end

-- For Fluent Bit: lines have any tag, and ticks have one that ends in "tick".
function fluent_bit(tag, timestamp, line)
  local now = os.time()
  local alerts = string.sub(tag, -4) == "tick" and silence_of(now) or alerts_of(line, now)
  if #alerts == 0 then
    return -1, timestamp, line
  end
  return 2, timestamp, alerts
end
