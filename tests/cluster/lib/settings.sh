# shellcheck shell=bash disable=SC2034
# Every place, name and number of the local cluster. Sourced by all the others.
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
repo=$(cd "$source_dir/../.." && pwd)

cache=${MEMLOCK_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/memlock-operator}/cluster
state=${MEMLOCK_CLUSTER_STATE:-/var/lib/memlock-cluster}
out=${MEMLOCK_CLUSTER_OUT:-$repo/target/cluster}
host_port=${MEMLOCK_CLUSTER_PORT:-16443}
kubeconfig=$out/kubeconfig
pki=$state/pki
logs=$out/log

node_name=node-1
node_address=10.77.0.1
pod_cidr=10.88.0.0/24
service_cidr=10.96.0.0/16
service_address=10.96.0.1 # the first of the range: the `kubernetes` Service
pause_image=localhost/pause:1
# Folder of go/ that pins the version of Kubernetes; the others are `kubernetes-1.N`.
kubernetes=kubernetes${MEMLOCK_KUBERNETES:+-$MEMLOCK_KUBERNETES}
api_port=6443

# The whole path, so that two clusters with different state folders never share a cgroup.
cgroup=${state#/}
cgroup=${cgroup//\//-}

cgroup_hierarchies() { # one with v2; with v1 and hybrids one a controller
  if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then echo /sys/fs/cgroup; else printf '%s\n' /sys/fs/cgroup/*; fi
}

seconds_limit=120 # for any one condition; a loaded two-core machine needs about 10

say() { printf '%s\n' "$*"; }
complain() { printf 'cluster: %s\n' "$*" >&2; }

# Replaces @name@ by the shell variable of that name.
render() { # template
  local text name
  text=$(<"$1")
  for name in state bin logs pki node_name node_address pod_cidr service_cidr pause_image cgroup api_port \
    server user ca_data crt_data key_data; do
    [[ -v $name ]] && text=${text//"@$name@"/${!name}}
  done
  printf '%s\n' "$text"
}
