# shellcheck shell=bash disable=SC2015 # a case is a chain of conditions; what follows || says why any of them failed
# Cases: starting and stopping in every order.

stopped_at_first() {
  expect "status" "$("$cluster" status)" stopped && expect "exit code" "$("$cluster" status >/dev/null; echo $?)" 3 &&
    "$cluster" down && "$cluster" down
}

wrong_usage() {
  local arguments code
  for arguments in "" "no-such-command" "load" "in" "up now" "stop" "start etcd now"; do
    # shellcheck disable=SC2086
    "$cluster" $arguments >/dev/null 2>"$work/usage" && code=0 || code=$?
    expect "exit code of 'cluster $arguments'" "$code" 2 && grep -q usage: "$work/usage" || return 1
  done
  "$cluster" -h | grep -q usage:
}

missing_things_are_named() {
  local output code tools=$work/tools
  mkdir -p "$tools"
  ln -sf /usr/bin/* /bin/* "$tools" 2>/dev/null
  rm -f "$tools"/{socat,openssl}
  socat "TCP-LISTEN:$MEMLOCK_CLUSTER_PORT,bind=127.0.0.1,fork,reuseaddr" PIPE &
  local server=$!
  eventually 10 bash -c "exec 3<>/dev/tcp/127.0.0.1/$MEMLOCK_CLUSTER_PORT" || return 1
  output=$(PATH=$tools MEMLOCK_CACHE=$work/empty-cache "$cluster" up 2>&1) && code=0 || code=$?
  kill "$server"
  wait "$server" 2>/dev/null
  expect "exit code" "$code" 1 &&
    grep -q "socat openssl" <<<"$output" && grep -q "port $MEMLOCK_CLUSTER_PORT .* is taken" <<<"$output" &&
    grep -q "Go is not installed" <<<"$output" && expect "remedies" "$(grep -c remedy: <<<"$output")" "$(grep -c '^  - ' <<<"$output")" &&
    nothing_left "" || {
    echo "$output"
    return 1
  }
}

failed_start() {
  local output code
  output=$(APISERVER_FLAGS=--no-such-flag "$cluster" up 2>&1) && code=0 || code=$?
  expect "exit code" "$code" 1 && grep -q "kube-apiserver ended" <<<"$output" && grep -q "unknown flag: --no-such-flag" <<<"$output" &&
    grep -q no-such-flag "$work/out/log/kube-apiserver.log" && nothing_left "" || {
    echo "$output"
    return 1
  }
}

killed_start_then_down() {
  local processes
  half_started || return 1
  processes=$(node_processes)
  (($(wc -l <<<"$processes") > 5)) || {
    echo "too few processes to prove anything: $processes"
    return 1
  }
  "$cluster" down && nothing_left "$processes"
}

killed_start_then_up() {
  half_started || return 1
  node_processes >"$work/killed-processes"
  "$cluster" up || return 1
  [[ -z $(survivors <"$work/killed-processes") ]] || {
    echo "the killed start still runs beside the new one"
    return 1
  }
  expect "status" "$("$cluster" status)" "running (KUBECONFIG=$KUBECONFIG)"
}

second_up() {
  local before
  before=$(node_processes | head -n 1)
  rm -f "$KUBECONFIG"
  "$cluster" up | grep -q "already running" || return 1
  expect "the node" "$(node_processes | head -n 1)" "$before" && expect "nodes" "$(kubectl get nodes -o name)" node/node-1
}

down_during_up() {
  local pid code
  "$cluster" up >"$work/interrupted.out" 2>&1 &
  pid=$!
  eventually 30 test -s "$state/pid/node" || return 1
  "$cluster" down || return 1
  wait "$pid" && code=0 || code=$?
  expect "exit code of the ended start" "$code" 143 && expect "status" "$("$cluster" status)" stopped && nothing_left ""
}

two_ups_at_once() {
  local first second
  "$cluster" up >"$work/first.out" 2>&1 &
  first=$!
  "$cluster" up >"$work/second.out" 2>&1 &
  second=$!
  wait "$first" && wait "$second" || {
    cat "$work"/{first,second}.out
    return 1
  }
  expect "starts" "$(cat "$work"/{first,second}.out | grep -c 'is running (')" 1 &&
    expect "found running" "$(cat "$work"/{first,second}.out | grep -c 'already running')" 1
}

a_dead_component_ends_it() {
  local pid status
  pid=$("$cluster" in pgrep -x kube-scheduler) && "$cluster" in kill -KILL "$pid" || return 1
  eventually 10 bash -c "! '$cluster' status" || {
    echo "status still says: $("$cluster" status)"
    return 1
  }
  status=$("$cluster" status)
  [[ $status == "stopped (kube-scheduler ended"* ]] || {
    echo "status: $status"
    return 1
  }
  "$cluster" up | grep -q 'is running ('
}

stop_leaves_nothing() {
  local processes
  processes=$(node_processes)
  (($(wc -l <<<"$processes") > 10)) || {
    echo "too few processes to prove anything: $processes"
    return 1
  }
  "$cluster" down && nothing_left "$processes" && expect "status" "$("$cluster" status)" stopped &&
    test ! -e "$KUBECONFIG" && test -s "$work/out/log/kubelet.log"
}
