# shellcheck shell=bash
# The node as seen from outside: start it, wait for it, enter it, load images into it.

require_running() {
  local status
  status=$(cluster_status) || {
    complain "the local cluster is not running: $status. Start it: $source_dir/cluster up"
    return 1
  }
}

node_init_pid() { # the first process of the node's pid namespace, as the machine sees it
  local unshare_pid children
  unshare_pid=$(recorded_pid node) || return 1
  read -r children <"/proc/$unshare_pid/task/$unshare_pid/children" || true
  [[ -n ${children:-} ]] && echo "${children%% *}"
}

enter_node() { # command...
  local init
  init=$(node_init_pid) || {
    complain "the local cluster is not running"
    return 1
  }
  PATH=$bin:$PATH nsenter --target "$init" --net --pid --mount --uts --ipc -- env --chdir="$PWD" "$@"
}

require_component() { # name
  [[ -e $state/etc/$1.flags ]] || {
    complain "no component is called $1; there are: $(cd "$state/etc" && printf '%s\n' *.flags | sed 's/\.flags$//' | tr '\n' ' ')"
    return 1
  }
}

stop_component() { # name: it is gone, and the node lives on without it
  mkdir -p "$state/stopped"
  touch "$state/stopped/$1"
  eventually 10 test -e "$state/stopped/$1.gone" || {
    complain "$1 does not end; see $logs/$1.log"
    return 1
  }
}

start_component() { # name: it runs, and the API answers unless its etcd is stopped
  rm -f "$state/stopped/$1"
  eventually 10 test ! -e "$state/stopped/$1.gone" || {
    complain "$1 was not started; see $logs/$1.log"
    return 1
  }
  [[ -e $state/stopped/etcd || -e $state/stopped/kube-apiserver ]] || eventually 60 api_answers || {
    complain "the API does not answer; see $logs/kube-apiserver.log"
    return 1
  }
}

load_image() { # archive
  local output
  # Through stdin: the node does not see every folder of the machine.
  output=$(enter_node ctr --namespace k8s.io images import - <"$1" 2>&1) || {
    complain "importing $1 failed: $(tail -n 3 <<<"$output")"
    return 1
  }
  sed -nE 's/^(\S+)\s+saved\s*$/loaded \1/p' <<<"$output"
}

prepare_state() {
  local file
  mkdir -p "$state" "$logs" "$state"/etc/cni "$state"/{kubelet,static,cni,nri,containerd/{root,state,temp}}
  chmod 711 "$state" # pods with `hostUsers: false` walk to their root file system as an ordinary user
  # In the background, where -e still holds and a signal is not kept waiting.
  make_pki >"$logs/certificates.log" 2>&1 &
  wait $! || {
    fail_start certificates
    return 1
  }
  render "$source_dir/config/containerd.toml" >"$state/etc/containerd.toml"
  render "$source_dir/config/kubelet.yaml" >"$state/etc/kubelet.yaml"
  render "$source_dir/config/cni.conflist" >"$state/etc/cni/10-pods.conflist"
  render "$source_dir/config/audit.yaml" >"$state/etc/audit.yaml"
  for file in "$source_dir"/config/flags/*; do
    render "$file" | sed -E 's/[[:space:]]+#.*//' >"$state/etc/${file##*/}.flags"
  done
  for file in "$source_dir/config/$kubernetes"/*; do # what one version alone needs
    [[ ! -e $file ]] || render "$file" | sed -E 's/[[:space:]]+#.*//' >>"$state/etc/${file##*/}.flags"
  done
  # shellcheck disable=SC2086 # several flags in one variable
  [[ -z ${APISERVER_FLAGS:-} ]] || printf '%s\n' $APISERVER_FLAGS >>"$state/etc/kube-apiserver.flags"
}

fail_start() { # component [why]
  complain "the start failed: ${2:-$1 failed}"
  if [[ -s $logs/$1.log ]]; then
    say "the last lines of $logs/$1.log:" >&2
    tail -n 20 "$logs/$1.log" | cut -c1-400 >&2
  fi
}

start_node() {
  local settings
  settings=(PATH="$bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" HOME="$state" TMPDIR="$state/containerd/temp"
    MEMLOCK_CACHE="${cache%/cluster}" MEMLOCK_CLUSTER_STATE="$state" MEMLOCK_CLUSTER_OUT="$out"
    bin="$bin" images="$images")
  # A clean environment: a proxy setting would reach the kubelet. --kill-child: nothing outlives unshare.
  launch node env -i "${settings[@]}" unshare --net --pid --mount --uts --ipc --fork --kill-child=SIGKILL --mount-proc \
    "$source_dir/node"
  launch relay socat "TCP-LISTEN:$host_port,bind=127.0.0.1,fork,reuseaddr,nodelay" "UNIX-CONNECT:$state/api.sock"
}

node_is_decided() { # ready, failed, or dead
  [[ -e $state/ready || -e $state/failed ]] || ! recorded_pid node >/dev/null || ! recorded_pid relay >/dev/null
}

api_answers() { "$bin/kubectl" --kubeconfig "$kubeconfig" --request-timeout=5s get --raw /readyz >/dev/null 2>&1; }

await_node() {
  local component why
  eventually 900 node_is_decided || true
  if [[ -s $state/failed ]]; then
    read -r component why <"$state/failed"
    fail_start "$component" "$component $why"
  elif ! recorded_pid node >/dev/null; then
    fail_start node "the node ended early"
  elif ! recorded_pid relay >/dev/null; then
    fail_start relay "the relay on port $host_port ended early"
  elif ! eventually 30 api_answers; then
    fail_start relay "the API does not answer on 127.0.0.1:$host_port"
  else
    return 0
  fi
  return 1
}
