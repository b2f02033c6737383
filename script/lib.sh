# Sourced by the other scripts: an environment with every dependency at its locked version.
# Not for use by itself. All it makes lies in .venv, but for Debian packages that are missing.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv="$root/.venv"

say() { printf '%s\n' "$*" >&2; }

# need_package PROGRAM-OR-TEST PACKAGE...: install Debian packages unless the test passes.
need_package() {
    local present=$1
    shift
    if eval "$present" >/dev/null 2>&1; then return; fi
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            say "rbcluster needs the Debian package(s) $*: run 'apt-get install $*' as root, then try again."
            exit 1
        fi
        as_root=(sudo -n)
    fi
    if ! command -v apt-get >/dev/null; then
        say "rbcluster needs $* (Debian's names): install them, then try again."
        exit 1
    fi
    say "installing $*"
    "${as_root[@]}" apt-get update -qq
    # Debian would start a tor of its own on the public network; ours are private, started by us.
    local starts_by_itself=(tor.service tor@default.service)
    [[ " $* " == *" tor "* ]] && "${as_root[@]}" systemctl mask "${starts_by_itself[@]}" >/dev/null 2>&1 || true
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    if [[ " $* " == *" tor "* ]]; then
        "${as_root[@]}" systemctl unmask "${starts_by_itself[@]}" >/dev/null 2>&1 || true
        "${as_root[@]}" systemctl disable tor.service >/dev/null 2>&1 || true
    fi
}

python_is_new_enough() {
    command -v python3 && python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'
}

set_up() {
    need_package python_is_new_enough python3
    need_package 'python3 -c "import ensurepip, venv"' python3-venv
    need_package 'command -v tor || test -x /usr/sbin/tor' tor
    if ! python_is_new_enough >/dev/null; then
        say "rbcluster needs Python 3.11 or newer; this is $(python3 --version)."
        exit 1
    fi
    local want
    want=$(cat "$root"/requirements/{build,dev}.lock "$root/setup.cfg" | sha256sum)
    if [ "$(cat "$venv/.locked" 2>/dev/null)" != "$want $root" ]; then
        say "preparing the Python environment"
        rm -rf "$venv"
        python3 -m venv "$venv"
        "$venv/bin/pip" install -q --require-hashes -r "$root/requirements/build.lock"
        "$venv/bin/pip" install -q --no-build-isolation --require-hashes -r "$root/requirements/dev.lock"
        "$venv/bin/pip" install -q --no-build-isolation --no-deps -e "$root"
        printf '%s' "$want $root" >"$venv/.locked"
    fi
    export PATH="$venv/bin:$PATH:/usr/sbin"  # where a tor that was built by hand may lie
}
