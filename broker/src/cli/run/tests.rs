//! Where `dev` keeps data.

use std::path::PathBuf;

use super::folder_of;

#[test]
fn data_of_dev_lies_where_the_xdg_rules_say() {
    let path = |text: &str| Some(PathBuf::from(text));
    assert_eq!(
        folder_of(path("/x"), path("/home/a")),
        path("/x/streamhouse")
    );
    assert_eq!(
        folder_of(None, path("/home/a")),
        path("/home/a/.local/share/streamhouse")
    );
    assert_eq!(
        folder_of(path("relative"), path("/home/a")),
        path("/home/a/.local/share/streamhouse")
    );
    assert_eq!(folder_of(path(""), None), None);
}
