-- made by `make generate` from the kinds; do not edit
-- Health of a Millrace object, from its conditions alone (they follow kstatus: Reconciling and Stalled are there only while true).
-- Argo CD shows an object that is being deleted as Progressing by itself; it is said here too, for other users of this script.
local SUMMARY = "Ready"
-- Reasons with which it rightly does nothing, though nobody suspended it.
local RESTING = {}

local function condition(conditions, name)
  for _, c in ipairs(conditions or {}) do
    if c.type == name then
      return c
    end
  end
  return nil
end

local function health(status, c, otherwise)
  local message = otherwise
  if c ~= nil then
    message = c.reason
    if c.message ~= nil and c.message ~= "" then
      message = c.reason .. ": " .. c.message
    end
  end
  return { status = status, message = message }
end

if obj.metadata.deletionTimestamp ~= nil then
  return health("Progressing", nil, "Being deleted")
end

local status = obj.status or {}
if status.conditions == nil or #status.conditions == 0 then
  return health("Progressing", nil, "Waiting for the operator")
end
-- What is said is about an older spec.
if status.observedGeneration == nil or status.observedGeneration < obj.metadata.generation then
  return health("Progressing", nil, "Waiting for the operator to see the latest spec")
end

local summary = condition(status.conditions, SUMMARY)
local stalled = condition(status.conditions, "Stalled")
local reconciling = condition(status.conditions, "Reconciling")

if summary ~= nil and summary.status == "True" then
  return health("Healthy", summary)
end
-- A suspended object has nothing to do: neither broken nor under way.
if obj.spec ~= nil and obj.spec.suspend == true and summary ~= nil and summary.reason == "Suspended" then
  return health("Suspended", summary)
end
if summary ~= nil and RESTING[summary.reason] and reconciling == nil then
  return health("Suspended", summary)
end
if stalled ~= nil and stalled.status == "True" then
  return health("Degraded", stalled)
end
-- A bounded run that has failed stays failed; a lasting thing that is not ready but is worked on may get there.
if summary ~= nil and summary.status == "False" and (reconciling == nil or reconciling.status ~= "True") then
  return health("Degraded", summary)
end
return health("Progressing", reconciling or summary, "Under way")
