#!/bin/sh
# Follows the events of MNM from a shell, one line each, after those that the journal has. mnmctl
# connects again by itself when the controller was restarted, and says so with a line "--".
#
#     examples/subscriber.sh
#
# MNM_SOCKET names another socket than /run/mnm/controller.sock, MNMCTL another mnmctl. With jq a
# line is short; without it, it is the JSON that mnmctl gives.
set -eu

follow() {
  "${MNMCTL:-mnmctl}" events --follow --json
}

if command -v jq >/dev/null; then
  follow | jq --unbuffered --raw-output '
    if .event then .event | "#\(.sequence) \(.kind) \(.link.name // "-"): \(.text)"
    else "-- \(.notice.text)" end'
else
  follow
fi
