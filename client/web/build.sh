#!/usr/bin/env bash
# Builds the npm package into FOLDER, `dist` beside this file unless given. Prints the size of its WebAssembly.
#
#   build.sh [FOLDER]
#
# The compiler is rustup's if it has the target wasm32-unknown-unknown, and else Debian's, which builds the standard library for it.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
out=${1:-$here/dist}
target=wasm32-unknown-unknown
# What a page has to load before it can do anything, compressed.
limit=$((350 * 1024))

install_toolchain() {
    [ -x /usr/bin/rustc ] && [ -x /usr/bin/cargo ] && [ -d /usr/lib/rustlib/src/rust/library ] && return
    echo "installing rustc-web, cargo-web, rust-web-src"
    if ! { apt-get update -qq && apt-get install -qq -y --no-install-recommends rustc-web cargo-web rust-web-src; } >/dev/null; then
        echo "build.sh: there is no compiler: \`rustup target add $target\`, or install rustc-web, cargo-web and rust-web-src as root" >&2
        exit 3
    fi
}

# The linker that comes with rustup's compiler, or else LLVM's.
find_linker() {
    local name
    name=$(rustc --print sysroot 2>/dev/null || true)/lib/rustlib/$(/usr/bin/rustc -vV | sed -n 's/^host: //p')/bin/rust-lld
    [ -x "$name" ] || name=/usr/bin/wasm-ld
    [ -x "$name" ] || apt-get install -qq -y --no-install-recommends lld >/dev/null
    echo "$name"
}

compile() {
    local cargo=cargo std=()
    if [ ! -d "$(rustc --print sysroot 2>/dev/null)/lib/rustlib/$target" ]; then
        install_toolchain
        cargo=/usr/bin/cargo std=(-Zbuild-std=std,panic_abort -Zbuild-std-features=)
        export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER
        CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$(find_linker)
    fi
    # Nothing of this machine may get into the package.
    unset CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS
    export RUSTFLAGS="--remap-path-prefix=$root=strongroom --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
    RUSTFLAGS+=" --remap-path-prefix=/usr/lib/rustlib/src/rust=rust"
    for name in ${!CARGO_PROFILE_@}; do unset "$name"; done
    (cd "$here" && "$cargo" build --quiet --locked --release "${std[@]}" --target "$target" --target-dir "$root/target/web")
}

# In a subshell, because the second is for this machine.
(compile)
(cd "$here/bindgen" && cargo build --quiet --locked --target-dir "$root/target/web-bindgen")
rm -rf "$out"
mkdir -p "$out"
"$root/target/web-bindgen/debug/strongroom-web-bindgen" "$root/target/web/$target/release/strongroom_web.wasm" "$out"
cp "$here"/js/*.js "$here/strongroom.d.ts" "$here/package.json" "$here/README.md" "$root"/LICENSE-* "$out"

bytes=$(gzip -9 <"$out/core_bg.wasm" | wc -c)
if [ "$bytes" -gt "$limit" ]; then
    echo "build.sh: the WebAssembly has $bytes bytes compressed, more than $limit" >&2
    exit 1
fi
echo "built $out; WebAssembly: $(stat -c %s "$out/core_bg.wasm") bytes, compressed $bytes of at most $limit"
