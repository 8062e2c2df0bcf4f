#!/usr/bin/env bash
# What the action does. Takes RANGE, or BASE and HEAD, from the environment; fails when something was found.
set -uo pipefail

modelkeep=${MODELKEEP:-modelkeep}
range=${RANGE:-}
if [ -z "$range" ] && [ -n "${BASE:-}" ] && [ -n "${HEAD:-}" ]; then
  range="$BASE..$HEAD"
fi

if [ -n "$range" ]; then
  set -- guard check --range "$range"
else
  set -- guard check --all
fi

report=$("$modelkeep" "$@" --json)
code=$?
if [ -n "${GITHUB_OUTPUT:-}" ]; then
  printf 'findings=%s\n' "$(printf '%s' "$report" | tr -d '\n')" >>"$GITHUB_OUTPUT"
fi
# For people: in the log, and on the page of the run.
text=$("$modelkeep" "$@" 2>&1)
printf '%s\n' "$text"
if [ "$code" -ne 0 ]; then
  printf '::error title=modelkeep guard::%s\n' "something does not belong in git (exit $code)"
fi
if [ -n "${GITHUB_STEP_SUMMARY:-}" ] && [ "$code" -eq 9 ]; then
  { printf '### modelkeep guard\n\n```\n'; printf '%s\n' "$text"; printf '```\n'; } >>"$GITHUB_STEP_SUMMARY"
fi
exit "$code"
