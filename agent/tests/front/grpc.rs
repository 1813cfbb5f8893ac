//! The code in `src/grpc/` is what `proto/*.proto` generate. It is kept in the repository because the generator takes
//! longer to build than everything that it makes.

use std::fs;
use std::path::Path;

const PROTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
const GENERATED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/grpc");

/// Writes the code of every service to `folder`. Needs no `protoc`.
fn generate(folder: &Path) {
    let files = ["peer.proto", "realm.proto"];
    let descriptors = protox::compile(files, [PROTO]).expect("valid files");
    let generator = tonic_prost_build::configure().out_dir(folder).bytes(".");
    generator.compile_fds(descriptors).expect("a writable folder");
}

#[test]
fn the_services_are_those_of_the_proto_files() {
    if std::env::var_os("BLESS").is_some() {
        generate(Path::new(GENERATED));
    }
    let folder = tempfile::tempdir().expect("a folder");
    generate(folder.path());
    for name in ["strongroom.peer.v1.rs", "strongroom.v1.rs"] {
        let generated = fs::read_to_string(folder.path().join(name)).expect(name);
        let kept = fs::read_to_string(Path::new(GENERATED).join(name)).expect(name);
        assert!(kept == generated, "{name} is out of date: run this test with BLESS=1");
    }
}
