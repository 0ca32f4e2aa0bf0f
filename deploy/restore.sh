#!/bin/sh
# Put a backup back, in the place of what is there. Stop bots, engines and trainer first.
#
#   deploy/restore.sh BACKUP       one of the folders that backup.sh made
#
# It reads the settings that backup.sh does. What a SQLite anthology was before stays beside it, as
# anthology.sqlite3.before-…. A PostgreSQL's schema «public» is replaced whole, in one transaction,
# also by an older release's; make a backup of it before. Checkpoints that the backup does not have
# stay where they are, and nobody writes with them.
#
# Where the database or the models are in a container:
#   PG_RESTORE='docker compose … exec -T postgres pg_restore'
#   PSQL='docker compose … exec -T postgres psql --username yuefu --dbname yuefu'
#   MODELS_IN='docker compose … run --rm --no-deps -T --entrypoint tar engine -C /models -xf -'
#
# Whoever was forgotten since the backup was made is back: /forget again for those who ask.
set -eu

backup=${1:?"usage: restore.sh BACKUP"}
. "$(dirname -- "$0")/places.sh"

# One that is damaged changes nothing.
(cd "$backup" && sha256sum --check --quiet SHA256SUMS)
umask 077

if [ -e "$backup/anthology.dump" ]; then
  if [ -n "${PSQL:-}" ]; then
    in_database() { $PSQL "$@"; }
  else
    : "${address:?"YUEFU_DATABASE_URL is not set, and the backup is of a PostgreSQL"}"
    in_database() { psql --dbname "$address" "$@"; }
  fi
  # What the backup's release does not know of would hold on to what it does: all of it goes first.
  # Without its last line nothing of this is kept.
  came=$({
    echo 'BEGIN; SET LOCAL client_min_messages = warning; DROP SCHEMA public CASCADE; CREATE SCHEMA public;'
    ${PG_RESTORE:-pg_restore} --no-owner --file - <"$backup/anthology.dump" &&
      printf '%s\n' 'COMMIT;' '\echo all'
  } | in_database --no-psqlrc --quiet --output /dev/null --set ON_ERROR_STOP=1)
  [ "$came" = all ] || { echo "the backup could not be read: the database is as it was" >&2; exit 1; }
else
  [ -z "$url" ] || { echo "YUEFU_DATABASE_URL is set, and the backup is of a SQLite" >&2; exit 1; }
  mkdir -p "$data"
  here=$data/anthology.sqlite3
  aside=$here.before-$(date -u +%Y%m%dT%H%M%SZ)
  cp "$backup/anthology.sqlite3" "$here.new"
  for part in '' -wal -shm; do
    [ ! -e "$here$part" ] || mv "$here$part" "$aside$part"
  done
  mv "$here.new" "$here"
fi

if [ ! -e "$backup/models.tar" ]; then
  :
elif [ -n "${MODELS_IN:-}" ]; then
  $MODELS_IN <"$backup/models.tar"
else
  mkdir -p "$models"
  # Who serves is what the backup says, and where it says nothing, the bundled ones.
  find "$models" -maxdepth 1 -type f -name '[!.]*.json' -delete
  tar -C "$models" -xf "$backup/models.tar"
fi
