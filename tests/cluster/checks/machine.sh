# shellcheck shell=bash
# What a machine shows of a cluster: before a start, while it runs, after the stop.

# Other clusters and services on this machine come and go meanwhile: their cgroups are not ours to judge.
other_clusters() {
  local pods name
  find /sys/fs/cgroup -mindepth 2 -maxdepth 3 -name kubepods | while read -r pods; do
    name=$(basename "$(dirname "$pods")")
    [[ $name != *-* || $name == var-lib-memlock-cluster-check ]] || echo "$name"
  done | sort -u | sed 's/^/|/' | tr -d '\n'
}
surroundings() {
  echo "mounts:" && cut -d' ' -f5- /proc/self/mountinfo | sort
  echo "interfaces:" && sed -n 's/^ *\([^:]*\):.*/\1/p' /proc/net/dev | sort
  echo "cgroups:" && find /sys/fs/cgroup -type d | grep -vE "/(system.slice|user.slice|init.scope$(other_clusters))(/|\$)" | sort
  echo "folders:" && find /run/containerd /run/netns /run/nri /opt/containerd /opt/nri /usr/libexec/kubernetes /var/lib/cni \
    /var/lib/kubelet /var/lib/nri /var/log/pods /var/log/containers "$state" "$state.lock" 2>/dev/null | sort
  echo "kernel settings:" && grep -H . /proc/sys/vm/{overcommit_memory,panic_on_oom} /proc/sys/kernel/{panic,panic_on_oops} \
    /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/keys/root_max*
  echo "relays:" && pgrep -fa "socat TCP-LISTEN:$MEMLOCK_CLUSTER_PORT"
  true
}

node_processes() { # "PID STARTTIME" of everything in the node's pid namespace, and of what started it
  local init namespace pid
  cat "$state"/pid/* 2>/dev/null
  init=$(cut -d' ' -f1 "$state/pid/node" 2>/dev/null) && init=$(cut -d' ' -f1 "/proc/$init/task/$init/children" 2>/dev/null)
  [[ -n ${init:-} ]] && namespace=$(readlink "/proc/$init/ns/pid") || return 0
  for pid in /proc/[0-9]*; do
    [[ $(readlink "$pid/ns/pid" 2>/dev/null) != "$namespace" ]] || echo "${pid#/proc/} $(sed 's/.*) //' "$pid/stat" 2>/dev/null | cut -d' ' -f20)"
  done
}

survivors() { # of a list of node_processes
  local pid started
  while read -r pid started; do
    [[ $(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d' ' -f1,20) != [!Z]" $started" ]] || ps -o pid,stat,args -p "$pid" | tail -n 1
  done
}

nothing_left() { # the processes that were there
  local alive
  alive=$(survivors <<<"$1")
  [[ -z $alive ]] || {
    echo "still running:"
    echo "$alive"
    return 1
  }
  # The kernel takes its network namespaces apart a moment after the last process.
  eventually 5 surroundings_are_as_before || {
    echo "not as before the start:"
    diff "$work/before" <(surroundings)
    return 1
  }
}
surroundings_are_as_before() { diff -q "$work/before" <(surroundings); }

half_started() { # starts, and kills the start with SIGKILL when the node is half way
  local pid
  "$cluster" up >"$work/killed.out" 2>&1 &
  pid=$!
  eventually 30 test -S "$state/api.sock" || {
    echo "the start never got half way: $(<"$work/killed.out")"
    return 1
  }
  kill -KILL "$pid"
  wait "$pid" 2>/dev/null
  [[ ! -e $state/ready ]] || {
    echo "the start was over before it was killed"
    return 1
  }
}
