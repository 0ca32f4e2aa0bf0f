#!/bin/sh
# Keep what must not be lost: the anthology and the models. While everything runs, in one step: a
# backup is there whole, or not at all.
#
#   deploy/backup.sh FOLDER        makes FOLDER/yuefu-YYYYMMDDTHHMMSSZ, and says so
#
# It reads YUEFU_DATABASE_URL (or …_FILE), YUEFU_DATA and YUEFU_MODELS as the processes do. Of its
# backups in FOLDER the newest KEEP (14) stay: they hold what people who were forgotten since had
# asked to be deleted. The key of the pseudonyms is not in it: keep that apart from it.
#
# Where the database or the models are in a container, say by what commands they are read:
#   PG_DUMP='docker compose … exec -T postgres pg_dump --username yuefu yuefu'
#   MODELS_OUT='docker compose … run --rm --no-deps -T --entrypoint tar engine -C /models -cf - .'
# MODELS_OUT=true leaves the models out: a bucket has versions of its own.
#
# Needs GNU tar, a Python 3 (PYTHON), and for PostgreSQL a pg_dump that is as new as the server.
set -eu

folder=${1:?"usage: backup.sh FOLDER"}
. "$(dirname -- "$0")/places.sh"

umask 077
mkdir -p "$folder"
name=yuefu-$(date -u +%Y%m%dT%H%M%SZ)
new=$folder/.$name
mkdir "$new"
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM

# in_models KIND: the files or folders right in the models' one, but for those that are in the making.
in_models() { (cd "$models" && find . -maxdepth 1 -type "$1" -name '[!.]*'); }

if [ -n "${PG_DUMP:-}" ]; then
  $PG_DUMP --format=custom >"$new/anthology.dump"
elif [ -n "$address" ]; then
  pg_dump --format=custom --dbname "$address" --file "$new/anthology.dump"
else
  "$python" -c '
import sqlite3, sys
from contextlib import closing
with closing(sqlite3.connect("file:" + sys.argv[1] + "?mode=ro", uri=True)) as old:
    with closing(sqlite3.connect(sys.argv[2])) as new:
        old.backup(new)
        assert new.execute("PRAGMA integrity_check").fetchone() == ("ok",)
' "$data/anthology.sqlite3" "$new/anthology.sqlite3"
fi

if [ -n "${MODELS_OUT:-}" ]; then
  $MODELS_OUT >"$new/models.tar"
elif [ -d "$models" ]; then
  # Who serves first, then the checkpoints: so none is missing that somebody promotes meanwhile.
  in_models f | tar -C "$models" -T - -cf "$new/models.tar"
  in_models d | tar -C "$models" -T - -rf "$new/models.tar"
fi

(cd "$new" && sha256sum -- * >SHA256SUMS)
sync
mv "$new" "$folder/$name"
echo "$folder/$name"

# By name, and so by age.
find "$folder" -maxdepth 1 -type d -name 'yuefu-????????T??????Z' | sort -r | tail -n "+$((${KEEP:-14} + 1))" |
  while IFS= read -r old; do rm -rf "$old"; done
