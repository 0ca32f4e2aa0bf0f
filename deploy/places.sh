# shellcheck shell=sh
# Where the anthology and the models are, by the settings of the processes. Sets data, models, python
# and, where there is a PostgreSQL, address and PGPASSWORD: what a command is told everybody on the
# machine can read, so the password is no part of the address. For backup.sh and restore.sh.
# shellcheck disable=SC2034

data=${YUEFU_DATA:-$HOME/.local/share/yuefu}
models=${YUEFU_MODELS:-$data/models}
models=${models#file://}
python=${PYTHON:-python3}
address=
url=${YUEFU_DATABASE_URL:-}
[ -z "${YUEFU_DATABASE_URL_FILE:-}" ] || url=$(cat "$YUEFU_DATABASE_URL_FILE")

# part NAME: of the URL that comes in, its password, or all but that.
part() {
  printf '%s' "$url" | "$python" -c '
import sys
from urllib.parse import unquote, urlsplit
url = urlsplit(sys.stdin.read().strip().replace("+asyncpg", "", 1))
user, _, password = url.netloc.rpartition("@")[0].partition(":")
host = url.netloc.rpartition("@")[2]
bare = url._replace(netloc=f"{user}@{host}" if user else host).geturl()
print(unquote(password) if sys.argv[1] == "password" else bare)
' "$1"
}

if [ -n "$url" ]; then
  address=$(part address)
  PGPASSWORD=$(part password)
  export PGPASSWORD
fi
