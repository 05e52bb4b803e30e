# shellcheck shell=bash

install_packages() {
  local -a wanted missing
  mapfile -t wanted < <(sed -E 's/[[:space:]]*#.*//; /^$/d' "$source_dir/packages.txt")
  command -v dpkg-query >/dev/null || {
    complain "not a Debian system; install the equivalents of: ${wanted[*]}"
    return 1
  }
  mapfile -t missing < <(printf '%s\n' "${wanted[@]}" |
    grep -vxFf <(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null | sed -n 's/^installed //p'))
  ((${#missing[@]})) || return 0
  ((EUID == 0)) || {
    complain "missing packages, run this as root: ${missing[*]}"
    return 1
  }
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && without_services apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# A package that brings a service must not start it on this machine: Debian asks this file, and 101 is no.
without_services() ( # command...
  policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  "$@"
)
