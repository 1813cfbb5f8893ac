#!/usr/bin/env bash
# Builds the firmware, and installs what that needs on a Debian system. Prints the image's size and digest.
#
#   build.sh [--marks] [virt|mps2] [FOLDER]
#
# With --marks, an image for measuring, not for use: it says on its console how much memory was in use. Its name ends in -marks.
#
# `virt` is QEMU's 32-bit RISC-V board: FOLDER/strongroom-hsm.elf to boot, and FOLDER/strongroom-hsm.bin, whose SHA-256
# the device states as its build. FOLDER is target/firmware of this repository unless given.
#
# `mps2` is QEMU's `mps2-an505`, a Cortex-M33: FOLDER/strongroom-hsm-mps2.elf and .bin. It has neither entropy nor flash,
# so it says that it refuses service: `qemu-system-arm -M mps2-an505 -nographic -kernel FOLDER/strongroom-hsm-mps2.elf`.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
features=() suffix=
if [ "${1:-}" = --marks ]; then
    features=(--features marks) suffix=-marks
    shift
fi
board=${1:-virt}
out=${2:-$root/target/firmware}

case $board in
    virt) target=riscv32imac-unknown-none-elf image=$out/strongroom-hsm$suffix ;;
    mps2) target=thumbv8m.main-none-eabi image=$out/strongroom-hsm-mps2$suffix ;;
    *) echo "build.sh: there is no board $board; name virt or mps2" >&2; exit 2 ;;
esac

# Debian's compiler comes with the sources of `core` and `alloc`, from which they are built for these targets.
install_toolchain() {
    [ -x /usr/bin/rustc ] && [ -x /usr/bin/cargo ] && [ -d /usr/lib/rustlib/src/rust/library ] && return
    echo "installing rustc-web, cargo-web, rust-web-src"
    if ! { apt-get update -qq && apt-get install -qq -y --no-install-recommends rustc-web cargo-web rust-web-src; } >/dev/null; then
        echo "build.sh: the toolchain cannot be installed: install rustc-web, cargo-web and rust-web-src as root" >&2
        exit 1
    fi
}

# The linker and objcopy that come with rustup's compiler, or else LLVM's.
find_tool() {
    local name sysroot
    sysroot=$(rustc --print sysroot 2>/dev/null || true)
    for name in "$sysroot/lib/rustlib/$(/usr/bin/rustc -vV | sed -n 's/^host: //p')/bin/rust-$1" "/usr/bin/$2"; do
        LD_LIBRARY_PATH=$sysroot/lib "$name" --version >/dev/null 2>&1 || [ "$1" = lld -a -x "$name" ] || continue
        echo "$name"
        return
    done
    apt-get install -qq -y --no-install-recommends lld llvm >/dev/null
    echo "/usr/bin/$2"
}

install_toolchain
linker=$(find_tool lld ld.lld)
objcopy=$(find_tool objcopy llvm-objcopy)
triple=$(tr 'a-z.-' 'A-Z__' <<<"$target")
registry=${CARGO_HOME:-$HOME/.cargo}

# Nothing of this machine may get into the image: neither its paths, nor what its owner likes cargo to do elsewhere.
unset CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS
for name in ${!CARGO_PROFILE_@}; do unset "$name"; done
export RUSTFLAGS="--remap-path-prefix=$root=strongroom --remap-path-prefix=$registry=cargo"
# SHA-2 with its rounds in a loop: unrolled, they take a tenth of the image.
RUSTFLAGS+=' --cfg sha2_backend_soft="compact"'
export RUSTC=/usr/bin/rustc RUSTC_WRAPPER="$here/rustc-anywhere.sh" RUSTC_BOOTSTRAP=1 CARGO_INCREMENTAL=0
export "CARGO_TARGET_${triple}_LINKER=$linker"
mkdir -p "$out"
(cd "$here" && /usr/bin/cargo build --quiet --locked --release -Zbuild-std=core,alloc --target "$target" \
    --target-dir "$out/cargo" --bin strongroom-hsm-firmware "${features[@]}")
cp "$out/cargo/$target/release/strongroom-hsm-firmware" "$image.elf"
LD_LIBRARY_PATH=$(rustc --print sysroot 2>/dev/null)/lib "$objcopy" -O binary "$image.elf" "$image.bin"

# An image that was linked from nothing is a linker script that was not found.
bytes=$(stat -c %s "$image.bin")
if [ "$bytes" -lt 100000 ]; then
    echo "build.sh: the image has only $bytes bytes; the core is not in it" >&2
    exit 1
fi
limit=$((512 * 1024))
if [ "$bytes" -gt "$limit" ]; then
    echo "build.sh: the image has $bytes bytes, more than $limit" >&2
    exit 1
fi
echo "built with $(/usr/bin/rustc --version), $("$linker" -flavor gnu --version 2>/dev/null || "$linker" --version)"
echo "image: $bytes bytes of at most $limit"
echo "digest: $(sha256sum "$image.bin" | cut -d' ' -f1)"
