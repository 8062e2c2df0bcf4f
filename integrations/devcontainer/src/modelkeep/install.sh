#!/bin/sh
# Installs modelkeep into a development container. Run by the container's build as root, with the options of
# devcontainer-feature.json as variables. ROOT puts everything below another folder (the test does).
set -eu

ROOT="${ROOT:-}"
VERSION="${VERSION:-latest}"
BUDGET="${BUDGET:-2GB}"
HFHOME="${HFHOME:-/var/cache/modelkeep/huggingface}"
FROM="${FROM:-}"
RELEASES="https://github.com/modelkeep/modelkeep/releases"

fail() {
    echo "modelkeep feature: $1" >&2
    exit 1
}

# The target of the release that fits this machine.
target() {
    case "$(uname -m)" in
        x86_64 | amd64) echo x86_64-unknown-linux-gnu ;;
        aarch64 | arm64) echo aarch64-unknown-linux-gnu ;;
        *) fail "there is no release for $(uname -m); give a binary with the option \"from\"" ;;
    esac
}

download() {
    if command -v curl >/dev/null 2>&1; then
        curl -fsSL --retry 3 -o "$2" "$1"
    elif command -v wget >/dev/null 2>&1; then
        wget -q -O "$2" "$1"
    else
        fail "neither curl nor wget is here to download $1"
    fi
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

case "$FROM" in
    "")
        name="modelkeep-$(target).tar.gz"
        case "$VERSION" in
            latest) base="$RELEASES/latest/download" ;;
            *) base="$RELEASES/download/v${VERSION#v}" ;;
        esac
        download "$base/$name" "$work/$name" || fail "$base/$name cannot be downloaded"
        download "$base/$name.sha256" "$work/$name.sha256" || fail "$base/$name.sha256 cannot be downloaded"
        (cd "$work" && sha256sum -c "$name.sha256" >/dev/null) || fail "$name is not what its checksum says"
        tar -xzf "$work/$name" -C "$work"
        binary=$(find "$work" -type f -name modelkeep | head -n 1)
        [ -n "$binary" ] || fail "$name holds no modelkeep"
        ;;
    http://* | https://*)
        download "$FROM" "$work/modelkeep" || fail "$FROM cannot be downloaded"
        binary="$work/modelkeep"
        ;;
    *)
        [ -f "$FROM" ] || fail "$FROM is not there"
        binary="$FROM"
        ;;
esac

# A copy, since what was given is not ours to change.
cp "$binary" "$work/run" && chmod 755 "$work/run"
"$work/run" --version >/dev/null || fail "the binary does not run on this machine"
mkdir -p "$ROOT/usr/local/bin" "$ROOT/usr/local/share/modelkeep" "$ROOT/etc/profile.d" "$ROOT$HFHOME"
# Into place in one step, so that a build that is stopped leaves no half of it.
cp "$work/run" "$ROOT/usr/local/bin/.modelkeep-new"
chmod 755 "$ROOT/usr/local/bin/.modelkeep-new"
mv "$ROOT/usr/local/bin/.modelkeep-new" "$ROOT/usr/local/bin/modelkeep"

# The container's user, who is not root, fills the cache.
chmod 1777 "$ROOT$HFHOME"
cat >"$ROOT/etc/profile.d/modelkeep.sh" <<EOF
export HF_HOME="$HFHOME"
export MODELKEEP_BUDGET_MODELS="\${MODELKEEP_BUDGET_MODELS:-$BUDGET}"
EOF

cat >"$ROOT/usr/local/share/modelkeep/post-create" <<'EOF'
#!/bin/sh
# When the container was made: upkeep that is due, then the models that the code pins. Neither may keep the container from
# starting.
[ -r /etc/profile.d/modelkeep.sh ] && . /etc/profile.d/modelkeep.sh
[ -f modelkeep.toml ] || exit 0
modelkeep maintain due --yes || echo "modelkeep maintain due did not finish; see: modelkeep doctor" >&2
if [ -f modelkeep.lock ]; then
    modelkeep pull || echo "the pinned models are not here; try: modelkeep pull" >&2
fi
exit 0
EOF
chmod 755 "$ROOT/usr/local/share/modelkeep/post-create"
echo "modelkeep $("$ROOT/usr/local/bin/modelkeep" --version | cut -d' ' -f2) is installed; HF_HOME is $HFHOME, budget $BUDGET"
