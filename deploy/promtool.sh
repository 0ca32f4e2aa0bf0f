#!/bin/sh
# Put promtool into a folder, out of Debian's package (promtool, or the prometheus of older ones): the
# program alone, so nothing is installed and no service starts. Needs no root, but apt.
#
#   deploy/promtool.sh FOLDER
set -eu

folder=$(CDPATH='' cd -- "${1:?"usage: promtool.sh FOLDER"}" && pwd)
! PATH="$folder:$PATH" command -v promtool >/dev/null || exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
cd "$work"

# Lists of its own: the machine's may be old, and are root's.
mkdir -p lists/partial cache/archives/partial
# own COMMAND...: apt-get, that keeps what it knows here.
own() {
  apt-get -qq -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" \
    -o APT::Sandbox::User=root -o Acquire::Retries=1 -o Acquire::http::Timeout=10 "$@"
}
own update
own download promtool 2>/dev/null || own download prometheus
dpkg-deb --fsys-tarfile prom*_*.deb | tar -xf - ./usr/bin/promtool
mv usr/bin/promtool "$folder/promtool"
