#!/bin/sh
# Valkey on this machine, or Redis where that is installed: run.sh PORT, with the password in VALKEY_PASSWORD.
set -eu
for server in valkey-server redis-server; do
  if command -v "$server" >/dev/null; then
    # From standard input, for what is in a command's words everyone can read.
    exec "$server" - <<END
bind 127.0.0.1
port $1
requirepass $VALKEY_PASSWORD
save ""
END
  fi
done
echo "there is neither valkey-server nor redis-server on the PATH: install one of them (apt-get install valkey-server), or use --target kind" >&2
exit 1
