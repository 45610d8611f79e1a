#!/bin/sh
# What CI does for a merge request: checks the manifests, plans them, writes the comment to OUT. Usage: review.sh FROM TO OUT.
#   MANIFESTS  the folder of manifests in the repository, "." for all of it
#   SNAPSHOT   a look at the cluster: a file, or empty: then it is fetched from the daemon
#   DROVER_SERVER, DROVER_TOKEN, CLUSTER   the daemon, its token for readers, the PveCluster; only for fetching
# Exit codes: 0 fine (also when the plan has changes or something is blocked: that is for people to read), 1 broken manifests.
set -eu

from=$1
to=$2
out=$3
: "${MANIFESTS:=.}" "${CLUSTER:=default}" "${SNAPSHOT:=}"

if [ -z "$SNAPSHOT" ]; then
	SNAPSHOT=$(mktemp --suffix=.json)
	drover snapshot "$SNAPSHOT" --cluster "$CLUSTER"
fi
broken=0
drover validate --quiet "$MANIFESTS" || broken=1
code=0
drover plan "$MANIFESTS" --against "$SNAPSHOT" --from "$from" --to "$to" -o markdown >"$out" || code=$?
case $code in
0 | 2 | 3) exit $broken ;;
*)
	[ -s "$out" ] || printf '<!-- drover-review -->\n### Drover could not plan this; the log of the job says why\n' >"$out"
	exit 1
	;;
esac
