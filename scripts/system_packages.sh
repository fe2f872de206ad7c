#!/bin/sh
# What the tests need besides Python. As root on Debian or Ubuntu the missing packages are installed; elsewhere this
# says what is missing, which tests skip for it, and what to type. It never fails: tests that can run, run.
set -u

# One word to add here, and one line in each function below.
PACKAGES="postgresql chromium git nginx curl systemd fonts-dejavu-core openssh-server git-lfs"

is_there() {
    case $1 in
        postgresql) command -v initdb || ls /usr/lib/postgresql/*/bin/initdb ;;
        chromium) command -v chromium || command -v chromium-browser || command -v google-chrome ;;
        git) command -v git ;;
        nginx) command -v nginx || ls /usr/sbin/nginx ;;
        curl) command -v curl ;;
        systemd) command -v systemd-analyze ;;
        openssh-server) command -v sshd || ls /usr/sbin/sshd ;;
        git-lfs) command -v git-lfs ;;
        fonts-dejavu-core) ! command -v apt-get || ls /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf ;;
    esac >/dev/null 2>&1
}

skipped_without() {
    case $1 in
        postgresql) echo "every test marked postgres" ;;
        chromium) echo "every test marked browser" ;;
        git) echo "tests of projects and of the agent's git tool" ;;
        nginx) echo "the tests of a server behind a reverse proxy" ;;
        curl) echo "the test that pastes the lines of the page about the API" ;;
        systemd) echo "the tests of the agent's systemd unit" ;;
        openssh-server) echo "the tests of projects that are cloned over ssh" ;;
        git-lfs) echo "the tests of projects with large files (git LFS)" ;;
        fonts-dejavu-core) echo "nothing, but letters may be missing in screenshots" ;;
    esac
}

missing=""
for package in $PACKAGES; do
    is_there "$package" || missing="$missing $package"
done
missing=${missing# }
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "MISSING ON THIS MACHINE: $missing" >&2
    for package in $missing; do
        echo "  without $package is skipped: $(skipped_without "$package")" >&2
    done
    echo "  To have them: sudo apt-get install $missing" >&2
    exit 0
fi

# Debian's package would otherwise make and start a cluster of its own, which nobody here asked for. The setting is
# written only if the package isn't there yet, and taken back afterwards.
own_setting=""
case " $missing " in *" postgresql "*)
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        own_setting=/etc/postgresql-common/createcluster.conf
        mkdir -p /etc/postgresql-common
        echo "create_main_cluster = false" >"$own_setting"
    fi ;;
esac

# Nor did anybody ask for an nginx that listens on port 80, or an sshd on port 22, now or after the next boot.
own_policy=""
case " $missing " in *" nginx "*|*" openssh-server "*)
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        own_policy=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' >"$own_policy"
        chmod 755 "$own_policy"
    fi ;;
esac

echo "Installing what the tests need: $missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
for package in $missing; do
    echo "  $package"
    apt-get install -y -qq --no-install-recommends -o Dpkg::Options::=--force-confold \
        "$package" >/dev/null 2>&1 </dev/null ||
        echo "  $package COULD NOT BE INSTALLED. Skipped without it: $(skipped_without "$package")" >&2
done
[ -z "$own_setting" ] || rm -f "$own_setting"
[ -z "$own_policy" ] || rm -f "$own_policy"
case " $missing " in *" nginx "*) update-rc.d nginx disable >/dev/null 2>&1 || true ;; esac
case " $missing " in *" openssh-server "*) update-rc.d ssh disable >/dev/null 2>&1 || true ;; esac
exit 0
