#!/bin/sh
# Make the secrets of an installation, each in a file of its own: what is missing is made, what is
# there stays. Needs nothing but a POSIX shell, awk and coreutils.
#
#   deploy/secrets.sh FOLDER                 make what is missing, and users.acl anew
#   deploy/secrets.sh FOLDER rotate USER     a new password; the old one is good as well
#   deploy/secrets.sh FOLDER retire USER     the old one no longer is
#
# The folder is for its owner alone. The files in it can be read by everybody who gets at them: a
# container that is not root's gets just those that it is handed.
#
# REDIS_URL and DATABASE_URL say where the servers are: {user} and {password} in them are replaced.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
folder=${1:?"usage: secrets.sh FOLDER [rotate USER | retire USER]"}
redis_url=${REDIS_URL:-redis://\{user\}:\{password\}@valkey:6379/0}
database_url=${DATABASE_URL:-postgresql://\{user\}:\{password\}@postgres:5432/yuefu}

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# keep FILE: what comes in by standard input becomes the file, in one step.
keep() {
  cat >"$folder/.$1.new"
  chmod 0444 "$folder/.$1.new"
  mv -f "$folder/.$1.new" "$folder/$1"
}

# made FILE COMMAND...: what the command prints becomes the file, unless there is one.
made() {
  file=$1
  shift
  [ -e "$folder/$file" ] || "$@" | keep "$file"
}

# address TEMPLATE USER PASSWORD_FILE
address() {
  printf '%s' "$1" | sed -e "s|{user}|$2|" -e "s|{password}|$(cat "$folder/$3")|"
}

hash_of() { printf '%s' "$(cat "$1")" | sha256sum | cut -c1-64; }

# The users that have a password.
users() { awk '$1 == "user" && /[{]password[}]/ { print $2 }' "$here/users.acl"; }

# The passwords of a user, as the server knows them.
hashes() {
  printf '#%s' "$(hash_of "$folder/redis-$1")"
  [ ! -e "$folder/redis-$1.old" ] || printf ' #%s' "$(hash_of "$folder/redis-$1.old")"
}

write_acl() {
  # One line a user, without comments.
  awk '/^#/ || /^$/ { next }
       /^user/ && line { print line; line = "" }
       { sub(/^ +/, ""); line = line ? line " " $0 : $0 }
       END { if (line) print line }' "$here/users.acl" >"$folder/.acl"
  for user in $(users); do
    sed "/^user $user /s/{password}/$(hashes "$user")/" "$folder/.acl" >"$folder/.acl.filled"
    mv -f "$folder/.acl.filled" "$folder/.acl"
  done
  keep users.acl <"$folder/.acl"
  rm -f "$folder/.acl"
}

# known USER: is it one with a password?
known() {
  for user in $(users); do [ "$user" != "$1" ] || return 0; done
  echo "no user «$1»: one of $(users | tr '\n' ' ')" >&2
  exit 1
}

umask 077
mkdir -p "$folder"
chmod 0700 "$folder"

case ${2:-make} in
make) ;;
rotate)
  known "${3:?which user?}"
  [ ! -e "$folder/redis-$3.old" ] || { echo "retire the old password of $3 first" >&2; exit 1; }
  mv "$folder/redis-$3" "$folder/redis-$3.old"
  ;;
retire)
  known "${3:?which user?}"
  rm -f "$folder/redis-$3.old"
  ;;
*)
  echo "«$2»: rotate or retire" >&2
  exit 1
  ;;
esac

for user in $(users); do
  made "redis-$user" random
  address "$redis_url" "$user" "redis-$user" | keep "redis-$user.url"
done
write_acl
made postgres-password random
address "$database_url" yuefu postgres-password | keep database.url
made pseudonym-key random
made grafana-password random
# Of the platforms', an empty one is none: put yours there.
made telegram-token printf ''
made discord-token printf ''
