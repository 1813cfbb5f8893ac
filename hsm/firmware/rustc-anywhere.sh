#!/bin/sh
# Between cargo and the compiler. Cargo tells crates apart by a hash over the folder that they are in, and the compiler
# orders code by it; here the crate's name and version do that, so that every folder gives the same image.
rustc=$1
shift
name= previous=
for argument; do
    [ "$previous" = --crate-name ] && name=$argument
    previous=$argument
done
for argument; do
    shift
    case $argument in metadata=*) argument="metadata=$name-$CARGO_PKG_VERSION" ;; esac
    set -- "$@" "$argument"
done
exec "$rustc" "$@"
