//! What the READMEs show. A documentation test sees to it that it compiles.

fn code(readme: &str) -> &str {
    let (_, rest) = readme.split_once("```rust,no_run\n").unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
fn the_sdk_is_shown_in_the_same_20_lines_everywhere() {
    let shown = code(include_str!("../../README.md"));
    assert_eq!(shown, code(include_str!("../README.md")));
    assert_eq!(shown.lines().filter(|line| !line.is_empty()).count(), 20);
}
