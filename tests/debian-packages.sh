#!/bin/sh
# Installs the Debian packages that tests and demo run against, when this is Debian and we are root.
# Starts no service and leaves /etc alone; without root it changes nothing: tests then say what they miss.
set -eu

# All of them, or those that are named.
PACKAGES="${*:-chromium fish openssh-client openssh-server postgresql zsh}"

[ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || exit 0

missing=""
for package in $PACKAGES; do
  dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' ||
    missing="$missing $package"
done
[ -n "$missing" ] || exit 0

undo() {
  [ -z "${made_policy:-}" ] || rm -f "$policy"
  rm -f "$no_cluster"
  rmdir "${no_cluster%/*}" 2>/dev/null || true
}
trap undo EXIT

# Package scripts ask policy-rc.d before they start a service: 101 means "not allowed".
policy=/usr/sbin/policy-rc.d
# PostgreSQL's would make a database cluster in /etc and /var; tests make servers of their own.
no_cluster=/etc/postgresql-common/createcluster.d/jitgate-tests.conf

if [ ! -e "$policy" ]; then
  made_policy=yes
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi
mkdir -p "${no_cluster%/*}"
echo "create_main_cluster = false" >"$no_cluster"

echo "installing Debian packages:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086  # a list of words
apt-get install -qq -y --no-install-recommends $missing >/dev/null
