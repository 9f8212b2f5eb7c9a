#!/bin/sh
# Runs a program of any image so that its output is also in a file that the sidecar reads; signals and the exit code pass through.
# usage: wrap.sh FOLDER PROGRAM [ARGUMENT...]
folder=$1
shift
mkfifo "$folder/stdout" || exit 125
tee -a "$folder/log" <"$folder/stdout" &
tee=$!
"$@" >"$folder/stdout" 2>&1 &
child=$!
trap 'kill -TERM "$child" 2>/dev/null' TERM INT
wait "$child"
code=$?
# A trapped signal ends the first wait before the program has ended.
while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    code=$?
done
# What the program left running may hold its output open for ever; that must not hide that it has ended.
(sleep "${MILLRACE_DRAIN_SECONDS:-5}" && kill "$tee") >/dev/null 2>&1 &
wait "$tee"
exit "$code"
