#!/usr/bin/env bash
# Installs the Debian packages that the tests need and that are missing: Redis and PostgreSQL servers, Node, PHP with
# Laravel and with what tests and checks it, libfaketime, a Chromium. What is there already, from wherever, is left
# alone. Services of these packages are not used: the tests start their own servers on their own ports.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

missing=()

have redis-server || missing+=(redis-server)
have node || missing+=(nodejs)
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || have initdb || missing+=(postgresql)
have php || missing+=(php-cli)
for pair in phpunit:phpunit composer:composer phpcs:php-codesniffer; do
    have "${pair%%:*}" || missing+=("${pair#*:}")
done
modules=$(php -m 2>/dev/null | tr '[:upper:]' '[:lower:]' || true)
for pair in pdo_sqlite:php-sqlite3 curl:php-curl mbstring:php-mbstring dom:php-xml redis:php-redis; do
    grep -qx "${pair%%:*}" <<<"$modules" || missing+=("${pair#*:}")
done
for pair in Illuminate:php-laravel-framework GuzzleHttp:php-guzzlehttp-guzzle Mockery:php-mockery Predis:php-predis; do
    [ -f "/usr/share/php/${pair%%:*}/autoload.php" ] || missing+=("${pair#*:}")
done
compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null || missing+=(libfaketime)
if ! find_chromium >/dev/null; then
    # Ubuntu's package of this name is an empty one that asks for a snap, which needs a whole init system.
    if grep -qx 'ID=debian' /etc/os-release 2>/dev/null; then
        missing+=(chromium)
    else
        die "finds no Chromium: install chromium or google-chrome, or set CHROMIUM to its path"
    fi
fi

if [ ${#missing[@]} -gt 0 ]; then
    apt_install "${missing[@]}"
fi
