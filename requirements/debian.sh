#!/bin/sh
# Brings the programs that the tests drive and Python's packages don't hold: unpacked from Debian's packages into .venv/debian (no root, no
# service started), or installed where a program needs the libraries around it. What can't be had is said; its tests are skipped.
set -u
into=$(realpath -m "$1/debian")
mkdir -p "$into/cache"
missing() { ! command -v "$1" >/dev/null 2>&1 && [ ! -x "$into/usr/bin/$1" ]; }
# Lists of one's own: the machine's may be empty, and only root may fill those.
own="-qq -o Dir::State::lists=$into/cache/lists -o Dir::Cache=$into/cache -o APT::Sandbox::User="
update() { [ -d "$into/cache/lists/partial" ] || { mkdir -p "$into/cache/lists/partial" && apt-get $own update; }; }
unpack() { # PROGRAM PACKAGE
  missing "$1" || return 0
  { update && (cd "$into/cache" && apt-get $own download "$2" && dpkg -x "$2"_*.deb "$into"); } >"$into/$2.log" 2>&1
}
install() { # PROGRAM PACKAGE
  missing "$1" || return 0
  [ "$(id -u)" = 0 ] && { update && DEBIAN_FRONTEND=noninteractive apt-get $own install -y --no-install-recommends "$2"; } >"$into/$2.log" 2>&1
}
if command -v apt-get >/dev/null 2>&1; then
  unpack promtool prometheus
  unpack kubectl kubernetes-client
  install gpg gnupg
  install ssh-keygen openssh-client
  install chromium chromium
fi
for program in promtool kubectl gpg ssh-keygen chromium; do
  missing $program && echo "$program is not installed and could not be fetched ($into/*.log): the tests that drive it are skipped" >&2
done
rm -rf "$into/cache"
exit 0
