# shellcheck shell=bash
# Sourced by the scripts beside it: builds an image without a daemon and writes it as a docker-archive.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
OUT=$ROOT/target/images

die() { echo "$(basename "$0"): $*" >&2; exit 1; }

# need PROGRAM REMEDY
need() { command -v "$1" > /dev/null || die "the program '$1' is not there: $2"; }

# digest FOLDER FILE: one hash of the paths, modes and contents of the folder, and of the file
digest() {
  { (cd "$1" && find . -type f -printf '%m %p\n' | LC_ALL=C sort && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
    sha256sum < "$2"; } | sha256sum | cut -c1-12
}

# up_to_date NAME STAMP: the archive was built from the same inputs
up_to_date() { [ -f "$OUT/$1.tar" ] && [ "$(cat "$OUT/$1.stamp" 2> /dev/null)" = "$2" ]; }

# build_archive NAME STAMP REFERENCE CONTEXT CONTAINERFILE [BUILDAH-BUILD-OPTION...]
# The storage is under target/, so that nothing outside the tree changes; vfs and chroot need no kernel features.
build_archive() {
  local name=$1 stamp=$2 reference=$3 context=$4 containerfile=$5; shift 5
  need buildah "install the package buildah"
  local store=(--root "$ROOT/target/buildah/$name/root" --runroot "$ROOT/target/buildah/$name/run" --storage-driver vfs)
  mkdir -p "$OUT"
  # Equal inputs give an equal image: no dates, and no label with buildah's version.
  buildah "${store[@]}" build --quiet --isolation chroot --timestamp 0 --identity-label=false --pull-never \
    --file "$containerfile" --tag "$reference" "$@" "$context" > /dev/null
  # buildah will not write over an archive, and a half-written one must never look finished.
  rm -f "$OUT/$name.tar.new" "$OUT/$name.stamp"
  buildah "${store[@]}" push --quiet "$reference" "docker-archive:$OUT/$name.tar.new:$reference"
  buildah "${store[@]}" rmi --all --force > /dev/null
  mv "$OUT/$name.tar.new" "$OUT/$name.tar"
  echo "$stamp" > "$OUT/$name.stamp"
}

# say_image NAME REFERENCE
say_image() { echo "$2: target/images/$1.tar, $(du -h --apparent-size "$OUT/$1.tar" | cut -f1)"; }
