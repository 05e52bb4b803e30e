# shellcheck shell=bash
# Compiles the binaries from the modules pinned in go/, and makes the sandbox image.
# Sets: bin, images. Everything lands in the cache, in a folder named by what goes into it.

components=("$kubernetes" etcd containerd cni helm runc)

module_version() { # component module
  awk -v module="$2" '$1 == module { print $2; exit }' "$source_dir/go/$1/go.mod"
}

tools_of() { # component: the packages on the tool lines of its go.mod
  awk '$1 == "tool" && $2 != "(" { print $2 }  /^tool \(/ { inside = 1; next }  /^\)/ { inside = 0 }  inside { print $1 }' \
    "$source_dir/go/$1/go.mod"
}

binary_of() { # package: where its binary goes, under bin
  case $1 in
    go.etcd.io/etcd/server/v3) echo etcd ;;
    github.com/containernetworking/*) echo "cni/${1##*/}" ;;
    *) echo "${1##*/}" ;;
  esac
}

# One argument a line: environment first, then flags. Part of the cache key.
build_arguments() { # component
  local stamp="-s -w" version package
  case $1 in
    kubernetes*)
      # Without these the server calls itself v0.0.0, and clients refuse the skew.
      version=$(module_version "$1" k8s.io/kubernetes)
      for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        stamp+=" -X $package.gitVersion=$version -X $package.gitMajor=1"
        stamp+=" -X $package.gitMinor=$(cut -d. -f2 <<<"$version") -X $package.gitTreeState=clean"
      done
      ;;
    containerd) stamp+=" -X github.com/containerd/containerd/v2/version.Version=$(module_version containerd github.com/containerd/containerd/v2)" ;;
    helm) stamp+=" -X helm.sh/helm/v4/internal/version.version=$(module_version helm helm.sh/helm/v4)" ;;
  esac
  if [[ $1 == runc ]]; then echo CGO_ENABLED=1; else echo CGO_ENABLED=0; fi # libseccomp needs cgo
  printf '%s\n' GOFLAGS= GOWORK=off go build -mod=readonly -trimpath -ldflags "$stamp"
  case $1 in
    runc) printf '%s\n' -tags seccomp ;;
    containerd) printf '%s\n' -tags "no_btrfs no_devmapper no_zfs" ;; # no C libraries
  esac
}

locate_build() {
  local component key
  key=$({
    uname -m
    for component in "${components[@]}"; do
      cat "$source_dir/go/$component"/go.{mod,sum}
      build_arguments "$component"
    done
    cat "$source_dir/config/pause.Containerfile"
  } | sha256sum | cut -c1-16)
  bin=$cache/$key/bin
  images=$cache/$key/images
}

missing_steps() { # one line a step: component package, or: image pause
  local component package
  for component in "${components[@]}"; do
    for package in $(tools_of "$component"); do
      [[ -x $bin/$(binary_of "$package") ]] || echo "$component $package"
    done
  done
  [[ -f $images/pause.tar ]] || echo "image pause"
}

compile() { # component package partial
  local -a arguments
  mapfile -t arguments < <(build_arguments "$1")
  cd "$source_dir/go/$1" && env "${arguments[@]}" -o "$3" "$2"
}

make_pause_image() { # - - partial
  local work=$cache/buildah.$$ storage
  storage=(buildah --storage-driver vfs --root "$work/root" --runroot "$work/run")
  mkdir -p "$work/context" && cp /usr/bin/catatonit "$work/context/pause" &&
    "${storage[@]}" bud --isolation chroot --timestamp 0 -t "$pause_image" \
      -f "$source_dir/config/pause.Containerfile" "$work/context" &&
    "${storage[@]}" push "$pause_image" "docker-archive:$3:$pause_image"
  local result=$?
  rm -rf "$work"
  return "$result"
}

# In its own session, so that an interrupt ends the compilers too; without the locks (8: build, 9: cluster).
run_step() { # function arguments...
  export -f compile make_pause_image build_arguments module_version
  export source_dir cache pause_image
  setsid bash -c '"$@"' step "$@" 8>&- 9>&- </dev/null >"$step_log" 2>&1 &
  step_pid=$!
  # Within a start: the record lets the next command end it when this script is killed.
  [[ ! -d $state/pid ]] || echo "$step_pid $(start_time "$step_pid")" >"$state/pid/build"
  local result=0
  wait "$step_pid" || result=$?
  step_pid=
  rm -f "$state/pid/build"
  return "$result"
}

step_pid='' step_log=''
cancel_build() {
  [[ -n $step_pid ]] || return 0
  kill -KILL -- "-$step_pid" 2>/dev/null || true
  wait "$step_pid" 2>/dev/null || true # else bash reports it
  rm -f "$step_log"
}

build() {
  local steps step component package target partial started total n=0
  mapfile -t steps < <(missing_steps)
  total=${#steps[@]}
  ((total)) || return 0
  mkdir -p "$bin/cni" "$images"
  exec 8<"$cache"
  if ! flock -n 8; then
    say "waiting for another build"
    setsid flock 8 9>&- & # in the background, so that a signal is not kept waiting
    step_pid=$!
    wait "$step_pid"
    step_pid=
  fi
  rm -f "$bin"/.partial.* "$bin"/cni/.partial.* "$images"/.partial.*
  step_log=$bin/.partial.log
  for step in "${steps[@]}"; do
    read -r component package <<<"$step"
    n=$((n + 1)) started=$SECONDS
    if [[ $component == image ]]; then target=$images/pause.tar; else target=$bin/$(binary_of "$package"); fi
    [[ -e $target ]] && continue
    partial=$(dirname "$target")/.partial.$(basename "$target")
    printf '[%2d/%d] %-24s ' "$n" "$total" "$(basename "$target")"
    if [[ $component == image ]]; then set -- make_pause_image; else set -- compile; fi
    if ! run_step "$1" "$component" "$package" "$partial"; then
      say "FAILED after $((SECONDS - started)) s"
      tail -n 20 "$step_log" >&2
      complain "building $(basename "$target") failed; fix the cause above and run it again, finished steps are kept"
      rm -f "$step_log"
      return 1
    fi
    # A rename is all or nothing: an interrupted build never leaves half a binary.
    mv "$partial" "$target"
    say "$((SECONDS - started)) s"
  done
  rm -f "$step_log"
  exec 8<&-
}
