//! The checked-in files are those that the generator makes.

use std::fs;

use snapbox::{Data, assert_data_eq};

#[test]
fn the_checked_in_client_is_the_generated_one() {
    for file in codegen::client::generate().expect("generate") {
        let path = codegen::workspace().join(file.path);
        let checked_in =
            fs::read_to_string(&path).expect("run `cargo run -p codegen -- client` once");
        assert_data_eq!(checked_in, Data::text(file.text).raw());
    }
}
