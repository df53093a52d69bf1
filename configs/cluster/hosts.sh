#!/usr/bin/env bash
# Starts one training on plain hosts over ssh: the same command everywhere, with each host's own TF_CONFIG.
#
#   KIND=multi_worker WORKERS="host1 host2" configs/cluster/hosts.sh --flagfile=configs/feed.cfg --run_dir=/shared/runs/feed
#   KIND=parameter_server CHIEF=host0 SERVERS="host1 host2" WORKERS="host3 host4" configs/cluster/hosts.sh ...
#
# Every host has this project with its virtual environment at DIRECTORY and sees the same logs and run folder
# (NFS, or another file system that all share). A task that is lost is started again until it ends well; a run
# that was stopped goes on with the same command. Ctrl-C stops all tasks.
# TensorFlow's servers listen on all of a host's addresses and run any graph of anyone who reaches their ports:
# let a firewall pass only the hosts of the cluster to PORT and those after it, see docs/scale.md.
# Huge pages (GLIBC_TUNABLES) speed up random reads of large tables: docs/performance.md.
set -euo pipefail

KIND=${KIND:?multi_worker or parameter_server}
WORKERS=${WORKERS:?hosts of the workers}
CHIEF=${CHIEF:-}
SERVERS=${SERVERS:-}
PORT=${PORT:-2222}
DIRECTORY=${DIRECTORY:-$PWD}
PYTHON=${PYTHON:-.venv/bin/python}
SHELL_COMMAND=${SHELL_COMMAND:-ssh}  # HOST COMMAND is appended
MOST_STARTS=${MOST_STARTS:-20}

cluster=""
add_job() {  # job hosts...; tasks on one host get ports of their own
  local job=$1 list=""
  shift
  [ $# -eq 0 ] && return
  for host in "$@"; do
    list="$list,\"$host:$PORT\""
    PORT=$((PORT + 1))
  done
  cluster="$cluster,\"$job\":[${list#,}]"
}

start() {  # job index host flags...
  local job=$1 index=$2 host=$3
  shift 3
  local config="{\"cluster\":{${cluster#,}},\"task\":{\"type\":\"$job\",\"index\":$index}}"
  local quoted=""
  printf -v quoted ' %q' "$@"
  local command
  printf -v command 'cd %q && TF_CONFIG=%q GLIBC_TUNABLES=glibc.malloc.hugetlb=1 exec %q -m lt4rec_tf.train --distribution=%q%s' \
    "$DIRECTORY" "$config" "$PYTHON" "$KIND" "$quoted"
  (
    for ((n = 0; n < MOST_STARTS; n++)); do
      $SHELL_COMMAND "$host" "$command" 2>&1 | sed "s/^/[$job $index] /"
      [ "${PIPESTATUS[0]}" -eq 0 ] && exit 0
      echo "[$job $index] ended with an error; starting again" >&2
      sleep 2
    done
    exit 1
  ) &
}

# shellcheck disable=SC2086 # the lists are split into hosts
{
  add_job chief $CHIEF
  add_job ps $SERVERS
  add_job worker $WORKERS
}
trap 'kill 0' INT TERM
for job in chief ps worker; do
  case $job in
    chief) hosts=$CHIEF ;;
    ps) hosts=$SERVERS ;;
    worker) hosts=$WORKERS ;;
  esac
  index=0
  for host in $hosts; do
    start "$job" "$index" "$host" "$@"
    index=$((index + 1))
  done
done
status=0
for task in $(jobs -p); do
  wait "$task" || status=1
done
exit $status
