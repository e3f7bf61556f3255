#!/bin/sh
# Follows the events of MNM from a shell, one line each. mnmctl connects again by itself when the
# controller was restarted, and goes on where it was as far as the controller's journal reaches.
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
  follow | jq --unbuffered --raw-output '"#\(.sequence) \(.kind) \(.link.name // "-"): \(.text)"'
else
  follow
fi
