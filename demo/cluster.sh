# shellcheck shell=bash
# Sourced by run and down: which cluster the demo uses, and the names in it.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034  # read by the scripts that source this
SYSTEM=memlock-system RELEASE=memlock DEMO=memlock-demo

# need_program NAME: for an existing cluster, where the demo brings no programs of its own
need_program() {
  command -v "$1" > /dev/null || {
    echo "demo: the program '$1' is not on PATH, and KUBECONFIG_DEMO asks for an existing cluster: install $1, or unset KUBECONFIG_DEMO to use the demo's own cluster" >&2
    exit 1
  }
}

local_cluster() { [ -z "${KUBECONFIG_DEMO:-}" ]; }

use_cluster() {
  if local_cluster; then
    KUBECONFIG=${MEMLOCK_CLUSTER_OUT:-$ROOT/target/cluster}/kubeconfig
    PATH=$("$ROOT/tests/cluster/cluster" path):$PATH
  else
    need_program kubectl
    need_program helm
    KUBECONFIG=$KUBECONFIG_DEMO
  fi
  export KUBECONFIG PATH
}
