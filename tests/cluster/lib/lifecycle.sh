# shellcheck shell=bash
# The lock, the record of what was started, and stopping it.
# A record is $state/pid/NAME with "PID STARTTIME": a pid alone may by now be somebody else's.

start_time() { # pid: field 22; the name in field 2 may hold spaces and brackets
  local line
  read -r line 2>/dev/null <"/proc/$1/stat" || return 1
  line=${line##*) }
  # shellcheck disable=SC2086
  set -- $line
  [[ $1 != Z ]] && echo "${20}"
}

is_same_process() { [[ $(start_time "$1") == "$2" ]]; }

recorded_pid() { # name: its pid, if it is alive and still the process we started
  local pid started
  read -r pid started 2>/dev/null <"$state/pid/$1" || return 1
  is_same_process "$pid" "$started" && echo "$pid"
}

take_lock() { # command: waits until no other command changes the cluster; down ends an up instead of waiting for it
  local holder holder_started holder_command
  mkdir -p "$(dirname "$state")"
  while :; do
    exec 9>>"$state.lock"
    if ! flock -n 9; then
      read -r holder holder_started holder_command <"$state.lock" || true
      if [[ $1 == down && ${holder_command:-} == up ]] && is_same_process "$holder" "$holder_started"; then
        say "ending the start in progress"
        kill -TERM "$holder" 2>/dev/null || true
      else
        say "waiting for another cluster command"
      fi
      flock -w 3600 9 || {
        complain "another cluster command still holds $state.lock after an hour"
        exit 1
      }
    fi
    # The holder before us may have removed the file: then this lock guards nothing.
    [[ $state.lock -ef /proc/self/fd/9 ]] && break
  done
  echo "$$ $(start_time $$) $1" >"$state.lock"
}

drop_lock() {
  rm -f "$state.lock"
  exec 9>&-
}

launching='' # a daemon that may not have written its record yet

# Starts a daemon in its own session. It writes its own record before it lets go of the lock, so that even
# when this script is killed right here, the next command (which needs the lock) knows the daemon.
launch() { # name command...
  local name=$1
  shift
  launching=$name
  mkdir -p "$state/pid" "$logs"
  (
    pid=$BASHPID # before the substitution, which has its own
    echo "$pid $(start_time "$pid")" >"$state/pid/$name"
    exec setsid "$@" 9>&- </dev/null >>"$logs/$name.log" 2>&1
  ) &
  disown # else bash reports it as killed when it is stopped
  eventually 10 test -s "$state/pid/$name"
  launching=
}

in_group() { # pgid: is any of that process group left?
  local stat line
  for stat in /proc/[0-9]*/stat; do
    read -r line 2>/dev/null <"$stat" || continue
    line=${line##*) }
    # shellcheck disable=SC2086
    set -- "$1" $line
    [[ $4 == "$1" && $2 != Z ]] && return 0
  done
  return 1
}

eventually() { # seconds command...: polls
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.05
  done
}

group_is_gone() { ! in_group "$1"; }

cgroup_branches() {
  local hierarchy
  for hierarchy in $(cgroup_hierarchies); do
    [[ ! -d $hierarchy/$cgroup ]] || echo "$hierarchy/$cgroup"
  done
}

disable_controllers() { # those that the start enabled at the root of cgroup v2
  local controller
  [[ -s $state/enabled-controllers ]] || return 0
  while read -r controller; do
    echo "-$controller" 2>/dev/null >/sys/fs/cgroup/cgroup.subtree_control || true
  done <"$state/enabled-controllers"
}

cgroups_are_gone() {
  local branch
  for branch in $(cgroup_branches); do
    find "$branch" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
  [[ -z $(cgroup_branches) ]]
}

# The node's pid namespace dies with its first process, and everything in it with that. Safe to repeat.
stop_everything() {
  local record pid
  [[ -z $launching ]] || eventually 2 test -s "$state/pid/$launching" || true
  for record in "$state"/pid/*; do
    pid=$(recorded_pid "${record##*/}") || continue
    kill -KILL -- "-$pid" "$pid" 2>/dev/null || true
    eventually 30 group_is_gone "$pid" || {
      complain "process group $pid (${record##*/}) does not end; its state: $(ps -o pid,stat,wchan:20,args -g "$pid" | tail -n +2)"
      return 1
    }
  done
  eventually 30 cgroups_are_gone || {
    complain "cgroups are still in use: $(cgroup_branches | tr '\n' ' ')"
    return 1
  }
  disable_controllers
  [[ ! -s $state/published ]] || rm -f "$(<"$state/published")"
  # Only what a start of ours made, whatever MEMLOCK_CLUSTER_STATE says.
  [[ ! -d $state/pid ]] || rm -rf --one-file-system "$state"
}

cluster_status() { # prints one line; 0 running, 3 not
  local node relay
  node=$(recorded_pid node) || true
  relay=$(recorded_pid relay) || true
  if [[ -n $node && -n $relay && -e $state/ready ]]; then
    say "running (KUBECONFIG=$kubeconfig)"
  elif [[ -n $node && ! -e $state/ready ]]; then
    say "stopped (a start is in progress or was killed)"
    return 3
  elif [[ -s $state/failed ]]; then
    say "stopped ($(<"$state/failed"); logs in $logs)"
    return 3
  elif [[ -e $state/ready ]]; then
    say "stopped (it died; logs in $logs)"
    return 3
  else
    say "stopped"
    return 3
  fi
}
