#!/usr/bin/env bash
# Starts a Redis server on loopback for tests: a plain port and a TLS port, a password for the default user, and an ACL
# user with exactly the rights that the documentation of hallpass-redis lists. It writes only to DIR.
#
#   start.sh [--port N] [--tls-port N] [--dir DIR] [--prefix KEYS] [--mtls] [-- REDIS-OPTION...]
#
# Prints one line of JSON when the server is ready. Ends on SIGTERM or SIGINT, when the server ends, or when a piped
# stdin closes, and removes its own DIR. If it is killed with SIGKILL, Redis ends too, but DIR remains.
#   --dir DIR      directory for the certificates (default: a new one)
#   --prefix KEYS  the keys of the ACL user, a glob (default: hallpass:*)
#   --mtls         the TLS port requires a client certificate
#   -- ...         arguments of redis-server, for example: -- --maxmemory 1mb --maxmemory-policy noeviction
# REDIS_PASSWORD and REDIS_ADMIN_PASSWORD set the passwords of the two users, which are random by default.
# Exits with 69 if a program is missing.
set -euo pipefail

port=0 tls_port=0 dir= own= prefix='hallpass:*' mtls=no
while (($#)); do
  case $1 in
    --port) port=$2; shift 2 ;;
    --tls-port) tls_port=$2; shift 2 ;;
    --dir) dir=$2; shift 2 ;;
    --prefix) prefix=$2; shift 2 ;;
    --mtls) mtls=yes; shift ;;
    --) shift; break ;;
    *) echo "start.sh: unknown option: $1" >&2; exit 64 ;;
  esac
done

need() { # COMMAND PACKAGE
  command -v "$1" >/dev/null || { echo "start.sh: $1 is missing: install Debian's package $2" >&2; exit 69; }
}
need redis-server redis-server
need redis-cli redis-tools
need openssl openssl
need setpriv util-linux

if [[ -z $dir ]]; then dir=$(mktemp -d "${TMPDIR:-/tmp}/peer-redis-XXXXXX") own=yes; else mkdir -p "$dir"; fi
dir=$(cd "$dir" && pwd)
server= watcher=
finish() {
  trap - EXIT TERM INT
  [[ -z $watcher ]] || kill "$watcher" 2>/dev/null || true
  if [[ -n $server ]]; then kill -TERM "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  [[ -z $own ]] || rm -rf "$dir"
}
trap 'finish; exit 0' TERM INT
trap finish EXIT

# A CA, and a server and a client certificate that it issued, valid for two days.
(
  umask 077 && cd "$dir"
  {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout ca.key -out ca.crt -subj '/O=peer/CN=redis peer CA' \
      -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
    for name in server client; do
      openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $name.key -out $name.csr -subj "/O=peer/CN=$name"
      if [[ $name == server ]]; then printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n'; else printf 'extendedKeyUsage=clientAuth\n'; fi >$name.ext
      openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out $name.crt -extfile $name.ext
    done
  } >openssl.log 2>&1 || { cat openssl.log >&2; exit 70; }
)

# redis-server cannot pick a free port (0 disables the port): ports are random, and drawn again if they are in use.
rights='-@all +hello +select +asking +evalsha +eval +get +getrange +set +del +pttl +pexpire +time +publish +subscribe'
user=hallpass password=${REDIS_PASSWORD:-$(openssl rand -hex 24)} admin=${REDIS_ADMIN_PASSWORD:-$(openssl rand -hex 24)}
draw() { echo $((RANDOM % 20000 + 20000)); }
# The client reads the password from its environment, so that no process list shows it.
answers() { REDISCLI_AUTH=$admin redis-cli -h 127.0.0.1 -p "$1" ping 2>/dev/null | grep -qx PONG; }
for try in 1 2 3 4 5 6 7 8; do
  at=$port tls_at=$tls_port
  ((at)) || at=$(draw)
  ((tls_at)) || tls_at=$(draw)
  {
    printf '%s\n' "bind 127.0.0.1" "port $at" "tls-port $tls_at" "protected-mode yes" "daemonize no" "dir $dir" \
      "appendonly no" 'save ""' "tls-cert-file $dir/server.crt" "tls-key-file $dir/server.key" "tls-ca-cert-file $dir/ca.crt" \
      "tls-auth-clients $mtls" 'tls-protocols "TLSv1.2 TLSv1.3"' "requirepass $admin" "maxmemory 64mb" \
      "user $user on >$password ~$prefix &$prefix $rights"
  } >"$dir/redis.conf"
  chmod 600 "$dir/redis.conf"
  setpriv --pdeathsig TERM redis-server "$dir/redis.conf" "$@" >"$dir/redis.log" 2>&1 &
  server=$!
  for _ in $(seq 100); do
    if ! kill -0 "$server" 2>/dev/null; then break; fi
    # The password is new each time, so that no other server on this port is mistaken for it.
    if answers "$at" && grep -q 'Ready to accept connections' "$dir/redis.log"; then break 2; fi
    sleep 0.05
  done
  kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; server=
  if ((port && tls_port)) || ! grep -qi 'in use' "$dir/redis.log"; then break; fi
done
[[ -n $server ]] || { echo "start.sh: redis-server did not start:" >&2; cat "$dir/redis.log" >&2; exit 70; }

printf '{"event":"ready","host":"127.0.0.1","port":%d,"tls_port":%d,"tls_host":"localhost","user":"%s","password":"%s","prefix":"%s","default_password":"%s","ca":"%s","client_cert":"%s","client_key":"%s","mtls":%s,"pid":%d,"url":"redis://%s:%s@127.0.0.1:%d/0","tls_url":"rediss://%s:%s@localhost:%d/0"}\n' \
  "$at" "$tls_at" "$user" "$password" "$prefix" "$admin" "$dir/ca.crt" "$dir/client.crt" "$dir/client.key" \
  "$([[ $mtls == yes ]] && echo true || echo false)" "$server" "$user" "$password" "$at" "$user" "$password" "$tls_at"
# Only a pipe counts: the /dev/null of a background job ends at once.
if [[ -p /dev/stdin ]]; then
  (while read -r _; do :; done; kill -TERM $$) <&0 &
  watcher=$!
fi
# A trapped signal interrupts this wait; a server that ends by itself ends the script too, without the report of a shell.
wait "$server" 2>/dev/null
