#!/bin/sh
# Installs the Debian packages that tests and demo run against, when this is Debian and we are root.
# Starts no service and leaves /etc alone; without root it changes nothing: tests then say what they miss.
set -eu

PACKAGES="openssh-client openssh-server"

[ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || exit 0

missing=""
for package in $PACKAGES; do
  dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' ||
    missing="$missing $package"
done
[ -n "$missing" ] || exit 0

# Package scripts ask policy-rc.d before they start a service: 101 means "not allowed".
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi

echo "installing Debian packages:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086  # a list of words
apt-get install -qq -y --no-install-recommends $missing >/dev/null
