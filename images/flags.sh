# shellcheck shell=bash
# Sourced by images/compile and agent/build, in the root of the sources: the compiler flags that keep the names of this
# machine's folders out of programs.

_root=$(pwd -P)
_cargo=$(realpath "${CARGO_HOME:-$HOME/.cargo}")
_build=$(realpath -m "${CARGO_TARGET_DIR:-target}")
# The build folder last: it may be in the sources, and the last that fits is taken. The build script of the one C library
# does the same for C.
# shellcheck disable=SC2034  # read by the scripts that source this
REMAPPED=("--remap-path-prefix=$_root=/sources" "--remap-path-prefix=$_cargo=/cargo" "--remap-path-prefix=$_build=/build")

# encoded FLAG...: for CARGO_ENCODED_RUSTFLAGS, where a folder's name may hold blanks
encoded() { local IFS=$'\x1f'; echo "$*"; }
