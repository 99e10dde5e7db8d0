# shellcheck shell=bash
# What the other scripts share. Source it from the checkout's root; running it does nothing.

say() { printf '== %s\n' "$*" >&2; }

die() {
    printf 'headgate: %s\n' "$*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "needs root for: $* (run it as root, or install sudo)"
    fi
}

# apt_install PACKAGE...: installs Debian packages without questions and, where the init system asks the
# run level, without starting their services.
apt_install() {
    have apt-get || die "needs $* and finds no apt-get here: install them with this system's own tools"
    say "apt-get install $*"
    local -a apt=(env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq -o Dpkg::Use-Pty=0)
    local -a install=("${apt[@]}" install -y --no-install-recommends "$@")
    # The lists of a bare image are empty or stale: fetch them when the first try fails.
    as_root "${install[@]}" >/dev/null 2>&1 && return
    as_root "${apt[@]}" update >&2
    as_root "${install[@]}" >/dev/null || die "apt-get could not install: $*"
}

# python_at COMMAND: prints the path of the interpreter behind it (a pyenv shim is a script) if it is >= 3.11.
python_at() {
    "$1" -c 'import sys; sys.version_info >= (3, 11) or sys.exit(1); print(sys.executable)' 2>/dev/null
}

# find_python: prints the path of a Python >= 3.11: $PYTHON, what is on PATH, what pyenv holds.
find_python() {
    local name path
    if [ -n "${PYTHON:-}" ]; then
        python_at "$PYTHON" || die "PYTHON=$PYTHON is not a Python >= 3.11"
        return
    fi
    for name in python3 python3.13 python3.12 python3.11 python3.14 python; do
        # All matches, since an older Python or a pyenv shim for nothing may stand first.
        while read -r path; do
            python_at "$path" && return
        done < <(type -aP "$name")
    done
    for path in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3; do
        python_at "$path" && return
    done
    return 1
}

# ready_python: as find_python, installing what a bare Debian or Ubuntu lacks for a virtual environment.
ready_python() {
    local python version
    if ! python=$(find_python); then
        [ -z "${PYTHON:-}" ] || return 1
        apt_install python3 python3-venv
        python=$(find_python) || die "needs Python >= 3.11, and this system's python3 is older: install one, or set PYTHON"
    fi
    if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        apt_install "python$version-venv"
    fi
    printf '%s\n' "$python"
}

# find_chromium: prints the path of the browser that the tests drive.
find_chromium() {
    local name
    for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
        if [ -n "$name" ] && have "$name"; then
            command -v "$name"
            return
        fi
    done
    return 1
}
