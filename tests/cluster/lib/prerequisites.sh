# shellcheck shell=bash
# Names everything that is missing, with its remedy, before anything starts.

lacking=()
lack() { lacking+=("$1"$'\n'"      remedy: $2"); }

need_commands() { # command...
  local command missing=()
  for command in "$@"; do command -v "$command" >/dev/null || missing+=("$command"); done
  ((${#missing[@]} == 0)) || lack "missing commands: ${missing[*]}" "$source_dir/cluster packages"
}

newest() { sort -V | tail -n 1; }

need_go() {
  local needed found
  needed=$(awk '$1 == "go" { print $2 }' "$source_dir"/go/*/go.mod | newest)
  if ! command -v go >/dev/null; then
    lack "Go is not installed" "install Go $needed or newer and put it in PATH"
    return
  fi
  found=$(go -C "$source_dir/go/containerd" env GOVERSION 2>/dev/null) || found=$(go env GOVERSION)
  found=${found#go}
  [[ $(printf '%s\n' "$needed" "$found" | newest) == "$found" ]] ||
    lack "Go $found is too old" "install Go $needed or newer, or set GOTOOLCHAIN=auto"
}

need_to_build() {
  local free
  [[ -n $(missing_steps) ]] || return 0
  need_go
  need_commands gcc pkg-config buildah catatonit
  ! command -v pkg-config >/dev/null || pkg-config --exists libseccomp ||
    lack "the libseccomp headers are missing" "$source_dir/cluster packages"
  mkdir -p "$cache"
  free=$(df --output=avail -B1G "$cache" | tail -n 1)
  ((free >= 8)) || lack "only ${free// /} GiB free for a cold build in $cache" "free 8 GiB, or set MEMLOCK_CACHE"
}

need_namespaces() {
  unshare --net --pid --mount --uts --ipc --fork --mount-proc true 2>/dev/null || {
    lack "cannot create network, pid, mount, uts and ipc namespaces" "run outside a container, or in a privileged one"
    return
  }
  unshare --net ip link add probe0 type bridge 2>/dev/null ||
    lack "the kernel cannot make a network bridge" "modprobe bridge br_netfilter"
  unshare --net ip link add probe0 type veth peer name probe1 2>/dev/null ||
    lack "the kernel cannot make veth pairs" "modprobe veth"
  unshare --net iptables -t nat -A OUTPUT -m comment --comment probe -j ACCEPT 2>/dev/null ||
    lack "iptables cannot use the nat table" "modprobe nf_nat xt_comment, or choose the other of iptables-nft and iptables-legacy"
}

need_state_folder() {
  local probe
  ((${#state} <= 64)) ||
    lack "the path $state is too long for the unix sockets below it" "set MEMLOCK_CLUSTER_STATE to at most 64 characters"
  [[ $state == /* && $state != *[!A-Za-z0-9/._-]* && $state != /run/* && $state != /var/run/* && $state != /var/log/* ]] || {
    lack "the state folder $state will not do" "set MEMLOCK_CLUSTER_STATE to a plain absolute path outside /run and /var/log"
    return
  }
  if [[ ! -d $state/pid && -n $(ls -A "$state" 2>/dev/null) ]]; then
    lack "$state holds something else" "set MEMLOCK_CLUSTER_STATE to a folder that does not exist yet"
    return
  fi
  probe=$state/probe
  mkdir -p "$state/pid" "$probe"/{lower,upper,work,merged}
  unshare --mount mount -t overlay overlay \
    -o "lowerdir=$probe/lower,upperdir=$probe/upper,workdir=$probe/work" "$probe/merged" 2>/dev/null ||
    lack "overlayfs does not work below $(dirname "$state")" "set MEMLOCK_CLUSTER_STATE to a folder on ext4 or xfs; modprobe overlay"
  rm -rf "$probe"
}

need_cgroups() {
  [[ -e /sys/fs/cgroup/cgroup.controllers || -d /sys/fs/cgroup/memory ]] ||
    lack "no cgroups below /sys/fs/cgroup" "mount -t cgroup2 cgroup2 /sys/fs/cgroup"
  ((EUID != 0)) || [[ -w /sys/fs/cgroup ]] || lack "/sys/fs/cgroup is read-only" "run outside a container, or in a privileged one"
}

need_port() {
  if (exec 3<>"/dev/tcp/127.0.0.1/$host_port") 2>/dev/null; then
    lack "port $host_port on 127.0.0.1 is taken" "stop its owner (ss -ltnp 'sport = :$host_port'), or set MEMLOCK_CLUSTER_PORT"
  fi
}

report_lacking() {
  local item
  ((${#lacking[@]})) || return 0
  complain "cannot start, ${#lacking[@]} thing(s) are missing:"
  for item in "${lacking[@]}"; do printf '  - %s\n' "$item" >&2; done
  return 1
}

need_root() { ((EUID == 0)) || lack "not root" "run it with sudo"; }

require_for_build() {
  lacking=()
  need_to_build
  report_lacking
}

require_for_start() {
  lacking=()
  need_root
  need_to_build
  need_commands ip iptables conntrack socat openssl unshare nsenter setsid sysctl
  need_cgroups
  need_port
  if ((EUID == 0)); then
    need_namespaces
    need_state_folder
  fi
  report_lacking
}
