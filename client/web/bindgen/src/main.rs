//! `strongroom-web-bindgen IN.wasm OUT_DIR`: writes `core_bg.wasm`, and `core.js`, which loads it.

use std::path::PathBuf;
use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [input, out] = arguments.as_slice() else {
        eprintln!("usage: strongroom-web-bindgen IN.wasm OUT_DIR");
        return ExitCode::from(2);
    };
    let mut bindgen = Bindgen::new();
    let written = bindgen.web(true).and_then(|bindgen| {
        let bindgen = bindgen.input_path(input).out_name("core").typescript(false);
        bindgen.remove_name_section(true).remove_producers_section(true).generate(out)
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("strongroom-web-bindgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}
