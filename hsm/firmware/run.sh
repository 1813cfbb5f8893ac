#!/usr/bin/env bash
# Boots the firmware in QEMU, and installs that on a Debian system.
#
#   run.sh FOLDER [--uart] [QEMU ARGUMENTS]
#
# FOLDER holds what survives: the flash with the NVRAM (made when there is none; never copy or restore it) and the socket
# `hsm.sock` for the agent (`hsm = "unix:FOLDER/hsm.sock"`). With --uart the agent's frames go over the serial line, as
# on a board without a virtio console. STRONGROOM_IMAGE names another image than the one that build.sh made, STRONGROOM_SOCKET
# another socket, and STRONGROOM_ENTROPY another source than /dev/urandom, or `none`.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
folder=${1:?run.sh: name a folder for the flash and the socket}
shift
image=${STRONGROOM_IMAGE:-$here/../../target/firmware/strongroom-hsm.elf}
entropy=${STRONGROOM_ENTROPY:-/dev/urandom}
[ -f "$image" ] || { echo "run.sh: there is no image at $image; run hsm/firmware/build.sh first" >&2; exit 1; }
if ! command -v qemu-system-riscv32 >/dev/null; then
    echo "installing qemu-system-misc" >&2
    if ! { apt-get update -qq && apt-get install -qq -y --no-install-recommends qemu-system-misc; } >/dev/null; then
        echo "run.sh: the emulator cannot be installed: install qemu-system-misc as root" >&2
        exit 1
    fi
fi

mkdir -p "$folder"
flash=$folder/flash.img
if [ ! -f "$flash" ]; then
    # As it comes from the factory: 32 MiB, erased.
    head -c $((32 << 20)) /dev/zero | tr '\0' '\377' >"$flash.new"
    sync "$flash.new"
    mv "$flash.new" "$flash"
fi

board=(-M virt -m 16M -bios "$image" -nographic -monitor none -global virtio-mmio.force-legacy=false
    -drive "if=pflash,unit=1,format=raw,cache=writethrough,file=$flash"
    -chardev "socket,id=link,path=${STRONGROOM_SOCKET:-$folder/hsm.sock},server=on,wait=off")
if [ "$entropy" != none ]; then
    board+=(-object "rng-random,id=entropy,filename=$entropy" -device "virtio-rng-device,rng=entropy")
fi
if [ "${1:-}" = --uart ]; then
    shift
    board+=(-serial chardev:link)
else
    board+=(-serial stdio -device virtio-serial-device,max_ports=1 -device virtconsole,chardev=link)
fi
exec qemu-system-riscv32 "${board[@]}" "$@"
